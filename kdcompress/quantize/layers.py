"""Which nodes of a graph a preset quantizes."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import numpy_helper

from kdcompress.aliases import FloatArray
from kdcompress.config.deploy import Preset
from kdcompress.runtime.layout import FRONTEND


@dataclass(frozen=True)
class LayerChoice:
    """What a preset means for one graph.

    Attributes:
        quantized: names of the nodes to quantize.
        kept: names of the nodes with constant weights that stay in float.
    """

    quantized: tuple[str, ...]
    kept: tuple[str, ...]


def choose_layers(graph: onnx.GraphProto, preset: Preset) -> LayerChoice:
    """Choose the nodes; products of two activations (attention) have no weights and are never chosen."""
    nodes = weighted(graph, preset.operators)
    kept: list[str] = []
    if len(nodes) > 1:
        # Nodes are in topological order: the last one with weights is the output layer.
        last, size = next(reversed(nodes.items()))
        if size <= preset.output_share * sum(nodes.values()):
            kept.append(last)
    return LayerChoice(tuple(name for name in nodes if name not in kept), tuple(kept))


def weighted(graph: onnx.GraphProto, operators: tuple[str, ...] = ("MatMul",)) -> dict[str, int]:
    """Return the nodes with constant weights and how many weights they have, in topological order."""
    sizes = {tensor.name: int(np.prod(tensor.dims)) for tensor in graph.initializer}
    return {node.name: sizes[node.input[1]] for node in _weighted(graph, operators, sizes)}


def weight_matrices(graph: onnx.GraphProto, nodes: Collection[str]) -> dict[str, FloatArray]:
    """Return the constant weights [K, N] of some nodes, by the nodes' names."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    return {
        node.name: numpy_helper.to_array(constants[node.input[1]])
        for node in graph.node
        if node.name in nodes
    }


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
