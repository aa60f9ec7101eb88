from collections.abc import Callable

import numpy as np
import onnx
from onnx import helper

from kdcompress.aliases import FloatArray
from kdcompress.quantize.calibration import observe
from kdcompress.quantize.layers import weight_matrices
from kdcompress.quantize.rewrite import make_dynamic
from kdcompress.quantize.rounding import round_int8
from kdcompress.quantize.smoothing import smooth

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
