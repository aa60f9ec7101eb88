"""Put integer weights into a graph, node by node, with standard operators only.

House letters: K inputs and N outputs of a linear layer.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from kdcompress.aliases import FloatArray

IntArray: TypeAlias = npt.NDArray[np.int8]


class Rewriter:
    """A graph while its nodes are replaced; each distinct weight and activation is converted once."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.graph = graph
        self._tensors = {tensor.name: tensor for tensor in graph.initializer}
        self._taken = {name for node in graph.node for name in node.output} | set(self._tensors)
        self._prepared: dict[tuple[str, str], tuple[str, ...]] = {}

    def constant(self, name: str) -> npt.NDArray[Any]:
        """Return the value of an initializer."""
        return numpy_helper.to_array(self._tensors[name])

    def add(self, name: str, value: npt.NDArray[Any]) -> str:
        """Put a constant into the graph, under this name or one like it that is free."""
        free = self.fresh(name)
        self._tensors[free] = numpy_helper.from_array(np.ascontiguousarray(value), free)
        self.graph.initializer.append(self._tensors[free])
        return free

    def fresh(self, name: str) -> str:
        """Return a name that nothing in the graph has."""
        free, count = name, 0
        while free in self._taken:
            count += 1
            free = f"{name}.{count}"
        self._taken.add(free)
        return free

    def once(self, what: str, name: str, make: Callable[[], tuple[str, ...]]) -> tuple[str, ...]:
        """Return the names that `make` gave when it was first asked for this."""
        key = (what, name)
        if key not in self._prepared:
            self._prepared[key] = make()
        return self._prepared[key]

    def replace(self, nodes: Collection[str], make: Callable[[onnx.NodeProto], list[onnx.NodeProto]]) -> None:
        """Put what `make` returns in the place of each of the nodes, and drop constants nobody reads."""
        wanted = set(nodes)
        after: list[onnx.NodeProto] = []
        for node in self.graph.node:
            after += make(node) if node.name in wanted else [node]
        del self.graph.node[:]
        self.graph.node.extend(after)
        drop_unread(self.graph)
        self._tensors = {tensor.name: tensor for tensor in self.graph.initializer}


def drop_unread(graph: onnx.GraphProto) -> None:
    """Remove initializers that no node reads."""
    read = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in read]:
        graph.initializer.remove(tensor)


def integer_weights(
    weights: FloatArray, *, per_channel: bool, reduce_range: bool = False
) -> tuple[IntArray, FloatArray]:
    """Round weights [K, N] to int8 around zero; returns them and their scale, [N] or [].

    Args:
        per_channel: one scale per column.
        reduce_range: within ±64, so that two products of bytes fit 16 bits on CPUs without VNNI.
    """
    limit = 64.0 if reduce_range else 127.0
    largest = np.abs(weights).max(axis=0) if per_channel else np.abs(weights).max()
    scale = np.where(largest > 0, largest / limit, 1.0).astype(np.float32)
    return np.rint(weights / scale).clip(-limit, limit).astype(np.int8), scale


def make_dynamic(
    graph: onnx.GraphProto, nodes: Collection[str], *, per_channel: bool, reduce_range: bool = False
) -> None:
    """Turn MatMuls with constant weights into integer products; activations are rounded at run time.

    The pattern is the one that onnxruntime fuses into a single operator: uint8 activations with the range of
    the whole tensor, symmetric int8 weights, one multiplication with both scales.
    """
    rewriter = Rewriter(graph)

    def weight_names(name: str) -> tuple[str, ...]:
        values, scale = integer_weights(
            rewriter.constant(name), per_channel=per_channel, reduce_range=reduce_range
        )
        return rewriter.add(f"{name}_quantized", values), rewriter.add(f"{name}_scale", scale)

    def integer_product(node: onnx.NodeProto) -> list[onnx.NodeProto]:
        made: list[onnx.NodeProto] = []
        source, matrix = node.input

        def activation() -> tuple[str, ...]:
            names = tuple(rewriter.fresh(f"{source}_{part}") for part in ("quantized", "scale", "zero_point"))
            made.append(
                helper.make_node("DynamicQuantizeLinear", [source], names, name=f"{names[0]}_quantize")
            )
            return names

        quantized, scale, zero = rewriter.once("activation", source, activation)
        values, value_scale = rewriter.once("weights", matrix, lambda: weight_names(matrix))
        name = node.name
        both, integers, floats = (
            rewriter.fresh(f"{name}_{part}") for part in ("scales", "integers", "floats")
        )
        return [
            *made,
            helper.make_node("Mul", [scale, value_scale], [both], name=f"{name}_scales"),
            helper.make_node("MatMulInteger", [quantized, values, zero], [integers], name=name),
            helper.make_node("Cast", [integers], [floats], name=f"{name}_cast", to=TensorProto.FLOAT),
            helper.make_node("Mul", [floats, both], [node.output[0]], name=f"{name}_scaled"),
        ]

    rewriter.replace(nodes, integer_product)


def make_static(
    graph: onnx.GraphProto, ranges: Mapping[str, tuple[float, float]], nodes: Collection[str]
) -> None:
    """Put QuantizeLinear and DequantizeLinear around both inputs of MatMuls with constant weights.

    Outputs stay in float: rounding them too would cost accuracy and save nothing, since what follows is an
    addition or a normalisation in float.

    Args:
        ranges: lowest and highest value of each activation that is a first input of one of the nodes.
        nodes: names of the MatMuls.
    """
    rewriter = Rewriter(graph)

    def product(node: onnx.NodeProto) -> list[onnx.NodeProto]:
        made: list[onnx.NodeProto] = []
        source, matrix = node.input

        def activation() -> tuple[str, ...]:
            scale, zero = affine(*ranges[source])
            constants = [rewriter.add(f"{source}_scale", scale), rewriter.add(f"{source}_zero_point", zero)]
            names = tuple(rewriter.fresh(f"{source}_{part}") for part in ("quantized", "dequantized"))
            for op, (before, after) in (
                ("QuantizeLinear", (source, names[0])),
                ("DequantizeLinear", (names[0], names[1])),
            ):
                made.append(helper.make_node(op, [before, *constants], [after], name=after))
            return (names[1],)

        def weights() -> tuple[str, ...]:
            values, scale = integer_weights(rewriter.constant(matrix), per_channel=True)
            constants = [
                rewriter.add(f"{matrix}_quantized", values),
                rewriter.add(f"{matrix}_scale", scale),
                # Zeros may be left out, but then onnxruntime keeps the product in float.
                rewriter.add(f"{matrix}_zero_point", np.zeros(scale.shape, np.int8)),
            ]
            name = rewriter.fresh(f"{matrix}_dequantized")
            made.append(helper.make_node("DequantizeLinear", constants, [name], name=name, axis=1))
            return (name,)

        (rounded,) = rewriter.once("activation", source, activation)
        (matrix_name,) = rewriter.once("weights", matrix, weights)
        return [*made, helper.make_node("MatMul", [rounded, matrix_name], node.output, name=node.name)]

    rewriter.replace(nodes, product)


def affine(low: float, high: float) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
    """Return scale and zero point that map a range, widened to hold zero, onto 0 … 255."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / 255
    if scale < np.finfo(np.float32).tiny:  # always zero, or as good as
        scale = 1.0
    return np.array(scale, np.float32), np.array(round(-low / scale), np.uint8)
