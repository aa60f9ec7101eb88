from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from kdcompress.graph.simplify import drop_softmax_guards, fold_norms, fold_scales

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


def normed(*more: onnx.NodeProto) -> list[onnx.NodeProto]:
    return [
        helper.make_node("LayerNormalization", ["x", "gain", "shift"], ["n"], axis=-1),
        helper.make_node("MatMul", ["n", "w"], ["product"]),
        helper.make_node("Add", ["product", "b"], ["y"]),
        *more,
    ]


NORM = {**WEIGHTS, "gain": [0.5, 2, -3], "shift": [1, -1, 0.25]}


def test_a_norm_gives_its_gain_and_bias_to_the_layers_that_read_it() -> None:
    second = [
        helper.make_node("MatMul", ["n", "w"], ["other"]),
        helper.make_node("Add", ["other", "b"], ["z"]),
    ]
    made = model(normed(*second), ["y", "z"], **NORM)
    before = run(made)
    assert fold_norms(made.graph) == 1
    names = {tensor.name for tensor in made.graph.initializer}
    assert not names & {"gain", "shift", "w", "b"}
    for new, old in zip(run(made), before, strict=True):
        np.testing.assert_allclose(new, old, rtol=1e-5, atol=1e-6)


def test_norms_of_one_width_share_their_ones() -> None:
    again = [
        helper.make_node("LayerNormalization", ["x", "gain"], ["m"], axis=-1),
        helper.make_node("MatMul", ["m", "w"], ["other"]),
        helper.make_node("Add", ["other", "b"], ["z"]),
    ]
    made = model(normed(*again), ["y", "z"], **NORM)
    before = run(made)
    assert fold_norms(made.graph) == 2
    assert sum(tensor.name.startswith("ones") for tensor in made.graph.initializer) == 1
    for new, old in zip(run(made), before, strict=True):
        np.testing.assert_allclose(new, old, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("more", "outputs"),
    [
        ([helper.make_node("Sigmoid", ["n"], ["s"])], ["y", "s"]),  # read by more than products
        ([], ["y", "n"]),
        ([], ["y", "product"]),
        ([helper.make_node("Sigmoid", ["product"], ["s"])], ["y", "s"]),  # a product without its bias
    ],
)
def test_a_norm_that_is_read_elsewhere_stays(more: list[onnx.NodeProto], outputs: list[str]) -> None:
    made = model(normed(*more), outputs, **NORM)
    before = run(made)
    fold_norms(made.graph)
    for new, old in zip(run(made), before, strict=True):
        np.testing.assert_array_equal(new, old)
