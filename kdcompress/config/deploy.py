"""How a student leaves the house: the presets of quantization, as data, and one profile without a graph."""

from dataclasses import dataclass
from typing import Literal

Calibration = Literal["minmax", "percentile", "entropy"]
Preference = Literal["size", "speed"]
Method = Literal["dynamic", "packed", "static", "weights", "half", "search"]

HUGGINGFACE = "huggingface"
"""The profile that has no graph: what it writes is a model of transformers."""

OUTPUT_SHARE = 0.05  # of the weights: an output layer that holds no more stays in float


@dataclass(frozen=True)
class Preset:
    """One way to quantize; a new one is an entry of `PRESETS`.

    Attributes:
        name: what `--quantize` takes, and the variant's name in the bundle.
        suffix: of the file: `model.int8.onnx`, which is what onnx-asr looks for with quantization `int8`.
        method: integer products with activations rounded at run time (`dynamic`), of weights that are
            unpacked when the file is loaded (`packed`), or with ranges found beforehand (`static`); integer
            `weights` that a float product unpacks at each run; `half` precision; or the `search` for the best
            of them for this graph.
        summary: bits of storage, kind of arithmetic, which runtimes; one short line for `--help`.
        operators: types whose constant weights are made smaller. Convolutions are not among the integer ones:
            int8 ones are slower than float ones on CPUs, and some builds do not load them.
        reduce_range: 7-bit weights, for CPUs whose int8 products saturate (AVX2 without VNNI).
        output_share: leave the output layer in float when it holds at most this share of the weights that
            could be quantized: it is the one whose rounding nothing after it averages out.
        width: of a weight, where `method` is `packed`: a name of `kdcompress.quantize.rounding.WIDTHS`.
        max_loss: what rounding may cost all layers together, as a sum of shares of their outputs' power, on
            audio; the layers that lose the most get 5 or 6 bits. None where all have the same width.
        bits: of a weight, where `method` is `weights`.
        blocks: how many weights of a column may share a scale there; the one that wastes the least is taken,
            since a column is filled up to whole blocks.
    """

    name: str
    suffix: str
    method: Method
    summary: str
    operators: tuple[str, ...] = ("MatMul",)
    reduce_range: bool = False
    output_share: float = OUTPUT_SHARE
    width: str = "8"
    max_loss: float | None = None
    bits: int = 8
    blocks: tuple[int, ...] = ()


PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset("int8-dynamic", "int8", "dynamic", "8 bits, integer products, every runtime"),
        Preset(
            "int8-reduced",
            "int8-reduced",
            "dynamic",
            "7 bits, the same, for AVX2 without VNNI",
            reduce_range=True,
        ),
        *(
            Preset(
                name,
                name,
                "packed",
                f"{bits} bits, integer products, every runtime",
                width=width,
                max_loss=max_loss,
            )
            for name, width, bits, max_loss in (
                # Students that lose no words at 4 bits are about there; see export/README.md.
                ("int4", "4", "4", 0.03),
                ("int3", "3", "3", None),
                ("int2", "2", "2", None),
                ("ternary", "ternary", "1.6", None),
            )
        ),
        Preset(
            "int8-static",
            "int8-static",
            "static",
            "8 bits, integer products of fixed ranges",
        ),
        Preset(
            "int8-weights",
            "int8-weights",
            "weights",
            "8 bits, float products, onnxruntime; slow",
            output_share=0.0,
            blocks=(32, 64, 128),
        ),
        Preset(
            "int4-weights",
            "int4-weights",
            "weights",
            "4 bits, float products, onnxruntime; slow",
            output_share=0.0,
            bits=4,
            blocks=(16, 32),
        ),
        Preset(
            "fp16",
            "fp16",
            "half",
            "16 bits, half-precision products, for GPUs",
            operators=("MatMul", "Conv", "Gemm"),
            output_share=0.0,
        ),
        Preset(
            "auto",
            "auto",
            "search",
            "bits for each layer, within a budget",
            output_share=0.0,
        ),
    )
}

HARDWARE: dict[str, str] = {
    # What is fastest there and still small: dynamic int8 wherever bytes are multiplied in hardware, 7-bit
    # weights where pairs of 8-bit products saturate, half precision where dynamic int8 has no kernels.
    "cpu-vnni": "int8-dynamic",
    "cpu-avx2": "int8-reduced",
    "arm64": "int8-dynamic",
    "gpu": "fp16",
}
