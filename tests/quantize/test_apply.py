import logging
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from kdcompress.config.deploy import PRESETS
from kdcompress.errors import ConfigError, ExportError
from kdcompress.quantize import apply
from kdcompress.quantize.apply import narrowest, quantize
from kdcompress.quantize.census import census
from kdcompress.quantize.layers import LayerChoice, choose_layers
from kdcompress.quantize.rounding import WIDTHS, IntegerWeights
from kdcompress.runtime.session import Session


@pytest.fixture
def fp32(tiny_bundle: Path) -> Path:
    return tiny_bundle / "model.onnx"


def weighted(model: onnx.ModelProto) -> list[str]:
    constants = {tensor.name for tensor in model.graph.initializer}
    # Stored as halves, and widened first.
    constants |= {n.output[0] for n in model.graph.node if n.op_type == "Cast" and n.input[0] in constants}
    return [n.name for n in model.graph.node if n.op_type == "MatMul" and n.input[1] in constants]


def test_every_planned_layer_becomes_integer_and_no_other(fp32: Path, tmp_path: Path) -> None:
    counted = quantize(fp32, "int8-dynamic", tmp_path / "small.onnx")
    before, after = onnx.load(str(fp32)), onnx.load(str(tmp_path / "small.onnx"))
    assert counted.quantized == counted.ops["MatMulInteger"] == len(weighted(before)) - len(counted.kept)
    assert weighted(after) == list(counted.kept)
    # Attention multiplies activations: two products per block, in float as before.
    assert counted.ops["MatMul"] == 2 + len(counted.kept)
    assert counted.ops["Conv"] == census(fp32).ops["Conv"]
    assert census(fp32).quantized == 0


def test_weights_have_a_scale_per_channel(fp32: Path, tmp_path: Path) -> None:
    quantize(fp32, "int8-dynamic", tmp_path / "small.onnx")
    model = onnx.load(str(tmp_path / "small.onnx"))
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    tensors |= {n.output[0]: tensors[n.input[0]] for n in model.graph.node if n.input[0] in tensors}
    for node in model.graph.node:
        if node.op_type == "MatMulInteger":
            weights = tensors[node.input[1]]
            assert weights.dtype == np.int8
            assert len(node.input) == 3  # symmetric: a zero point per column would be so many zeros
            scales = [name for name in tensors if name == node.input[1].removesuffix("_quantized") + "_scale"]
            assert tensors[scales[0]].shape == (weights.shape[1],)


def test_interface_and_metadata_survive(fp32: Path, tmp_path: Path) -> None:
    quantize(fp32, "int8-dynamic", tmp_path / "small.onnx")
    before, after = onnx.load(str(fp32)), onnx.load(str(tmp_path / "small.onnx"))
    assert list(after.metadata_props) == list(before.metadata_props)
    assert list(after.graph.input) == list(before.graph.input)
    assert list(after.graph.output) == list(before.graph.output)
    assert list(after.opset_import) == list(before.opset_import)


def test_the_result_runs_and_is_close(fp32: Path, tmp_path: Path) -> None:
    quantize(fp32, "int8-dynamic", tmp_path / "small.onnx")
    features = np.random.default_rng(0).standard_normal((2, 90, 80)).astype(np.float32)
    lengths = np.array([90, 41])
    old, old_lengths = Session(fp32, threads=1).run(features, lengths)
    new, new_lengths = Session(tmp_path / "small.onnx", threads=1).run(features, lengths)
    np.testing.assert_array_equal(new_lengths, old_lengths)
    assert (np.exp(old) * (old - new)).sum(axis=2).mean() < 0.1
    assert not np.array_equal(new, old)


def test_nothing_is_logged_or_left_behind(
    fp32: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    handlers = list(logging.getLogger().handlers)
    quantize(fp32, "int8-dynamic", tmp_path / "small.onnx")
    assert not caplog.records
    assert logging.getLogger().handlers == handlers
    assert [path.name for path in tmp_path.iterdir()] == ["small.onnx"]


def test_the_same_graph_gives_the_same_file(fp32: Path, tmp_path: Path) -> None:
    for name in ("one.onnx", "two.onnx"):
        quantize(fp32, "int8-dynamic", tmp_path / name)
    assert (tmp_path / "one.onnx").read_bytes() == (tmp_path / "two.onnx").read_bytes()


def test_fewer_integer_nodes_than_planned_are_an_error(
    fp32: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = choose_layers(onnx.load(str(fp32)).graph, PRESETS["int8-dynamic"])
    monkeypatch.setattr(
        apply, "choose_layers", lambda *_: LayerChoice((*right.quantized, "a layer that is not there"), ())
    )
    with pytest.raises(ExportError, match="claims what it is not"):
        quantize(fp32, "int8-dynamic", tmp_path / "small.onnx")
    assert not list(tmp_path.iterdir())


def test_weights_behind_dequantize_alone_are_no_integer_product(
    gated: onnx.ModelProto, tmp_path: Path
) -> None:
    from kdcompress.quantize.rewrite import make_static

    make_static(gated.graph, {"normed": (-3.0, 3.0), "h": (-3.0, 3.0)}, ("first layer", "output layer"))
    onnx.save(gated, str(tmp_path / "static.onnx"))
    assert census(tmp_path / "static.onnx").quantized == 2
    # Without the rounding of its activation, loading folds the weights back into floats.
    for node in gated.graph.node:
        if node.name == "output layer":
            node.input[0] = "h"
    onnx.save(gated, str(tmp_path / "disguise.onnx"))
    assert census(tmp_path / "disguise.onnx").quantized == 1


def test_static_needs_audio_and_auto_is_no_single_step(fp32: Path, tmp_path: Path) -> None:
    for preset, complaint in (("int8-static", "give --audio"), ("auto", "is a search")):
        with pytest.raises(ConfigError, match=complaint):
            quantize(fp32, preset, tmp_path / "small.onnx")  # type: ignore[arg-type]  # one of two literals
    assert not list(tmp_path.iterdir())


def test_a_graph_without_weights_is_refused(tmp_path: Path) -> None:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 2]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "x"], ["y"])], "g", values[:1], values[1:])
    onnx.save(helper.make_model(graph), str(tmp_path / "empty.onnx"))
    with pytest.raises(ExportError, match="nothing to quantize"):
        quantize(tmp_path / "empty.onnx", "int8-dynamic", tmp_path / "small.onnx")


def test_an_unknown_preset_is_refused(fp32: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there are int8-dynamic"):
        quantize(fp32, "int5", tmp_path / "small.onnx")  # type: ignore[arg-type]  # wrong on purpose


def test_layers_that_lose_the_most_get_more_bits_until_the_sum_is_small() -> None:
    def layer(*losses: float) -> list[IntegerWeights]:
        ones = np.ones((1, 1), np.int8), np.ones(1, np.float32)
        widths = [WIDTHS[name] for name in "456"]
        return [IntegerWeights(*ones, width, 0.0, loss) for width, loss in zip(widths, losses, strict=True)]

    fitted = {"a": layer(0.002, 0.001, 0.0), "b": layer(0.04, 0.01, 0.003), "c": layer(0.01, 0.002, 0.001)}

    def chosen(max_loss: float) -> str:
        return "".join(each.width.name for each in narrowest(fitted, max_loss).values())

    assert [chosen(bound) for bound in (1.0, 0.03, 0.008, 0.0)] == ["444", "454", "465", "666"]
    assert narrowest({"trained": layer(0.0, 0.0, 0.0)}, 0.0)["trained"].width.name == "4"
