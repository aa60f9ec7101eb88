"""Small graphs of the operators that quantization meets, and the tiny student with a planted fault."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from kdcompress.quantize.calibration import opened

FloatArray = npt.NDArray[np.float32]
WIDTH, HIDDEN, OUTPUTS = 40, 48, 12  # none is a multiple of 32


def _graph() -> onnx.ModelProto:
    generator = np.random.default_rng(0)
    nodes = [
        helper.make_node("LayerNormalization", ["x", "gain", "shift"], ["normed"], name="norm", axis=-1),
        helper.make_node("MatMul", ["normed", "first"], ["a"], name="first layer"),
        helper.make_node("MatMul", ["normed", "second"], ["b"], name="second layer"),
        helper.make_node("Sigmoid", ["b"], ["gate"]),
        helper.make_node("Mul", ["a", "gate"], ["h"]),
        helper.make_node("MatMul", ["h", "last"], ["c"], name="output layer"),
        helper.make_node("Add", ["c", "bias"], ["logits"]),
        helper.make_node("LogSoftmax", ["logits"], ["y"], axis=-1),
    ]
    shapes = {
        "gain": (WIDTH,),
        "shift": (WIDTH,),
        "first": (WIDTH, HIDDEN),
        "second": (WIDTH, HIDDEN),
        "last": (HIDDEN, OUTPUTS),
        "bias": (OUTPUTS,),
    }
    tensors = [
        numpy_helper.from_array(generator.normal(0, 0.4, shape).astype(np.float32), name)
        for name, shape in shapes.items()
    ]
    values = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, "T", WIDTH]),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, "T", OUTPUTS]),
    ]
    graph = helper.make_graph(nodes, "gated", values[:1], values[1:], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


@pytest.fixture
def gated() -> onnx.ModelProto:
    """Return a normalised gated layer and an output layer; three products have weights."""
    return _graph()


@pytest.fixture(scope="session")
def sounds() -> list[dict[str, FloatArray]]:
    """Return feeds for `gated`, of different lengths."""
    generator = np.random.default_rng(1)
    return [{"x": generator.normal(0, 1, (1, length, WIDTH)).astype(np.float32)} for length in (31, 7, 90)]


@pytest.fixture(scope="session")
def answer() -> Callable[[onnx.ModelProto, dict[str, FloatArray]], FloatArray]:
    """Return what runs a graph on a feed."""

    def run(model: onnx.ModelProto, feed: dict[str, FloatArray]) -> FloatArray:
        with opened(model, threads=1) as session:
            array: FloatArray = session.session.run(None, feed)[0]
        return array

    return run


def plant_outlier(model: onnx.ModelProto, factor: float) -> int:
    """Blow one channel of every normalised activation up and divide it out of the weights after it.

    The function stays; a scale for the whole activation no longer sees the other channels. Returns how many.
    """
    graph = model.graph
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    planted = 0
    for norm in [node for node in graph.node if node.op_type == "LayerNormalization"]:
        readers = [node for node in graph.node if norm.output[0] in node.input]
        if not all(node.op_type == "MatMul" and node.input[1] in tensors for node in readers):
            continue
        for node, positions in ((norm, range(1, len(norm.input))), *((reader, (1,)) for reader in readers)):
            for position in positions:
                value = tensors[node.input[position]].copy()
                value[3] *= factor if node is norm else 1 / factor
                name = f"{node.input[position]}_planted{planted}"
                graph.initializer.append(numpy_helper.from_array(value, name))
                node.input[position] = name
        planted += 1
    return planted
