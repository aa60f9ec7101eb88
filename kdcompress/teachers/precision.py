"""bfloat16 for a teacher's matrix products, with its output layer left in float32.

Logits have two decimal places in bfloat16; the output layer is a small part of the work.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from kdcompress.config.teacher import Precision

Running: TypeAlias = Callable[[], AbstractContextManager[Any]]
"""Makes the context that a teacher's model runs in."""


def rounded(precision: Precision, device: torch.device) -> bool:
    """Tell whether the matrix products of a teacher on a device are to be in bfloat16."""
    if precision == "auto":
        return device.type == "cuda" and torch.cuda.is_bf16_supported()
    return precision == "bf16"


def running(precision: Precision, device: torch.device, model: nn.Module, heads: tuple[str, ...]) -> Running:
    """Return the context for a model on a device.

    Args:
        heads: names that its output layer may have; the one that is there stays in float32.
    """
    if not rounded(precision, device):
        return nullcontext
    for name in heads:
        if isinstance(head := getattr(model, name, None), nn.Module):
            setattr(model, name, _Exact(head))
    return partial(torch.autocast, device.type, torch.bfloat16)


class _Exact(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            result: Tensor = self.layer(x.float())
        return result
