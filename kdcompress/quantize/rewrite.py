"""Put integer weights into a graph, node by node, with standard operators only.

House letters: K inputs and N outputs of a linear layer.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from kdcompress.quantize.rounding import IntegerWeights, Width, round_int8


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

    def shared(self, name: str, value: npt.NDArray[Any]) -> str:
        """Return the constant of this name that is already there, or put it into the graph."""
        return self.once("shared", name, lambda: (self.add(name, value),))[0]

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


def make_dynamic(graph: onnx.GraphProto, weights: Mapping[str, IntegerWeights]) -> dict[str, Width]:
    """Turn MatMuls with constant weights into integer products; activations are rounded at run time.

    The pattern is the one that onnxruntime fuses into a single operator: uint8 activations with the range of
    the whole tensor, symmetric int8 weights, one multiplication with both scales.

    Args:
        graph: changed in place.
        weights: by the names of the MatMuls.

    Returns: the widths of the initializers with integers, by name.
    """
    rewriter = Rewriter(graph)
    widths: dict[str, Width] = {}

    def weight_names(name: str, integer: IntegerWeights) -> tuple[str, ...]:
        values = rewriter.add(f"{name}_quantized", integer.values)
        widths[values] = integer.width
        return values, rewriter.add(f"{name}_scale", integer.scale)

    def integer_product(node: onnx.NodeProto) -> list[onnx.NodeProto]:
        made: list[onnx.NodeProto] = []
        source, matrix = node.input
        integer = weights[node.name]

        def activation() -> tuple[str, ...]:
            names = tuple(rewriter.fresh(f"{source}_{part}") for part in ("quantized", "scale", "zero_point"))
            made.append(
                helper.make_node("DynamicQuantizeLinear", [source], names, name=f"{names[0]}_quantize")
            )
            return names

        quantized, scale, zero = rewriter.once("activation", source, activation)
        values, value_scale = rewriter.once(
            f"weights of {integer.width.name} bits", matrix, lambda: weight_names(matrix, integer)
        )
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

    rewriter.replace(weights, integer_product)
    return widths


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
            integer = round_int8(rewriter.constant(matrix))
            constants = [
                rewriter.add(f"{matrix}_quantized", integer.values),
                rewriter.add(f"{matrix}_scale", integer.scale),
                # Zeros may be left out, but then onnxruntime keeps the product in float.
                rewriter.add(f"{matrix}_zero_point", np.zeros(integer.scale.shape, np.int8)),
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
