"""How a student leaves the house: export and quantization."""

from typing import Literal

QuantizePreset = Literal[
    "int8-dynamic", "int8-reduced", "int8-static", "int8-weights", "int4-weights", "fp16", "auto"
]
Hardware = Literal["cpu-vnni", "cpu-avx2", "arm64", "gpu"]
Calibration = Literal["minmax", "percentile", "entropy"]
Preference = Literal["size", "speed"]

QUANTIZE_PRESETS: tuple[QuantizePreset, ...] = (
    "int8-dynamic",
    "int8-reduced",
    "int8-static",
    "int8-weights",
    "int4-weights",
    "fp16",
    "auto",
)
# What is fastest there and still small: dynamic int8 wherever bytes are multiplied in hardware, 7-bit weights
# where pairs of 8-bit products saturate, half precision where dynamic int8 has no kernels.
HARDWARE: dict[Hardware, QuantizePreset] = {
    "cpu-vnni": "int8-dynamic",
    "cpu-avx2": "int8-reduced",
    "arm64": "int8-dynamic",
    "gpu": "fp16",
}
