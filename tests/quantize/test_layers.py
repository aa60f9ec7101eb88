import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from kdcompress.config.deploy import HARDWARE, PRESETS
from kdcompress.quantize.layers import choose_layers

PRESET = PRESETS["int8-dynamic"]


def two_layers(hidden: int, outputs: int) -> onnx.GraphProto:
    nodes = [
        helper.make_node("MatMul", ["x", "first"], ["h"], name="first layer"),
        helper.make_node("MatMul", ["h", "h"], ["scores"], name="attention"),
        helper.make_node("Conv", ["scores", "kernel"], ["c"], name="convolution"),
        helper.make_node("MatMul", ["c", "last"], ["y"], name="output layer"),
    ]
    shapes = {"first": (hidden, hidden), "kernel": (1, 1, 3), "last": (hidden, outputs)}
    tensors = [numpy_helper.from_array(np.zeros(s, np.float32), name) for name, s in shapes.items()]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in "xy"]
    return helper.make_graph(nodes, "test", values[:1], values[1:], tensors)


def test_presets_go_by_their_names_and_say_what_they_are() -> None:
    assert all(preset.name == name and preset.summary for name, preset in PRESETS.items())


def test_hardware_means_presets_and_files_have_names_of_their_own() -> None:
    assert set(HARDWARE.values()) <= set(PRESETS)
    suffixes = [preset.suffix for preset in PRESETS.values()]
    assert len(set(suffixes)) == len(suffixes)
    # onnx-asr takes `model?int8.onnx` and wants exactly one.
    assert [suffix for suffix in suffixes if suffix.endswith("int8")] == ["int8"]


@pytest.mark.parametrize(("outputs", "keeps"), [(32, True), (1000, False)])
def test_a_small_output_layer_stays_in_float_a_large_one_would_cost_too_much(
    outputs: int, keeps: bool
) -> None:
    found = choose_layers(two_layers(1024, outputs), PRESET)
    assert found.kept == (("output layer",) if keeps else ())
    assert found.quantized == (("first layer",) if keeps else ("first layer", "output layer"))


def test_products_of_activations_and_convolutions_are_left_alone() -> None:
    found = choose_layers(two_layers(64, 2), PRESET)
    assert not {"attention", "convolution"} & {*found.quantized, *found.kept}
