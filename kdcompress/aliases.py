"""Names for types that many signatures share."""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

FloatArray: TypeAlias = npt.NDArray[np.float32]
DoubleArray: TypeAlias = npt.NDArray[np.float64]
IntArray: TypeAlias = npt.NDArray[np.int64]
BoolArray: TypeAlias = npt.NDArray[np.bool_]

Progress: TypeAlias = Callable[[int, int], None]
"""Called with what is done and what there is in all."""

StageProgress: TypeAlias = Callable[[str, float, float], None]
"""Called with the name of a stage, what is done of it, and what there is in all."""
