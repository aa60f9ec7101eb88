"""What the student is asked to match, and on which frames."""

from typing import Annotated, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from kdcompress.config.base import Frozen


class SelectAll(Frozen):
    """Every valid frame: standard KD."""

    kind: Literal["all"] = "all"


class SelectEliminate(Frozen):
    """Frames where the teacher's best token is not the blank: blank elimination."""

    kind: Literal["eliminate"] = "eliminate"


class SelectSymmetric(Frozen):
    """Label frames and their neighbours within n on each side; n in frames or in milliseconds.

    Attributes:
        frames: n in teacher frames.
        ms: n in milliseconds, rounded to the nearest whole number of frames.
    """

    kind: Literal["symmetric"] = "symmetric"
    frames: int | None = Field(None, ge=0)
    ms: float | None = Field(None, ge=0)

    @model_validator(mode="after")
    def _one_unit(self) -> Self:
        if (self.frames is None) == (self.ms is None):
            raise ValueError("symmetric selection needs n in one unit: frames or ms")
        return self

    def n(self, frame_shift: float) -> int:
        """Return n in frames for a teacher with this frame shift [s]."""
        if self.frames is not None:
            return self.frames
        assert self.ms is not None  # the validator saw to it
        return round(self.ms / 1000 / frame_shift)


Selection = Annotated[SelectAll | SelectEliminate | SelectSymmetric, Field(discriminator="kind")]


class ObjectiveConfig(Frozen):
    """L = λ·(L_KD + w·L_occupancy) + (1 − λ)·L_CTC.

    Attributes:
        kd_weight: λ. 1: no transcript is read; 0: supervised CTC, no teacher is opened.
        temperature: τ, applied to both sides.
        selection: frames that L_KD is taken over.
        occupancy_weight: w of the two-class KL {blank, not blank} over all valid frames.
        exit_weight: v, for students with exits: L becomes (1 − v)·L(end) + v·mean of L over the exits.
    """

    kd_weight: float = Field(1.0, ge=0, le=1)
    temperature: float = Field(1.0, gt=0)
    selection: Selection = SelectSymmetric(ms=80)
    occupancy_weight: float = Field(1.0, ge=0)
    exit_weight: float = Field(0.3, ge=0, lt=1)
