"""Weights as integers of few levels: how wide they are, and how floats become them.

House letters: K inputs and N outputs of a linear layer.
"""

from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from kdcompress.aliases import FloatArray

Int8Array: TypeAlias = npt.NDArray[np.int8]
# A numpy array or a torch tensor: what training rounds with is what the exporter rounds with.
Array = TypeVar("Array", bound=Any)

_SHARES = np.linspace(0.3, 1.0, 15)  # of the largest magnitude that the highest level may stand for
_ON_GRID = 1e-5  # of a step


@dataclass(frozen=True)
class Width:
    """How many integers a weight may be, evenly spaced around zero.

    From 6 bits down, zero is none of them (-3, -1, 1, 3 for 2 bits), so that all codes are used alike;
    ternary weights are -1, 0 and 1.

    Attributes:
        name: bits of a weight, or `ternary`.
        radices: how a level is written as digits, the lowest first; a byte of the file holds as many digits
            of one kind as fit.
        step: between two of the integers.
    """

    name: str
    radices: tuple[int, ...]
    step: int = 2

    @cached_property
    def levels(self) -> int:
        """How many integers there are."""
        return prod(self.radices)

    @cached_property
    def offset(self) -> int:
        """What is subtracted from a level times the step."""
        return (self.step * (self.levels - 1) + 1) // 2

    @cached_property
    def limit(self) -> int:
        """The largest integer; so is the smallest, negative."""
        return self.step * (self.levels - 1) // 2

    @property
    def bits(self) -> float:
        """Bits of a weight in the file."""
        return sum(8 / digits_per_byte(radix) for radix in self.radices)


WIDTHS: dict[str, Width] = {
    width.name: width
    for width in (
        Width("8", (16, 16), step=1),
        Width("6", (16, 4)),
        Width("5", (16, 2)),
        Width("4", (16,)),
        Width("3", (4, 2)),
        Width("2", (4,)),
        Width("ternary", (3,), step=1),
    )
}
EIGHT = WIDTHS["8"]


@dataclass(frozen=True)
class IntegerWeights:
    """A matrix as integers and what they are multiplied by.

    Attributes:
        values: [K, N].
        scale: [N], or [] for one of the whole matrix.
        width: of the values.
        error: mean over frames of the squared error of the layer's outputs, all of them together; 0 where
            they are not known.
        loss: the same as a share of the power of these outputs.
    """

    values: Int8Array
    scale: FloatArray
    width: Width = EIGHT
    error: float = 0.0
    loss: float = 0.0


def digits_per_byte(radix: int) -> int:
    """Return how many digits below a radix fit into a byte."""
    count = 1
    while radix ** (count + 1) <= 256:
        count += 1
    return count


def nearest(weights: Array, scale: Array, width: Width) -> Array:
    """Return the nearest integers of a width, as floats; ties go to even levels.

    Args:
        weights: [K, N], numpy or torch.
        scale: [N], positive.
    """
    levels = ((weights / scale + width.offset) / width.step).round()
    integers: Array = (levels * width.step - width.offset).clip(-width.limit, width.limit)
    return integers


def round_int8(
    weights: FloatArray, *, per_channel: bool = True, reduce_range: bool = False
) -> IntegerWeights:
    """Round weights [K, N] to int8, the largest magnitude to the largest integer.

    Args:
        per_channel: one scale per column.
        reduce_range: within ±64, so that two products of bytes fit 16 bits on CPUs without VNNI.
    """
    limit = 64.0 if reduce_range else 127.0
    largest = np.abs(weights).max(axis=0) if per_channel else np.abs(weights).max()
    scale = np.where(largest > 0, largest / limit, 1.0).astype(np.float32)
    return IntegerWeights(np.rint(weights / scale).clip(-limit, limit).astype(np.int8), scale)


def best_scale(
    weights: FloatArray, width: Width, gram: npt.NDArray[np.float64] | None = None
) -> npt.NDArray[np.float32]:
    """Return the scale [N] with which plain rounding costs the least.

    Args:
        weights: [K, N].
        width: of the integers.
        gram: XᵀX [K, K] of the layer's inputs, for the error of the output; None counts each weight alike.
    """
    largest_N = np.abs(weights).max(axis=0)
    largest_N = np.where(largest_N > 0, largest_N, 1.0)
    best_N, scale_N = np.full(len(largest_N), np.inf), np.ones(len(largest_N), np.float32)
    for share in _SHARES:
        tried_N = (share * largest_N / width.limit).astype(np.float32)
        error = nearest(weights, tried_N, width) * tried_N - weights
        error_N = ((error if gram is None else gram @ error) * error).sum(axis=0)
        better = error_N < best_N
        best_N, scale_N = np.where(better, error_N, best_N), np.where(better, tried_N, scale_N)
    return scale_N


def on_grid(weights: FloatArray, width: Width) -> IntegerWeights | None:
    """Return the integers of weights [K, N] that were trained to be such; None where they were not."""
    largest_N = np.abs(weights).max(axis=0)
    found = IntegerWeights(np.zeros(weights.shape, np.int8), np.ones(weights.shape[1], np.float32), width)
    missing = np.ones(weights.shape[1], bool)
    # The largest magnitude of a column need not be the highest level.
    for integer in range(width.limit, 0, -width.step):
        scale_N = np.where(largest_N > 0, largest_N / np.float32(integer), np.float32(1)).astype(np.float32)
        integers = nearest(weights, scale_N, width)
        fits = missing & (np.abs(integers - weights / scale_N).max(axis=0) <= _ON_GRID * integer)
        found.values[:, fits], found.scale[fits] = integers[:, fits], scale_N[fits]
        missing &= ~fits
    return None if missing.any() else found


def trained_integers(weights: FloatArray) -> bool:
    """Tell whether weights [K, N] were trained to be integers of 6 bits or less, from the first column."""
    if weights.ndim != 2 or len(weights) < 2 or not weights[:, 0].any():
        return False
    return any(on_grid(weights[:, :1], WIDTHS[name]) is not None for name in ("ternary", "6"))
