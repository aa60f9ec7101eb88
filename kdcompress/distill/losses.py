"""Losses as (sum, count): exact under accumulation and data parallelism, one normaliser for every pattern.

House letters: B batch, T frames, V vocabulary, N selected frames, M valid frames.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from kdcompress.distill.targets import FrameTargets, blank_occupancy


@dataclass(frozen=True)
class LossSum:
    """A loss before division.

    Attributes:
        total: scalar [nats], with a gradient graph even when nothing was counted.
        count: what it sums over: frames, or target labels for CTC.
    """

    total: Tensor
    count: int


def kl_divergence(teacher_log_NV: Tensor, student_log_NV: Tensor) -> Tensor:
    """Return Σ q·(log q − log p) over everything [nats]; classes with q = 0 cost nothing."""
    teacher = teacher_log_NV.exp()
    return torch.special.xlogy(teacher, teacher).sum() - (teacher * student_log_NV).sum()


def frame_kd(student_log_BTV: Tensor, targets: FrameTargets, temperature: float) -> LossSum:
    """Forward KL teacher ‖ student over the selected frames, times τ² (Hinton et al. 2015, arXiv 1503.02531).

    Log-probabilities serve as logits: they differ by a constant per frame, which the softmax removes. Where
    the targets have K tokens and the mass of the rest, the rest is one class more on both sides.
    """
    student = student_log_BTV[targets.row, targets.frame]
    teacher = targets.log_probs
    if targets.tokens is not None and targets.rest is not None:
        rest = student.scatter(1, targets.tokens, -torch.inf).logsumexp(dim=-1)
        student = torch.cat((student.gather(1, targets.tokens), rest[:, None]), dim=-1)
        teacher = torch.cat((teacher, targets.rest[:, None]), dim=-1)
    if temperature != 1:
        student = (student / temperature).log_softmax(dim=-1)
        teacher = (teacher / temperature).log_softmax(dim=-1)
    return LossSum(temperature**2 * kl_divergence(teacher, student), len(targets.row))


def occupancy_kd(student_log_BTV: Tensor, targets: FrameTargets, blank: int) -> LossSum:
    """Two-class KL {blank, not blank} over all valid frames: gives silence the target it lacks."""
    frames = targets.valid.shape[1]
    student = blank_occupancy(student_log_BTV[:, :frames][targets.valid], blank)
    return LossSum(kl_divergence(targets.occupancy, student), len(targets.occupancy))


def ctc(
    student_log_BTV: Tensor, lengths_B: Tensor, labels_BU: Tensor, label_lengths_B: Tensor, blank: int
) -> LossSum:
    """CTC loss (Graves et al. 2006) summed over utterances; the count is that of target labels.

    An utterance with fewer frames than its labels need contributes zero.
    """
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
