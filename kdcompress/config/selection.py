"""On which frames the student is asked to match its teacher: the blank patterns, as data."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator
from typing_extensions import Self

from kdcompress.config.base import Frozen


def _check_one_unit(what: str, frames: int | None, ms: float | None) -> None:
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
        _check_one_unit("a width is given", self.frames, self.ms)
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
    """Decide what is a label by argmax of log q - weight·log prior, where a teacher says blank too readily.

    The prior is the teacher's mean posterior. It moves the selection only: targets stay as they are.

    Attributes:
        weight: 0 is the plain argmax.
        utterances: of the training audio, evenly spaced, that the prior is averaged over before the first
            step; the run keeps it.
    """

    weight: float = Field(0.5, ge=0)
    utterances: int = Field(500, ge=1)


class SelectAll(Frozen):
    """Every valid frame: standard KD."""

    kind: Literal["all"] = "all"


class LabelPattern(Frozen):
    """What the patterns share that begin with the label frames: those whose best token is not the blank.

    Attributes:
        start_epoch: before this epoch (they count from 0) all frames are selected.
        prior: correct the blank decision; None takes the argmax as it is.
    """

    kind: str
    start_epoch: int = Field(0, ge=0)
    prior: BlankPrior | None = None


class SelectEliminate(LabelPattern):
    """Label frames only: blank elimination (KD-BE)."""

    kind: Literal["eliminate"] = "eliminate"

    def reach(self, frame_shift: float, epoch: int = 0) -> tuple[int, int]:
        """Return the frames kept (before, after) each label frame."""
        return 0, 0


class SelectSymmetric(LabelPattern):
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
        _check_one_unit("symmetric selection needs n", self.frames, self.ms)
        return self

    def n(self, frame_shift: float, epoch: int = 0) -> int:
        """Return n in frames of so many seconds in this epoch."""
        return _n(Width(frames=self.frames, ms=self.ms), self.grow, frame_shift, epoch - self.start_epoch)

    def reach(self, frame_shift: float, epoch: int = 0) -> tuple[int, int]:
        """Return the frames kept (before, after) each label frame."""
        n = self.n(frame_shift, epoch)
        return n, n


class SelectSides(LabelPattern):
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


class SelectThreshold(LabelPattern):
    """Label frames, and blank frames where the blank is in doubt.

    Attributes:
        mass: θ: a blank frame is kept if all other tokens together have at least this probability at τ = 1.
    """

    kind: Literal["threshold"] = "threshold"
    mass: float = Field(0.01, gt=0, le=1)


class SelectRandom(LabelPattern):
    """Label frames, and blank frames of the same utterance drawn anew in each epoch.

    The draw depends on seed, utterance and epoch alone, so that a resumed run selects the same frames.

    Attributes:
        ratio: r: blank frames for each label frame, as far as the utterance has them.
    """

    kind: Literal["random"] = "random"
    ratio: float = Field(1.0, ge=0)


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
