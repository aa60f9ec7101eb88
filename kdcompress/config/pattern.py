"""What blank patterns are made of: widths, schedules, and the frames that a pattern looks at.

A pattern is data with one method, `select`, which calls methods of the tensors that it is given: so a recipe
can name it without importing torch. A further one is a class in a file of its own and a line in `Selection`.
"""

from abc import abstractmethod
from typing import Any, Protocol, TypeAlias

from pydantic import Field, model_validator
from typing_extensions import Self

from kdcompress.config.base import Frozen

WIDEST_EPOCH = 10**6  # by then every n that grows has reached its limit

Mask: TypeAlias = Any
"""A torch tensor, bool [B, T]."""


class LabelFrames(Protocol):
    """A teacher's frames, and what a pattern may ask of them.

    Attributes:
        labels: frames whose best token is not the blank; padding is none.
        valid: frames within their utterance.
        nonblank: log of the mass of all tokens but the blank, float [B, T].
        frame_shift: [s].
        epoch: passes over the data so far.
    """

    @property
    def labels(self) -> Mask: ...
    @property
    def valid(self) -> Mask: ...
    @property
    def nonblank(self) -> Any: ...
    @property
    def frame_shift(self) -> float: ...
    @property
    def epoch(self) -> int: ...

    def around(self, left: int, right: int) -> Mask:
        """Return the frames up to `left` before and `right` after a label frame."""

    def drawn(self, candidates: Mask, wanted: Any) -> Mask:
        """Draw so many candidates of each utterance (numbers [B]), anew in each epoch."""


def check_one_unit(what: str, frames: int | None, ms: float | None) -> None:
    if (frames is None) == (ms is None):
        raise ValueError(f"{what} in one unit: frames or ms")


class Width(Frozen):
    """A stretch of time, in frames of the student or in milliseconds.

    Attributes:
        frames: number of frames.
        ms: rounded to the nearest whole number of frames once all is added up.
    """

    frames: int | None = Field(None, ge=0)
    ms: float | None = Field(None, ge=0)

    @model_validator(mode="after")
    def _one_unit(self) -> Self:
        check_one_unit("a width is given", self.frames, self.ms)
        return self

    def in_frames(self, frame_shift: float) -> float:
        """Return the width in frames of so many seconds, not rounded."""
        if self.frames is not None:
            return self.frames
        assert self.ms is not None  # the validator saw to it
        return self.ms / 1000 / frame_shift


class Growth(Frozen):
    """A schedule for n: wider by `by` every so many epochs, never wider than `limit`."""

    by: Width
    every: int = Field(1, ge=1)
    limit: Width

    def n(self, start: Width, frame_shift: float, epochs: int) -> int:
        """Return n in frames after so many epochs of selection; never below what it starts with."""
        first = start.in_frames(frame_shift)
        grown = first + epochs // self.every * self.by.in_frames(frame_shift)
        return round(max(first, min(grown, self.limit.in_frames(frame_shift))))


class BlankPrior(Frozen):
    """Decide what is a label by argmax of log q - weight·log prior, where a teacher favours the blank.

    The prior is the teacher's mean posterior. It moves the selection only: targets stay as they are.

    Attributes:
        weight: 0 is the plain argmax.
        utterances: of the training audio, evenly spaced, that the prior is averaged over before the first
            step; the run keeps it.
    """

    weight: float = Field(0.5, ge=0)
    utterances: int = Field(500, ge=1)


class LabelPattern(Frozen):
    """What the patterns share that begin with the label frames: those whose best token is not the blank.

    Attributes:
        start_epoch: before this epoch (they count from 0) all frames are selected.
        prior: correct the blank decision; None takes the argmax as it is.
    """

    kind: str
    start_epoch: int = Field(0, ge=0)
    prior: BlankPrior | None = None

    @abstractmethod
    def select(self, frames: LabelFrames) -> Mask:
        """Return the frames to keep; what is padding is taken out by the caller."""

    def window(self, frame_shift: float) -> tuple[int, int] | None:
        """Return the frames (before, after) each label that are kept in any epoch.

        A cache of selected frames serves what lies within the window that it keeps; None: it serves nothing.
        """
        return None


class WindowPattern(LabelPattern):
    """A pattern that keeps a window around each label frame."""

    @abstractmethod
    def reach(self, frame_shift: float, epoch: int = 0) -> tuple[int, int]:
        """Return the frames kept (before, after) each label frame."""

    def select(self, frames: LabelFrames) -> Mask:
        """Return the frames within reach of a label."""
        return frames.around(*self.reach(frames.frame_shift, frames.epoch))

    def window(self, frame_shift: float) -> tuple[int, int] | None:
        """Return the reach at its widest."""
        # With a prior other frames are labels, and before its first epoch a pattern selects all.
        if self.prior is not None or self.start_epoch:
            return None
        return self.reach(frame_shift, WIDEST_EPOCH)
