"""What a frame of a streaming student depends on: its chunk, what is before, and a look-ahead.

House letters: B batch, T frames, D width; C frames of a chunk, A of its look-ahead, L of the past. P are
numbers per frame, such as those of keys and values.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from kdcompress.students.layers import Joined


@dataclass(frozen=True)
class Chunks:
    """What a frame may depend on: its own chunk, and fixed numbers of frames before and behind that.

    Attributes:
        frames: of a chunk, C.
        left: of the past, for attention, L.
        ahead: of the look-ahead, A. Every layer computes them anew for each chunk, from nothing that is
            later: however many layers there are, nothing depends on more.
    """

    frames: int
    left: int
    ahead: int = 0

    def keys(self, valid_BT: Tensor) -> Tensor:
        """Return bool [B, 1, T, T]: which frames each frame attends to, without a look-ahead.

        Padding attends to padding too.
        """
        at = torch.arange(valid_BT.shape[1], device=valid_BT.device)
        first = at // self.frames * self.frames
        window = (at >= (first - self.left)[:, None]) & (at < (first + self.frames)[:, None])
        return (window & (valid_BT[:, None, :] | ~valid_BT[:, :, None]))[:, None]


class Cache:
    """What one module made of the frames before a chunk, while it streams.

    Attributes:
        after: the same for the next chunk, once the module was run.
    """

    def __init__(self, before: Tensor, axis: int, frames: int) -> None:
        self.after, self._axis, self._frames = before, axis, frames

    def __call__(self, new: Tensor) -> Tensor:
        """Put what it makes of a chunk and its look-ahead behind; see `Joined`."""
        joined = torch.cat((self.after, new), dim=self._axis)
        self.after = joined.narrow(self._axis, self._frames, self.after.shape[self._axis])
        return joined


class Windows:
    """All chunks of some utterances, each with its look-ahead: rows of a batch [B ⌈T / C⌉, C + A]."""

    def __init__(self, chunks: Chunks, batch: int, frames: int) -> None:
        self._chunks, self._batch, self._frames = chunks, batch, frames
        self._count = -(-frames // chunks.frames)

    def cut(self, x_BTP: Tensor) -> Tensor:
        """Return the windows of frames [B, T, P]."""
        size, ahead = self._chunks.frames, self._chunks.ahead
        x = functional.pad(x_BTP, (0, 0, 0, self._count * size + ahead - self._frames))
        return x.unfold(1, size + ahead, size).transpose(2, 3).flatten(0, 1)

    def own(self, x: Tensor) -> Tensor:
        """Return the frames [B, T, P] of windows, without their look-aheads: the reverse of `cut`."""
        return self._whole(x)[:, : self._frames]

    def attended(self, new: Tensor) -> Tensor:
        """Put [B ⌈T / C⌉, C + A, P] behind those of the L frames before each window; see `Joined`."""
        return self._joined(new, self._chunks.left)

    def tail(self, reach: int) -> Joined:
        """Return what does so with [B ⌈T / C⌉, P, C + A] and `reach` frames."""
        return lambda new: self._joined(new.transpose(1, 2), reach).transpose(1, 2)

    def _joined(self, new: Tensor, left: int) -> Tensor:
        before = functional.pad(self._whole(new), (0, 0, left, 0))
        past = before.unfold(1, left, self._chunks.frames)[:, : self._count].transpose(2, 3).flatten(0, 1)
        return torch.cat((past, new), dim=1)

    def _whole(self, x: Tensor) -> Tensor:
        return x[:, : self._chunks.frames].reshape(self._batch, -1, x.shape[2])
