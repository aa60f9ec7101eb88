from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from kdcompress.graph.simplify import drop_softmax_guards, fold_scales

FloatArray = npt.NDArray[np.float32]


def model(nodes: list[onnx.NodeProto], outputs: list[str], **constants: Any) -> onnx.ModelProto:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["B", 3])
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["B", "N"]) for name in outputs]
    tensors = [numpy_helper.from_array(np.asarray(v, np.float32), name) for name, v in constants.items()]
    graph = helper.make_graph(nodes, "test", [x], values, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def run(made: onnx.ModelProto) -> list[FloatArray]:
    onnx.checker.check_model(made, full_check=True)
    session = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    x = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)
    outputs: list[FloatArray] = session.run(None, {"x": x})
    return outputs


def test_guards_of_softmax_go_and_nothing_changes() -> None:
    made = model(
        [
            helper.make_node("Softmax", ["x"], ["p"]),
            helper.make_node("IsNaN", ["p"], ["broken"]),
            helper.make_node("Where", ["broken", "zero", "p"], ["y"]),
            helper.make_node("Mul", ["y", "two"], ["z"]),
        ],
        ["z"],
        zero=0.0,
        two=2.0,
    )
    before = run(made)
    assert drop_softmax_guards(made.graph) == 1
    assert [node.op_type for node in made.graph.node] == ["Softmax", "Mul"]
    assert [tensor.name for tensor in made.graph.initializer] == ["two"]
    np.testing.assert_array_equal(run(made), before)


def test_a_choice_that_is_no_guard_stays() -> None:
    made = model(
        [
            helper.make_node("Softmax", ["x"], ["p"]),
            helper.make_node("IsNaN", ["x"], ["broken"]),
            helper.make_node("Where", ["broken", "zero", "p"], ["y"]),
            helper.make_node("Mul", ["y", "two"], ["z"]),
        ],
        ["z"],
        zero=0.0,
        two=2.0,
    )
    assert drop_softmax_guards(made.graph) == 0
    assert len(made.graph.node) == 4


LINEAR = [
    helper.make_node("MatMul", ["x", "w"], ["product"]),
    helper.make_node("Add", ["product", "b"], ["y"]),
]
WEIGHTS = {"w": np.arange(12).reshape(3, 4) / 7, "b": [1, -2, 3, -4], "half": 0.5}


def test_a_halved_linear_layer_gets_halved_weights_exactly() -> None:
    halved = [
        *LINEAR,
        helper.make_node("Mul", ["y", "half"], ["z"]),
        helper.make_node("Sigmoid", ["z"], ["s"]),
    ]
    made = model(halved, ["s"], **WEIGHTS)
    before = run(made)
    assert fold_scales(made.graph) == 1
    assert [node.op_type for node in made.graph.node] == ["MatMul", "Add", "Sigmoid"]
    assert {tensor.name for tensor in made.graph.initializer} == {"w.scaled0", "b.scaled0"}
    np.testing.assert_array_equal(run(made), before)


def test_weights_shared_with_another_layer_are_scaled_for_one_only() -> None:
    nodes = [
        *LINEAR,
        helper.make_node("Mul", ["y", "half"], ["z"]),
        helper.make_node("MatMul", ["x", "w"], ["other"]),
        helper.make_node("Add", ["z", "other"], ["sum"]),
    ]
    made = model(nodes, ["sum"], **WEIGHTS)
    before = run(made)
    assert fold_scales(made.graph) == 1
    np.testing.assert_allclose(run(made), before, rtol=1e-6)


@pytest.mark.parametrize("outputs", [["s", "y"], ["s", "product"], ["s", "z"]])
def test_a_layer_that_is_read_unscaled_elsewhere_and_an_output_stay(outputs: list[str]) -> None:
    halved = [
        *LINEAR,
        helper.make_node("Mul", ["y", "half"], ["z"]),
        helper.make_node("Sigmoid", ["z"], ["s"]),
    ]
    made = model(halved, outputs, **WEIGHTS)
    before = run(made)
    assert fold_scales(made.graph) == 0
    for new, old in zip(run(made), before, strict=True):
        np.testing.assert_array_equal(new, old)
