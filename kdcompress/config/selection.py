"""On which frames the student is to match its teacher: the blank patterns."""

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Discriminator, Field, Tag, model_validator
from typing_extensions import Self

from kdcompress.config.base import Frozen
from kdcompress.config.pattern import (
    Growth,
    LabelFrames,
    LabelPattern,
    Mask,
    Width,
    WindowPattern,
    check_one_unit,
)


class SelectAll(Frozen):
    """Every valid frame: standard KD."""

    kind: Literal["all"] = "all"
    start_epoch: ClassVar[int] = 0
    prior: ClassVar[None] = None

    def select(self, frames: LabelFrames) -> Mask:
        """Return all of them."""
        return frames.valid

    def window(self, frame_shift: float) -> None:
        """Return none: no window around labels holds all frames."""


class SelectEliminate(WindowPattern):
    """Label frames only: blank elimination (KD-BE)."""

    kind: Literal["eliminate"] = "eliminate"

    def reach(self, frame_shift: float, epoch: int = 0) -> tuple[int, int]:
        """Return the frames kept (before, after) each label frame."""
        return 0, 0


class SelectSymmetric(WindowPattern):
    """Label frames and their neighbours within n on each side; n in frames or in milliseconds.

    Attributes:
        frames: n in frames of the student.
        ms: n in milliseconds, rounded to the nearest whole number of frames.
        grow: let n grow over the epochs, counted from `start_epoch`.
    """

    kind: Literal["symmetric"] = "symmetric"
    frames: int | None = Field(None, ge=0)
    ms: float | None = Field(None, ge=0)
    grow: Growth | None = None

    @model_validator(mode="after")
    def _one_unit(self) -> Self:
        check_one_unit("symmetric selection needs n", self.frames, self.ms)
        return self

    def n(self, frame_shift: float, epoch: int = 0) -> int:
        """Return n in frames of so many seconds in this epoch."""
        return _n(Width(frames=self.frames, ms=self.ms), self.grow, frame_shift, epoch - self.start_epoch)

    def reach(self, frame_shift: float, epoch: int = 0) -> tuple[int, int]:
        """Return the frames kept (before, after) each label frame."""
        n = self.n(frame_shift, epoch)
        return n, n


class SelectSides(WindowPattern):
    """Label frames with so much before (left) and after (right) each: left(n), right(n), or uneven.

    Attributes:
        left: kept before each label frame.
        right: kept after each label frame.
        grow: let both sides grow over the epochs, counted from `start_epoch`; a side of zero stays zero.
    """

    kind: Literal["sides"] = "sides"
    left: Width = Width(frames=0)
    right: Width = Width(frames=0)
    grow: Growth | None = None

    def reach(self, frame_shift: float, epoch: int = 0) -> tuple[int, int]:
        """Return the frames kept (before, after) each label frame."""
        epochs = epoch - self.start_epoch
        left, right = (
            _n(side, self.grow if side.in_frames(frame_shift) else None, frame_shift, epochs)
            for side in (self.left, self.right)
        )
        return left, right


class SelectTrim(LabelPattern):
    """Everything from the first to the last label frame of the utterance."""

    kind: Literal["trim"] = "trim"

    def select(self, frames: LabelFrames) -> Mask:
        """Return the frames between the first and the last label."""
        labels = frames.labels
        from_first = labels.cumsum(dim=1) > 0
        to_last = labels.flip(1).cumsum(dim=1).flip(1) > 0
        return from_first & to_last


class SelectThreshold(LabelPattern):
    """Label frames, and blank frames where the blank is in doubt.

    Attributes:
        mass: θ: a blank frame is kept if all other tokens together have at least this probability at τ = 1.
    """

    kind: Literal["threshold"] = "threshold"
    mass: float = Field(0.01, gt=0, le=1)

    def select(self, frames: LabelFrames) -> Mask:
        """Return the labels and the frames with that mass."""
        return frames.labels | (frames.nonblank >= math.log(self.mass))


class SelectRandom(LabelPattern):
    """Label frames, and blank frames of the same utterance drawn anew in each epoch.

    The draw depends on seed, utterance and epoch alone, so that a resumed run selects the same frames.

    Attributes:
        ratio: r: blank frames for each label frame, as far as the utterance has them.
    """

    kind: Literal["random"] = "random"
    ratio: float = Field(1.0, ge=0)

    def select(self, frames: LabelFrames) -> Mask:
        """Return the labels and so many others."""
        labels = frames.labels
        wanted = (labels.sum(dim=1).double() * self.ratio).round()
        return labels | frames.drawn(frames.valid & ~labels, wanted)


def _n(start: Width, grow: Growth | None, frame_shift: float, epochs: int) -> int:
    if grow is None:
        return round(start.in_frames(frame_shift))
    return grow.n(start, frame_shift, max(0, epochs))


def _kind(selection: Any) -> Any:
    """Return the kind, symmetric where none is given: `--set objective.selection.ms=40` is enough."""
    if isinstance(selection, Mapping):
        return selection.get("kind", "symmetric")
    return getattr(selection, "kind", None)


Selection = Annotated[
    Annotated[SelectAll, Tag("all")]
    | Annotated[SelectEliminate, Tag("eliminate")]
    | Annotated[SelectSymmetric, Tag("symmetric")]
    | Annotated[SelectSides, Tag("sides")]
    | Annotated[SelectTrim, Tag("trim")]
    | Annotated[SelectThreshold, Tag("threshold")]
    | Annotated[SelectRandom, Tag("random")],
    Discriminator(_kind),
]
