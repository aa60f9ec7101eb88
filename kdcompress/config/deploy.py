"""How a student leaves the house: export and quantization."""

from typing import Literal

QuantizePreset = Literal["int8-dynamic"]

QUANTIZE_PRESETS: tuple[QuantizePreset, ...] = ("int8-dynamic",)
