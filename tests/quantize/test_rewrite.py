from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from kdcompress.aliases import FloatArray
from kdcompress.quantize.calibration import observe, opened
from kdcompress.quantize.layers import weight_matrices
from kdcompress.quantize.rewrite import Rewriter, affine, make_dynamic, make_static
from kdcompress.quantize.rounding import round_int8

Answer = Callable[[onnx.ModelProto, dict[str, FloatArray]], FloatArray]
LAYERS = ("first layer", "second layer", "output layer")


def integers(model: onnx.ModelProto, layers: tuple[str, ...], **how: bool) -> None:
    matrices = weight_matrices(model.graph, layers)
    make_dynamic(model.graph, {name: round_int8(matrix, **how) for name, matrix in matrices.items()})


def ops(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("reduce_range", [True, False])
def test_dynamic_is_what_onnxruntimes_own_tool_makes(
    gated: onnx.ModelProto,
    sounds: list[dict[str, FloatArray]],
    answer: Answer,
    tmp_path: Path,
    per_channel: bool,
    reduce_range: bool,
) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    helper.set_model_props(gated, {"onnx.quant.pre_process": "onnxruntime.quant"})
    quantize_dynamic(
        gated,
        tmp_path / "theirs.onnx",
        op_types_to_quantize=["MatMul"],
        per_channel=per_channel,
        reduce_range=reduce_range,
        weight_type=QuantType.QInt8,
    )
    integers(gated, LAYERS, per_channel=per_channel, reduce_range=reduce_range)
    onnx.checker.check_model(gated)
    theirs = onnx.load(str(tmp_path / "theirs.onnx"))
    assert sorted(ops(gated)) == sorted(ops(theirs))
    for feed in sounds:
        np.testing.assert_allclose(answer(gated, feed), answer(theirs, feed), atol=1e-5)


def test_an_activation_is_rounded_once_for_all_its_readers(gated: onnx.ModelProto) -> None:
    integers(gated, LAYERS)
    assert ops(gated).count("DynamicQuantizeLinear") == 2
    assert ops(gated).count("MatMulInteger") == 3
    assert {"first", "second", "last"}.isdisjoint(tensor.name for tensor in gated.graph.initializer)


def test_only_the_named_layers_change(gated: onnx.ModelProto) -> None:
    integers(gated, ("second layer",))
    assert [node.name for node in gated.graph.node if node.op_type == "MatMul"] == [LAYERS[0], LAYERS[2]]
    assert [node.name for node in gated.graph.node if node.op_type == "MatMulInteger"] == [LAYERS[1]]


def test_static_multiplies_bytes_once_it_is_loaded(
    gated: onnx.ModelProto, sounds: list[dict[str, FloatArray]], answer: Answer, tmp_path: Path
) -> None:
    import onnxruntime

    wanted = answer(gated, sounds[0])
    seen = observe(gated, ["normed", "h"], sounds)
    ranges = {name: activation.range("minmax") for name, activation in seen.items()}
    make_static(gated.graph, ranges, LAYERS)
    onnx.checker.check_model(gated)
    assert np.abs(answer(gated, sounds[0]) - wanted).max() < 0.2
    # A file of weights behind DequantizeLinear alone would be folded back into floats here.
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "loaded.onnx")
    options.log_severity_level = 3
    onnx.save(gated, str(tmp_path / "static.onnx"))
    onnxruntime.InferenceSession(str(tmp_path / "static.onnx"), options, providers=["CPUExecutionProvider"])
    loaded = ops(onnx.load(str(tmp_path / "loaded.onnx")))
    assert loaded.count("MatMulIntegerToFloat") == 3
    assert "MatMul" not in loaded


@given(st.integers(0, 100), st.booleans(), st.booleans())
def test_weights_come_back_within_half_a_step(seed: int, per_channel: bool, reduce_range: bool) -> None:
    weights = np.random.default_rng(seed).normal(0, 1, (9, 5)).astype(np.float32)
    weights[:, 2] = 0
    found = round_int8(weights, per_channel=per_channel, reduce_range=reduce_range)
    values, scale = found.values, found.scale
    assert scale.shape == ((5,) if per_channel else ())
    assert np.abs(values.astype(int)).max() == (64 if reduce_range else 127)
    assert (np.abs(values * scale - weights) <= 0.5001 * scale).all()


@given(st.floats(-100, 100), st.floats(0, 100))
def test_a_range_holds_zero_exactly_and_its_ends_nearly(low: float, width: float) -> None:
    scale, zero = affine(low, low + width)
    assert 0 <= int(zero) <= 255
    ends = (np.array([0, 255]) - int(zero)) * float(scale)
    assert ends[0] <= min(low, 0) + float(scale)
    assert ends[1] >= max(low + width, 0) - float(scale)


def test_names_that_are_taken_are_not_given_again(
    gated: onnx.ModelProto, sounds: list[dict[str, FloatArray]]
) -> None:
    gated.graph.node.append(helper.make_node("Neg", ["normed"], ["normed_scale"]))
    rewriter = Rewriter(gated.graph)
    assert rewriter.fresh("normed_scale") == "normed_scale.1"
    assert rewriter.fresh("normed_scale") == "normed_scale.2"
    integers(gated, LAYERS)
    with opened(gated, threads=1) as session:
        session.session.run(None, sounds[0])
