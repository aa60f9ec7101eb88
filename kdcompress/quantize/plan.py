"""Which nodes of a graph a preset quantizes, and how: presets as data."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx

from kdcompress.config.deploy import QuantizePreset
from kdcompress.runtime.layout import FRONTEND

Method = Literal["dynamic", "static", "weights", "half", "search"]


@dataclass(frozen=True)
class Preset:
    """How to quantize.

    Attributes:
        name: what `--quantize` takes, and the variant's name in the bundle.
        suffix: of the file: `model.int8.onnx`, which is what onnx-asr looks for with quantization `int8`.
        method: integer products with activations rounded at run time (`dynamic`) or with ranges found
            beforehand (`static`); integer `weights` that a float product unpacks; `half` precision; or the
            `search` for the best of them for this graph.
        operators: types whose constant weights are made smaller. Convolutions are not among the integer ones:
            int8 ones are slower than float ones on CPUs, and some builds do not load them.
        per_channel: one scale per output channel instead of one per matrix.
        reduce_range: 7-bit weights, for CPUs whose int8 products saturate (AVX2 without VNNI).
        output_share: leave the output layer in float when it holds at most this share of the weights that
            could be quantized: it is the one whose rounding nothing after it averages out.
        bits: of a weight, where `method` is `weights`.
        blocks: how many weights of a column may share a scale there; the one that wastes the least is taken,
            since a column is filled up to whole blocks.
    """

    name: QuantizePreset
    suffix: str
    method: Method
    operators: tuple[str, ...] = ("MatMul",)
    per_channel: bool = True
    reduce_range: bool = False
    output_share: float = 0.05
    bits: int = 8
    blocks: tuple[int, ...] = ()


PRESETS: dict[QuantizePreset, Preset] = {
    preset.name: preset
    for preset in (
        Preset("int8-dynamic", "int8", "dynamic"),
        Preset("int8-reduced", "int8-reduced", "dynamic", reduce_range=True),
        Preset("int8-static", "int8-static", "static"),
        Preset("int8-weights", "int8-weights", "weights", output_share=0.0, blocks=(32, 64, 128)),
        Preset("int4-weights", "int4-weights", "weights", bits=4, blocks=(16, 32)),
        Preset("fp16", "fp16", "half", operators=("MatMul", "Conv", "Gemm"), output_share=0.0),
        Preset("auto", "auto", "search", output_share=0.0),
    )
}


@dataclass(frozen=True)
class Plan:
    """What a preset means for one graph.

    Attributes:
        quantized: names of the nodes to quantize.
        kept: names of the nodes with constant weights that stay in float.
    """

    quantized: tuple[str, ...]
    kept: tuple[str, ...]


def plan(graph: onnx.GraphProto, preset: Preset) -> Plan:
    """Choose the nodes; products of two activations (attention) have no weights and are never chosen."""
    nodes = weighted(graph, preset.operators)
    kept: list[str] = []
    if len(nodes) > 1:
        # Nodes are in topological order: the last one with weights is the output layer.
        last, size = next(reversed(nodes.items()))
        if size <= preset.output_share * sum(nodes.values()):
            kept.append(last)
    return Plan(tuple(name for name in nodes if name not in kept), tuple(kept))


def weighted(graph: onnx.GraphProto, operators: tuple[str, ...] = ("MatMul",)) -> dict[str, int]:
    """Return the nodes with constant weights and how many weights they have, in topological order."""
    sizes = {tensor.name: int(np.prod(tensor.dims)) for tensor in graph.initializer}
    return {node.name: sizes[node.input[1]] for node in _weighted(graph, operators, sizes)}


def in_frontend(node: onnx.NodeProto) -> bool:
    """Tell whether a node belongs to a front end inside the graph: no preset and no storage touches those."""
    return node.name.startswith(f"{FRONTEND}/")


def block_size(rows: int, preset: Preset) -> int:
    """Return how many weights of a column of so many rows share a scale: the choice of fewest bytes.

    Of equals the smallest, which rounds the best.
    """

    def size(block: int) -> float:
        count = -(-rows // block)
        return count * (block * preset.bits / 8 + 2)  # the scale is stored in half precision

    return min(preset.blocks, key=lambda block: (size(block), block))


def _weighted(
    graph: onnx.GraphProto, operators: tuple[str, ...], sizes: dict[str, int]
) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        if node.op_type in operators and node.input[1] in sizes and not in_frontend(node):
            yield node
