from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from kdcompress.aliases import FloatArray
from kdcompress.quantize.apply import put_integers
from kdcompress.quantize.calibration import observe
from kdcompress.quantize.fitting import fit
from kdcompress.quantize.layers import weight_matrices
from kdcompress.quantize.rewrite import make_dynamic
from kdcompress.quantize.rounding import WIDTHS, nearest, round_int8
from kdcompress.quantize.smoothing import balance, smooth

from .conftest import plant_outlier

Answer = Callable[[onnx.ModelProto, dict[str, FloatArray]], FloatArray]
LAYERS = ("first layer", "second layer", "output layer")


def channels(model: onnx.ModelProto, names: list[str], sounds: list[dict[str, FloatArray]]) -> dict:
    return {name: found.channels for name, found in observe(model, names, sounds).items()}


def test_the_function_stays(
    gated: onnx.ModelProto, sounds: list[dict[str, FloatArray]], answer: Answer
) -> None:
    wanted = answer(gated, sounds[2])
    # What the norm makes is divided in its gain; what the gate makes costs a multiplication.
    assert smooth(gated.graph, channels(gated, ["normed", "h"], sounds)) == 1
    onnx.checker.check_model(gated)
    np.testing.assert_allclose(answer(gated, sounds[2]), wanted, atol=1e-5)
    assert [node.op_type for node in gated.graph.node].count("Mul") == 2


def test_a_norm_that_others_read_keeps_its_gain(
    gated: onnx.ModelProto, sounds: list[dict[str, FloatArray]], answer: Answer
) -> None:
    gated.graph.node.append(helper.make_node("Identity", ["normed"], ["copy"]))
    gated.graph.output.append(helper.make_tensor_value_info("copy", onnx.TensorProto.FLOAT, None))
    wanted = answer(gated, sounds[0])
    assert smooth(gated.graph, channels(gated, ["normed"], sounds)) == 1
    np.testing.assert_allclose(answer(gated, sounds[0]), wanted, atol=1e-5)
    assert "gain" in {name for node in gated.graph.node for name in node.input}


def test_an_outlier_channel_no_longer_hides_the_others(
    gated: onnx.ModelProto, sounds: list[dict[str, FloatArray]], answer: Answer
) -> None:
    wanted = answer(gated, sounds[2])
    assert plant_outlier(gated, 1000.0) == 1
    np.testing.assert_allclose(answer(gated, sounds[2]), wanted, atol=1e-4)
    seen = channels(gated, ["normed"], sounds)
    errors = []
    for repaired in (False, True):
        model = onnx.ModelProto()
        model.CopyFrom(gated)
        if repaired:
            smooth(model.graph, seen)
        make_dynamic(
            model.graph, {name: round_int8(w) for name, w in weight_matrices(model.graph, LAYERS).items()}
        )
        errors.append(np.abs(answer(model, sounds[2]) - wanted).max())
    assert errors[1] < errors[0] / 20


def test_a_silent_channel_divides_by_no_zero(
    gated: onnx.ModelProto, sounds: list[dict[str, FloatArray]], answer: Answer
) -> None:
    wanted = answer(gated, sounds[0])
    smooth(gated.graph, {"h": np.zeros(48)})
    np.testing.assert_allclose(answer(gated, sounds[0]), wanted, atol=1e-5)


@pytest.fixture
def chained() -> onnx.ModelProto:
    """Return a convolution and two thin matrices behind it, their channels of sizes from 1 to 2^-12."""
    generator = np.random.default_rng(0)
    sizes = 2.0 ** -np.arange(0, 12, 12 / 8)
    weights = {
        "kernel": generator.normal(0, 1, (8, 40, 3)) / sizes[:, None, None],
        "shift": generator.normal(0, 1, 8) / sizes,
        "inward": generator.normal(0, 1, (8, 8)) * sizes[:, None] / sizes,
        "outward": generator.normal(0, 1, (8, 30)) * sizes[:, None],
    }
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[0, 2, 1]),
        helper.make_node("Conv", ["t", "kernel", "shift"], ["c"], pads=[1, 1]),
        helper.make_node("Transpose", ["c"], ["d"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["d", "inward"], ["e"], name="inward layer"),
        helper.make_node("MatMul", ["e", "outward"], ["y"], name="outward layer"),
    ]
    tensors = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, "T", size])
        for name, size in (("x", 40), ("y", 30))
    ]
    graph = helper.make_graph(nodes, "chained", ends[:1], ends[1:], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def test_layers_that_follow_one_another_share_their_scales(
    chained: onnx.ModelProto, sounds: list[dict[str, FloatArray]], answer: Answer
) -> None:
    wanted, errors = answer(chained, sounds[2]), []
    for balanced in (False, True):
        model = onnx.ModelProto()
        model.CopyFrom(chained)
        if balanced:
            assert balance(model, []) == []
            assert balance(model, sounds) == ["d", "e"]
            assert [node.op_type for node in model.graph.node] == [n.op_type for n in chained.graph.node]
            # Scales are powers of two: nothing is lost.
            np.testing.assert_array_equal(answer(model, sounds[2]), wanted)
        widths = dict.fromkeys(("inward layer", "outward layer"), (WIDTHS["4"],))
        put_integers(model, {name: fitted for name, (fitted,) in fit(model, widths, sounds)})
        errors.append(np.square(answer(model, sounds[2]) - wanted).mean() / np.square(wanted).mean())
    assert errors[1] < 0.03 < 10 * errors[1] < errors[0]


def test_trained_integers_are_not_scaled(
    chained: onnx.ModelProto, sounds: list[dict[str, FloatArray]]
) -> None:
    width = WIDTHS["2"]
    trained = nearest(np.random.default_rng(1).normal(0, 2, (8, 30)), np.ones(30), width).astype(np.float32)
    chained.graph.initializer[3].CopyFrom(numpy_helper.from_array(trained, "outward"))
    assert balance(chained, sounds) == ["d"]
    np.testing.assert_array_equal(weight_matrices(chained.graph, ["outward layer"])["outward layer"], trained)
