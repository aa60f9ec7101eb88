"""Divergences between teacher and student, summed over frames [nats].

All take log-probabilities [N, C] of classes that both sides share. C is V where the targets are dense, and
K + 1 where they are the teacher's K best tokens: the last class then is the tail, all other tokens together.
House letters: N selected frames, V vocabulary, K top-k, C classes.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import torch
from torch import Tensor

from kdcompress.config.objective import (
    DecoupledKD,
    Divergence,
    ForwardKL,
    JensenShannon,
    ReverseKL,
)
from kdcompress.distill.objective.frame_targets import FrameTargets

DivergenceFunction: TypeAlias = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Maps teacher [N, C], student [N, C] and tokens (see `paired`) to a scalar."""

TAIL = -1  # in place of a token id

# Log of the smallest normal float32: no probability holds less, and −∞ would make its products infinite.
_FLOOR = -87.0


def make_divergence(config: Divergence, blank: int) -> DivergenceFunction:
    """Return the divergence that a recipe asks for."""
    match config:
        case ForwardKL():
            return forward_kl
        case ReverseKL():
            return reverse_kl
        case JensenShannon():
            return jensen_shannon
        case DecoupledKD():
            return partial(decoupled, blank=blank, rest_weight=config.rest_weight)


def paired(
    student_log_BTV: Tensor, targets: FrameTargets, temperature: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Bring both sides to the same classes on the selected frames.

    Log-probabilities serve as logits for τ: they differ by a constant per frame, which the softmax removes.
    Of a tail only the mass is known, so it is one class before τ is applied, on both sides.

    Returns:
        Teacher and student, float32 [N, C] at τ, and the tokens of the classes, int64 [V] or [N, C].
    """
    student, teacher = student_log_BTV[targets.row, targets.frame], targets.log_probs
    vocabulary = student.shape[1]
    if targets.tokens is None:
        tokens = torch.arange(vocabulary, device=student.device)
    else:
        assert targets.rest is not None  # FrameTargets saw to it
        tokens, best = targets.tokens, student.gather(1, targets.tokens)
        if tokens.shape[1] < vocabulary:
            # Summed from its parts: one minus the K best loses all digits where these are nearly all.
            tail = student.scatter(1, tokens, -torch.inf).logsumexp(dim=1, keepdim=True)
            best = torch.cat((best, tail), dim=1)
            teacher = torch.cat((teacher, targets.rest[:, None]), dim=1)
            tokens = torch.cat((tokens, torch.full_like(tokens[:, :1], TAIL)), dim=1)
        student = best
    if temperature != 1:
        student = (student / temperature).log_softmax(dim=-1)
        teacher = (teacher / temperature).log_softmax(dim=-1)
    return teacher, student, tokens


def kl_divergence(teacher_log_NC: Tensor, student_log_NC: Tensor) -> Tensor:
    """Return Σ q·(log q − log p) over everything; classes with q = 0 cost nothing."""
    teacher = teacher_log_NC.exp()
    return torch.special.xlogy(teacher, teacher).sum() - (teacher * student_log_NC).sum()


def forward_kl(teacher_log_NC: Tensor, student_log_NC: Tensor, tokens: Tensor) -> Tensor:
    """KL(teacher ‖ student) (Hinton et al. 2015, arXiv 1503.02531)."""
    return kl_divergence(teacher_log_NC, student_log_NC)


def reverse_kl(teacher_log_NC: Tensor, student_log_NC: Tensor, tokens: Tensor) -> Tensor:
    """KL(student ‖ teacher) = Σ p·(log p − log q) (for KD: Gu et al. 2024, arXiv 2306.08543).

    What the teacher holds impossible costs the student 87 nats, not infinitely many.
    """
    return (student_log_NC.exp() * (student_log_NC - teacher_log_NC.clamp(min=_FLOOR))).sum()


def jensen_shannon(teacher_log_NC: Tensor, student_log_NC: Tensor, tokens: Tensor) -> Tensor:
    """½·KL(q ‖ m) + ½·KL(p ‖ m) with m = (q + p) / 2.

    Lin 1991; for KD: Agarwal et al. 2024, arXiv 2306.13649.
    """
    teacher = teacher_log_NC.clamp(min=_FLOOR)
    middle = torch.logaddexp(teacher, student_log_NC) - math.log(2)
    from_teacher = teacher.exp() * (teacher - middle)
    from_student = student_log_NC.exp() * (student_log_NC - middle)
    return 0.5 * (from_teacher + from_student).sum()


def decoupled(
    teacher_log_NC: Tensor, student_log_NC: Tensor, tokens: Tensor, *, blank: int, rest_weight: float
) -> Tensor:
    """KL of the masses of {blank, the teacher's token, rest} + β·KL inside the rest.

    Decoupled KD (Zhao et al. 2022, arXiv 2203.08679) with the blank as a second target class. A tail is one
    class of the rest; a blank that is not among the teacher's K best is in it.
    """
    masses, inside, _ = decoupled_parts(teacher_log_NC, student_log_NC, tokens, blank)
    return masses.sum() + rest_weight * inside.sum()


def decoupled_parts(
    teacher_log_NC: Tensor, student_log_NC: Tensor, tokens: Tensor, blank: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return per frame [N]: KL of the masses, KL inside the rest, and the teacher's mass of the rest.

    The first plus the product of the others is KL(teacher ‖ student).
    """
    named = (tokens == blank).expand_as(teacher_log_NC).clone()
    named.scatter_(1, _best(teacher_log_NC, tokens), True)
    teacher = teacher_log_NC.clamp(min=_FLOOR)
    terms = teacher.exp() * (teacher - student_log_NC)
    teacher_rest, student_rest = _mass(teacher, named), _mass(student_log_NC, named)
    rest = teacher_rest.exp()
    masses = terms.masked_fill(~named, 0).sum(dim=1) + rest * (teacher_rest - student_rest)
    shares = (teacher - teacher_rest[:, None]).masked_fill(named, _FLOOR)
    student_shares = (student_log_NC - student_rest[:, None]).masked_fill(named, _FLOOR)
    inside = (shares.exp() * (shares - student_shares)).sum(dim=1)
    return masses, inside, rest


def _best(teacher_log_NC: Tensor, tokens: Tensor) -> Tensor:
    """Return the class [N, 1] of the teacher's token; a tail is none, however heavy."""
    return teacher_log_NC.masked_fill(tokens == TAIL, -torch.inf).argmax(dim=1, keepdim=True)


def _mass(log_probs_NC: Tensor, named_NC: Tensor) -> Tensor:
    # Not −∞ for what is left out: where nothing is left in, the gradient would be NaN.
    return log_probs_NC.masked_fill(named_NC, torch.finfo(log_probs_NC.dtype).min / 2).logsumexp(dim=1)
