"""Group normalisation over time that padding does not reach: the first layer of wav2vec2-base and its like.

Such a layer has a group for each channel, so that its statistics are those of a row over all of its time,
padding included. Taken over the valid samples of each row instead, they are those of the row alone: padded
batches give what rows give one by one.

B batch, C channels, T samples or frames.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import group_norm


class ValidGroupNorm(nn.Module):
    """The group normalisation that it is made of, with statistics over each row's first `lengths` only."""

    def __init__(self, norm: nn.GroupNorm) -> None:
        super().__init__()
        self.weight, self.bias, self.groups, self.eps = norm.weight, norm.bias, norm.num_groups, norm.eps
        self.lengths: list[int] | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Normalise [B, C, T], in place where there is padding, which stays as it is."""
        if self.lengths is None:
            return group_norm(x, self.groups, self.weight, self.bias, self.eps)
        for row, length in enumerate(self.lengths):
            valid = x[row : row + 1, :, :length]
            valid.copy_(group_norm(valid, self.groups, self.weight, self.bias, self.eps))
        return x


class GroupNorms:
    """The group normalisations in a stack of convolutions, replaced by those over valid samples."""

    def __init__(self, layers: Sequence[Any], kernels: Sequence[int], strides: Sequence[int]) -> None:
        """Replace them.

        Args:
            layers: with the attribute `layer_norm`, where they have one.
            kernels: of their convolutions, as are the strides.
        """
        self._found: list[tuple[ValidGroupNorm, list[tuple[int, int]]]] = []
        sizes = list(zip(kernels, strides, strict=True))
        for index, layer in enumerate(layers):
            norm = getattr(layer, "layer_norm", None)
            if isinstance(norm, nn.GroupNorm):
                layer.layer_norm = ValidGroupNorm(norm)
                self._found.append((layer.layer_norm, sizes[: index + 1]))

    @contextmanager
    def over(self, samples: Sequence[int]) -> Iterator[None]:
        """Take statistics over so many samples of each row while the block runs."""
        try:
            for norm, sizes in self._found:
                norm.lengths = [_frames(length, sizes) for length in samples]
            yield
        finally:
            for norm, _ in self._found:
                norm.lengths = None


def _frames(samples: int, sizes: Sequence[tuple[int, int]]) -> int:
    for kernel, stride in sizes:
        samples = (samples - kernel) // stride + 1
    return samples
