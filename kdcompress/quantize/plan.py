"""Which nodes of a graph a preset quantizes, and how: presets as data."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx

from kdcompress.config.deploy import QuantizePreset


@dataclass(frozen=True)
class Preset:
    """How to quantize.

    Attributes:
        name: what `--quantize` takes, and the variant's name in the bundle.
        suffix: of the file: `model.int8.onnx`, which is what onnx-asr looks for with quantization `int8`.
        operators: types whose constant weights become int8. Convolutions are not among them: int8 ones are
            slower than float ones on CPUs, and some builds do not load them.
        per_channel: one scale per output channel instead of one per matrix.
        reduce_range: 7-bit weights, for CPUs whose int8 products saturate (AVX2 without VNNI).
        output_share: leave the output layer in float when it holds at most this share of the weights that
            could be quantized: it is the one whose rounding nothing after it averages out.
    """

    name: QuantizePreset
    suffix: str
    operators: tuple[str, ...]
    per_channel: bool
    reduce_range: bool
    output_share: float


PRESETS: dict[QuantizePreset, Preset] = {
    "int8-dynamic": Preset(
        name="int8-dynamic",
        suffix="int8",
        operators=("MatMul",),
        per_channel=True,
        reduce_range=False,
        output_share=0.05,
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
    weights = {tensor.name: int(np.prod(tensor.dims)) for tensor in graph.initializer}
    nodes = [(node.name, weights[node.input[1]]) for node in _weighted(graph, preset, weights)]
    kept: list[str] = []
    if len(nodes) > 1:
        # Nodes are in topological order: the last one with weights is the output layer.
        last, size = nodes[-1]
        if size <= preset.output_share * sum(size for _, size in nodes):
            kept.append(last)
    return Plan(tuple(name for name, _ in nodes if name not in kept), tuple(kept))


def _weighted(graph: onnx.GraphProto, preset: Preset, weights: dict[str, int]) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        if node.op_type in preset.operators and node.input[1] in weights:
            yield node
