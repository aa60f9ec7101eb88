"""Quantization-aware distillation: linear layers that compute in training what the exported graph will.

Weights are rounded to the exporter's integers, activations to uint8 over the range of the whole batch, as
DynamicQuantizeLinear does it; gradients pass both as if nothing had been rounded (straight-through, Bengio et
al. 2013, arXiv 1308.3432). The optimiser moves the weights behind the integers. What is validated, kept and
exported are the integers times their scales, which the exporter recognises.

House letters: K inputs and N outputs of a linear layer.
"""

from copy import deepcopy
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from kdcompress.config.deploy import OUTPUT_SHARE
from kdcompress.distill.optim import AveragedStudent
from kdcompress.errors import ConfigError
from kdcompress.quantize.rounding import WIDTHS, Width, nearest
from kdcompress.students.student import Student

# What integer 1 stands for, as a share of the weights' deviation: the step that suits a normal distribution
# best (Max 1960), or half of it where integers are two apart.
_UNITS = {"6": 0.0521, "4": 0.1676, "3": 0.2930, "2": 0.4979, "ternary": 1.2240}
_SMALLEST = 2.0**-14  # of float16's normal numbers, in which scales are stored

S = TypeVar("S", bound=nn.Module)


class RoundedLinear(nn.Linear):
    """A linear layer as the exported graph computes it.

    An `nn.Linear` becomes one by a change of its class, so that the names of its weights stay.

    Attributes:
        width: of the integers.
        rounds: whether `weight` is still to be rounded; False where it holds integers times scales.
    """

    width: Width
    rounds: bool = True

    def forward(self, x: Tensor) -> Tensor:
        """Map [..., K] to [..., N]."""
        with torch.autocast(x.device.type, enabled=False):
            weight = straight_through(self.weight, self.rounded()) if self.rounds else self.weight
            return functional.linear(straight_through(x.float(), rounded_activations(x)), weight, self.bias)

    @torch.no_grad()
    def rounded(self) -> Tensor:
        """Return the weights [N, K] as integers times scales that float16 holds."""
        deviation_N = self.weight.float().square().mean(dim=1).sqrt()
        scale_N = (_UNITS[self.width.name] * deviation_N).clamp(min=_SMALLEST).half().float()
        return (nearest(self.weight.float().T, scale_N, self.width) * scale_N).T


@torch.no_grad()
def rounded_activations(x: Tensor) -> Tensor:
    """Return values as the nearest of 256 between the extremes of all of them, zero among these."""
    x = x.float()
    low, high = x.amin().clamp(max=0.0), x.amax().clamp(min=0.0)
    scale = (high - low) / 255
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    zero = (-low / scale).round()
    return (((x / scale).round() + zero).clamp(0, 255) - zero) * scale


def straight_through(value: Tensor, rounded: Tensor) -> Tensor:
    """Return what is rounded, with the gradient of the value."""
    return value + (rounded - value).detach()


def round_linear_layers(student: S, width: str) -> S:
    """Let the linear layers that export will make integer compute as it will; returns the student, changed.

    Raises:
        ConfigError: it has none.
    """
    layers = [module for module in student.modules() if type(module) is nn.Linear]
    if not layers:
        raise ConfigError("training.quantize rounds linear layers, and this student has none")
    total = sum(layer.weight.numel() for layer in layers)
    if len(layers) > 1 and layers[-1].weight.numel() <= OUTPUT_SHARE * total:
        layers.pop()  # the exporter leaves a small output layer in float
    if isinstance(student, Student):
        for first, second in student.linear_chains():
            _balance(first, second)
    for layer in layers:
        layer.__class__ = RoundedLinear
        assert isinstance(layer, RoundedLinear)
        layer.width = WIDTHS[width]
    return student


@torch.no_grad()
def _balance(first: nn.Module, second: nn.Linear) -> None:
    """Share scales between two layers evenly, as `kdcompress.quantize.smoothing.balance` does."""
    made, bias = first.get_parameter("weight"), getattr(first, "bias", None)
    sizes = made.flatten(1).norm(dim=1), second.weight.norm(dim=0)
    found, read = (size.clamp(min=_SMALLEST).log2() for size in sizes)
    # Only the ratio between the values matters; powers of two keep the products exact.
    wanted = (read - found) / 2
    scale = torch.exp2((wanted - wanted.mean()).round())
    for weight in (made, *([] if bias is None else [bias])):
        weight.mul_(scale.view(-1, *[1] * (weight.ndim - 1)))
    second.weight.div_(scale)


class RoundedStudent(AveragedStudent):
    """The student that is validated, kept and exported: the trained one with its weights rounded."""

    def __init__(self, trained: Student, device: torch.device | str = "cpu") -> None:
        super().__init__(trained, None)
        self.model = deepcopy(trained).requires_grad_(False).to(device)
        for module in self.model.modules():
            if isinstance(module, RoundedLinear):
                module.rounds = False

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after optimiser step `step`."""
        self.model.load_state_dict(self.trained.state_dict())
        for module in self.model.modules():
            if isinstance(module, RoundedLinear):
                module.weight.copy_(module.rounded())
