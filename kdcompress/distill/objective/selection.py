"""Which frames the student is to match.

The patterns are classes of `kdcompress.config.selection`; here is what they are built from. Each is a few
operations on whole batches, on any device, and looks at one utterance at a time: neither padding nor the
other utterances change what it keeps.

House letters: B batch, T frames, V vocabulary.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from kdcompress.config.selection import Selection
from kdcompress.frontend.masks import valid_frames


def label_frames(log_probs_BTV: Tensor, lengths_B: Tensor, blank: int) -> Tensor:
    """Return bool [B, T]: True where the most probable token of a valid frame is not the blank."""
    labels = log_probs_BTV.argmax(dim=-1) != blank
    return labels & valid_frames(lengths_B, labels.shape[1])


@dataclass(frozen=True)
class Frames:
    """What a pattern looks at; see `kdcompress.config.pattern.LabelFrames`."""

    labels: Tensor
    valid: Tensor
    frame_shift: float
    epoch: int
    nonblank_BT: Tensor | None = None
    keys_B: Tensor | None = None

    @property
    def nonblank(self) -> Tensor:
        """Log of the mass of all tokens but the blank at τ = 1, float [B, T]."""
        if self.nonblank_BT is None:
            raise ValueError("threshold selection needs the mass of the tokens that are not blank")
        return self.nonblank_BT

    def around(self, left: int, right: int) -> Tensor:
        """Return the frames up to `left` before and `right` after a label frame."""
        return dilate(self.labels, left, right)

    def drawn(self, candidates: Tensor, wanted: Tensor) -> Tensor:
        """Draw so many candidates of each utterance."""
        if self.keys_B is None:
            raise ValueError("random selection needs a key for each utterance; see draw_keys")
        return draw(candidates, wanted, self.keys_B)


def select_frames(
    selection: Selection,
    labels_BT: Tensor,
    lengths_B: Tensor,
    frame_shift: float,
    *,
    epoch: int = 0,
    nonblank_BT: Tensor | None = None,
    keys_B: Tensor | None = None,
) -> Tensor:
    """Return bool [B, T]: the frames that a selection keeps; padding never is.

    Args:
        selection: the pattern, with its schedule.
        labels_BT: what `label_frames` returned.
        lengths_B: valid frames per utterance.
        frame_shift: of the labels [s], for widths given in milliseconds.
        epoch: passes over the data so far, for schedules.
        nonblank_BT: log of the mass of all tokens but the blank at τ = 1; threshold needs it.
        keys_B: what `draw_keys` returned; random needs it.

    Raises:
        ValueError: a pattern lacks what it needs.
    """
    valid = valid_frames(lengths_B, labels_BT.shape[1])
    if epoch < selection.start_epoch:
        return valid
    selected: Tensor = selection.select(
        Frames(labels_BT & valid, valid, frame_shift, epoch, nonblank_BT, keys_B)
    )
    return selected & valid


def dilate(labels_BT: Tensor, left: int, right: int) -> Tensor:
    """Return bool [B, T]: True up to `left` frames before and `right` frames after a label.

    Counts the labels within each frame's window, whose ends stop at the edges, where a rolled mask would wrap
    around. The cost does not depend on the width.
    """
    frames = labels_BT.shape[1]
    seen = functional.pad(labels_BT.cumsum(dim=1), (1, 0))  # [B, T + 1]: labels before each frame
    frame = torch.arange(frames, device=labels_BT.device)
    return seen[:, (frame + left + 1).clamp(max=frames)] > seen[:, (frame - right).clamp(min=0)]


def draw(candidates_BT: Tensor, wanted_B: Tensor, keys_B: Tensor) -> Tensor:
    """Return bool [B, T]: so many candidates of each row, drawn evenly; all of them where there are fewer."""
    numbers = _numbers(keys_B, candidates_BT.shape[1])
    numbers = numbers.masked_fill(~candidates_BT, torch.iinfo(torch.int64).max)
    rank = numbers.argsort(dim=1, stable=True).argsort(dim=1)
    return candidates_BT & (rank < wanted_B[:, None])


def draw_keys(seed: int, epoch: int, ids: Sequence[str]) -> Tensor:
    """Return int64 [B]: what an utterance's draw of frames in an epoch begins with, whatever its batch."""
    digests = (hashlib.sha256(f"frames/{seed}/{epoch}/{id_}".encode()).digest() for id_ in ids)
    return torch.tensor([int.from_bytes(d[:8], "big", signed=True) for d in digests], dtype=torch.int64)


def _numbers(keys_B: Tensor, frames: int) -> Tensor:
    """Return int64 [B, T], evenly spread over 0 … 2⁶³ - 1: SplitMix64 (Steele et al. 2014) of key and frame.

    A generator per utterance would draw one after the other, and other numbers on another device.
    """
    steps = torch.arange(1, frames + 1, device=keys_B.device)
    x = keys_B[:, None] + steps[None, :] * _signed(0x9E3779B97F4A7C15)
    x = (x ^ _shifted(x, 30)) * _signed(0xBF58476D1CE4E5B9)
    x = (x ^ _shifted(x, 27)) * _signed(0x94D049BB133111EB)
    return (x ^ _shifted(x, 31)) & torch.iinfo(torch.int64).max


def _shifted(x: Tensor, bits: int) -> Tensor:
    """Shift to the right as if unsigned."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _signed(constant: int) -> int:
    return constant - (1 << 64)
