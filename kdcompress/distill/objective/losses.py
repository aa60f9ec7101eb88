"""Losses as (sum, count): exact under accumulation and data parallelism, one normaliser for every pattern.

House letters: B batch, T frames, V vocabulary, U labels, N selected frames, M valid frames.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from kdcompress.distill.objective.divergences import DivergenceFunction, forward_kl, kl_divergence, paired
from kdcompress.distill.objective.frame_targets import FrameTargets, blank_occupancy
from kdcompress.frontend.masks import valid_frames

_LOWEST = -1e30  # in place of −∞, which times 0 is not a number


@dataclass(frozen=True)
class LossSum:
    """A loss before division.

    Attributes:
        total: scalar [nats], with a gradient graph even when nothing was counted.
        count: what it sums over: frames, or target labels for CTC.
    """

    total: Tensor
    count: int


def frame_kd(
    student_log_BTV: Tensor,
    targets: FrameTargets,
    temperature: float,
    divergence: DivergenceFunction = forward_kl,
) -> LossSum:
    """A divergence over the selected frames, times τ² (Hinton et al. 2015, arXiv 1503.02531)."""
    if divergence is forward_kl and targets.tokens is None and temperature == 1:
        total = forward_kl_at(student_log_BTV, targets.row, targets.frame, targets.log_probs)
        return LossSum(total, len(targets.row))
    teacher, student, tokens = paired(student_log_BTV, targets, temperature)
    return LossSum(temperature**2 * divergence(teacher, student, tokens), len(targets.row))


def occupancy_kd(
    student_log_BTV: Tensor, targets: FrameTargets, blank: int, frames: Literal["all", "rest"] = "all"
) -> LossSum:
    """Two-class KL {blank, not blank}: gives silence the target it lacks.

    Args:
        frames: `all` valid ones, or the `rest` of them, which are not selected; the count is of all.
    """
    row, frame, teacher = targets.places(frames)
    student = blank_occupancy(student_log_BTV[row, frame], blank)
    return LossSum(kl_divergence(teacher, student), len(targets.occupancy))


def consistency(one_log_BTV: Tensor, other_log_BTV: Tensor, lengths_B: Tensor) -> LossSum:
    """½·[KL(sg(b) ‖ a) + KL(sg(a) ‖ b)] over the valid frames of two views a, b of the same audio.

    CR-CTC's term (Yao et al. 2024, arXiv 2410.05101); sg stops the gradient: each view is pulled to the other
    as it stands. Lengths in the host's memory cost no wait for the device.
    """
    valid = valid_frames(lengths_B, one_log_BTV.shape[1]).nonzero(as_tuple=True)
    row, frame = (places.to(one_log_BTV.device, non_blocking=True) for places in valid)
    one, other = one_log_BTV[row, frame], other_log_BTV[row, frame]
    total = 0.5 * (kl_divergence(other.detach(), one) + kl_divergence(one.detach(), other))
    return LossSum(total, len(one))


def ctc(
    student_log_BTV: Tensor, lengths_B: Tensor, labels_BU: Tensor, label_lengths_B: Tensor, blank: int
) -> LossSum:
    """CTC loss (Graves et al. 2006) summed over utterances; the count is that of target labels.

    An utterance with fewer frames than its labels need contributes zero. Lengths are best in the host's
    memory, where torch wants them.
    """
    if not len(lengths_B):
        return LossSum(student_log_BTV.sum(), 0)  # torch refuses a batch of none
    total = functional.ctc_loss(
        student_log_BTV.transpose(0, 1),
        labels_BU,
        lengths_B,
        label_lengths_B,
        blank=blank,
        reduction="sum",
        zero_infinity=True,
    )
    return LossSum(total, int(label_lengths_B.sum()))


def forward_kl_at(
    student_log_BTV: Tensor, row_N: Tensor, frame_N: Tensor, teacher_log_NV: Tensor, at_once: int = 2048
) -> Tensor:
    """Return Σ q·(log q − log p) over the frames (row, frame), each of which occurs once [nats].

    One pass through the student's output, a few thousand frames at a time: value and gradient (−q there, 0
    elsewhere, with respect to log p) are those of gathering both sides, without the copies and their graph,
    which with V = 1024 are several times the student's output.
    """
    total: Tensor = _ForwardKL.apply(student_log_BTV, row_N, frame_N, teacher_log_NV, at_once)
    return total


class _ForwardKL(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, student_BTV: Tensor, row_N: Tensor, frame_N: Tensor, teacher_NV: Tensor, at_once: int
    ) -> Tensor:
        ctx.save_for_backward(student_BTV, row_N, frame_N, teacher_NV)
        ctx.at_once = at_once
        total = student_BTV.new_zeros(())
        for row, frame, teacher in _pieces(at_once, row_N, frame_N, teacher_NV):
            # 0 · log 0 is 0 here: a token that the teacher rules out costs nothing.
            total += (teacher.exp() * (teacher.clamp(min=_LOWEST) - student_BTV[row, frame])).sum()
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        student_BTV, *selected = ctx.saved_tensors
        gradient = torch.zeros_like(student_BTV)
        for row, frame, teacher in _pieces(ctx.at_once, *selected):
            gradient[row, frame] = teacher.exp().to(gradient).mul_(-gradients[0])
        return gradient, None, None, None, None


def _pieces(at_once: int, *tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    # So many frames at a time: what is in work then stays in the cache.
    return zip(*(tensor.split(at_once) for tensor in tensors), strict=True)
