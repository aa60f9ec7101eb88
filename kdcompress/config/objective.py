"""What the student is asked to match, and on which frames."""

from pydantic import Field

from kdcompress.config.base import Frozen
from kdcompress.config.selection import SelectAll, SelectEliminate, Selection, SelectSymmetric

__all__ = ["ObjectiveConfig", "SelectAll", "SelectEliminate", "SelectSymmetric", "Selection"]


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
