"""How a student leaves the house: export and quantization."""

from typing import Literal

Profile = Literal["portable"]
QuantizePreset = Literal["int8-dynamic"]

PROFILES: tuple[Profile, ...] = ("portable",)
QUANTIZE_PRESETS: tuple[QuantizePreset, ...] = ("int8-dynamic",)
