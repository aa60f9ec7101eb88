"""Forward KL on selected frames in one pass through the student's output, a few thousand frames at a time.

Same value and gradient as gathering both sides and taking the divergence, without the gathered copies and
their graph, which with V = 1024 are several times the student's output.

House letters: B batch, T frames, V vocabulary, N selected frames.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

_LOWEST = -1e30  # in place of −∞, which times 0 is not a number
_FRAMES = 2048  # at a time: what is in work then stays in the cache


def forward_kl_at(student_log_BTV: Tensor, row_N: Tensor, frame_N: Tensor, teacher_log_NV: Tensor) -> Tensor:
    """Return Σ q·(log q − log p) over the frames (row, frame), each of which occurs once [nats].

    The gradient with respect to log p is −q there and 0 elsewhere.
    """
    total: Tensor = _ForwardKL.apply(student_log_BTV, row_N, frame_N, teacher_log_NV)
    return total


class _ForwardKL(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, student_BTV: Tensor, row_N: Tensor, frame_N: Tensor, teacher_NV: Tensor) -> Tensor:
        ctx.save_for_backward(student_BTV, row_N, frame_N, teacher_NV)
        total = student_BTV.new_zeros(())
        for row, frame, teacher in _pieces(row_N, frame_N, teacher_NV):
            # 0 · log 0 is 0 here: a token that the teacher rules out costs nothing.
            total += (teacher.exp() * (teacher.clamp(min=_LOWEST) - student_BTV[row, frame])).sum()
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        student_BTV, *selected = ctx.saved_tensors
        gradient = torch.zeros_like(student_BTV)
        for row, frame, teacher in _pieces(*selected):
            gradient[row, frame] = teacher.exp().to(gradient).mul_(-gradients[0])
        return gradient, None, None, None


def _pieces(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    return zip(*(tensor.split(_FRAMES) for tensor in tensors), strict=True)
