"""What a cache of a teacher's posteriors keeps of each frame."""

from typing import Literal

from pydantic import Field

from kdcompress.config.base import Frozen


class CacheStorage(Frozen):
    """Which frames are kept, and how much of each; held-out audio is always kept whole, to validate on.

    Attributes:
        frames: all valid ones, which leaves the selection free; or those that the recipe selects, and of the
            others the probability of the blank.
        top_k: tokens kept of a frame, the blank always among them, beside the mass of all others; None keeps
            every token.
    """

    frames: Literal["all", "selected"] = "all"
    top_k: int | None = Field(None, ge=2)
