"""Halves are stored where they lose nothing that matters, and the graph computes what it did."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from kdcompress.aliases import FloatArray
from kdcompress.quantize.apply import quantize
from kdcompress.quantize.store import SMALLEST, store_halves
from kdcompress.runtime.session import Session

Answer = Callable[[onnx.ModelProto, dict[str, FloatArray]], FloatArray]


def scaled(values: np.ndarray) -> onnx.ModelProto:
    """Return a graph that multiplies its input by constants."""
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [len(values)]) for name in "xy"]
    nodes = [helper.make_node("Mul", ["x", "w"], ["y"])]
    constants = [numpy_helper.from_array(values.astype(np.float32), "w")]
    graph = helper.make_graph(nodes, "test", ends[:1], ends[1:], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": x.astype(np.float32)})[0])


@given(seed=st.integers(0, 99), exponent=st.integers(-8, 4))
def test_what_is_stored_is_as_good_as_float16_allows(seed: int, exponent: int) -> None:
    values = 10.0**exponent * np.random.default_rng(seed).standard_normal(SMALLEST).astype(np.float32)
    model, x = scaled(values), np.ones(SMALLEST)
    store_halves(model.graph)
    off = np.abs(run(model, x) - values)
    assert (off <= 2.0**-11 * np.maximum(np.abs(values), np.abs(values).max() / 16)).all()


def test_what_float16_cannot_hold_stays_as_it_was() -> None:
    for values in (np.full(SMALLEST, 1e6), np.full(SMALLEST, 1e-7), np.ones(SMALLEST - 1) / 3):
        assert store_halves(scaled(values).graph) == 0
    model = scaled(np.ones(SMALLEST) / 3)
    assert store_halves(model.graph) == 1
    assert [tensor.data_type for tensor in model.graph.initializer] == [TensorProto.FLOAT16]


def test_a_quantized_graph_is_smaller_and_says_the_same(tiny_bundle: Path, tmp_path: Path) -> None:
    quantize(tiny_bundle / "model.onnx", "int8-dynamic", tmp_path / "small.onnx")
    model = onnx.load(str(tmp_path / "small.onnx"))
    wide = onnx.load(str(tmp_path / "small.onnx"))
    casts = {node.input[0]: node.output[0] for node in wide.graph.node if node.input[0].startswith("half")}
    assert casts
    for node in [node for node in wide.graph.node if node.input[0] in casts]:
        wide.graph.node.remove(node)
    for tensor in [tensor for tensor in wide.graph.initializer if tensor.name in casts]:
        values = numpy_helper.to_array(tensor).astype(np.float32)
        wide.graph.initializer.remove(tensor)
        wide.graph.initializer.append(numpy_helper.from_array(values, casts[tensor.name]))
    onnx.save(wide, str(tmp_path / "wide.onnx"))
    assert model.ByteSize() < wide.ByteSize()
    features = np.random.default_rng(0).standard_normal((1, 90, 80)).astype(np.float32)
    small, full = (
        Session(tmp_path / f"{name}.onnx").run(features, np.array([90])) for name in ("small", "wide")
    )
    np.testing.assert_array_equal(small[0], full[0])


@pytest.mark.parametrize("preset", ["int8-dynamic", "int8-static"])
def test_loading_finds_the_integer_products_behind_the_casts(
    tiny_bundle: Path, tmp_path: Path, preset: str
) -> None:
    sound = np.random.default_rng(0).standard_normal((1, 80, 90)).astype(np.float32)
    feeds = [{"audio_signal": sound, "length": np.array([90])}]
    counted = quantize(tiny_bundle / "model.onnx", preset, tmp_path / "small.onnx", feeds=feeds)
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "loaded.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(str(tmp_path / "small.onnx"), options, providers=["CPUExecutionProvider"])
    loaded = [node.op_type for node in onnx.load(str(tmp_path / "loaded.onnx")).graph.node]
    fused = loaded.count("DynamicQuantizeMatMul") + loaded.count("MatMulIntegerToFloat")
    assert fused == counted.quantized > 5


def test_a_layer_that_stays_float_is_stored_in_half(
    gated: onnx.ModelProto, sounds: list[dict[str, FloatArray]], answer: Answer
) -> None:
    wanted, before = answer(gated, sounds[0]), gated.ByteSize()
    assert store_halves(gated.graph) == 3  # biases and gains are too short to be worth a Cast
    onnx.checker.check_model(gated)
    found = answer(gated, sounds[0])
    assert 0 < np.abs(found - wanted).max() < 5e-3
    assert gated.ByteSize() < 0.7 * before
