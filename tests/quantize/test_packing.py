"""Bytes hold the integers that they were made of, and onnxruntime finds them when it loads the graph."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from kdcompress.aliases import FloatArray
from kdcompress.errors import ExportError
from kdcompress.quantize.apply import put_integers, quantize
from kdcompress.quantize.census import check_loaded, loaded
from kdcompress.quantize.layers import weight_matrices
from kdcompress.quantize.packing import pack, pack_initializers, unpack
from kdcompress.quantize.rewrite import make_dynamic
from kdcompress.quantize.rounding import WIDTHS, IntegerWeights, Width, nearest, round_int8
from kdcompress.quantize.store import shorten_names
from kdcompress.runtime.session import Session

Answer = Callable[[onnx.ModelProto, dict[str, FloatArray]], FloatArray]
LAYERS = ("first layer", "second layer", "output layer")


def drawn(width: Width, shape: tuple[int, ...], seed: int = 0) -> npt.NDArray[np.int8]:
    """Return integers of a width, all of them if there is room."""
    levels = np.random.default_rng(seed).integers(0, width.levels, shape)
    return (levels * width.step - width.offset).astype(np.int8)


@given(st.sampled_from(list(WIDTHS.values())), st.integers(0, 70), st.integers(0, 99))
def test_what_is_packed_comes_back(width: Width, count: int, seed: int) -> None:
    values = drawn(width, (count,), seed)
    packed = pack(values, width)
    assert all(part.dtype == np.uint8 for part in packed)
    np.testing.assert_array_equal(unpack(packed, width, count), values)
    # No more bytes than its bits take, but for the last ones.
    assert 8 * sum(map(len, packed)) <= width.bits * (count + 16)


@pytest.mark.parametrize("width", WIDTHS.values(), ids=str)
def test_integers_are_evenly_spaced_around_zero(width: Width) -> None:
    ends = nearest(np.array([[-1e9], [1e9]]), np.ones(1), width)
    assert ends.ravel().tolist() == [-width.limit, width.limit]
    inside = np.unique(nearest(np.linspace(-width.limit, width.limit, 5000)[:, None], np.ones(1), width))
    assert set(np.diff(inside)) == {width.step}
    assert len(inside) == width.levels - (width.name == "8")  # -128 is not used


@pytest.mark.parametrize("width", WIDTHS.values(), ids=lambda width: width.name)
def test_onnxruntime_folds_to_what_numpy_unpacks(width: Width, tmp_path: Path) -> None:
    shapes = [(7, 5), (3, 11), (1, 1), (40, 48)]
    matrices = {f"matrix {shape}": drawn(width, shape, index) for index, shape in enumerate(shapes)}
    nodes = [helper.make_node("MatMulInteger", ["x", name], [f"of {name}"]) for name in list(matrices)[:1]]
    nodes += [helper.make_node("Identity", [name], [f"of {name}"]) for name in list(matrices)[1:]]
    ends = [helper.make_tensor_value_info("x", TensorProto.UINT8, ["T", 7])]
    outputs = [helper.make_tensor_value_info(node.output[0], TensorProto.INT8, ["a", "b"]) for node in nodes]
    outputs[0].type.tensor_type.elem_type = TensorProto.INT32
    graph = helper.make_graph(
        nodes, "test", ends, outputs, [numpy_helper.from_array(m, name) for name, m in matrices.items()]
    )
    pack_initializers(graph, dict.fromkeys(matrices, width))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, str(tmp_path / "model.onnx"))
    stored = [numpy_helper.to_array(tensor).dtype for tensor in graph.initializer]
    assert not any(tensor.name in matrices for tensor in graph.initializer)
    assert np.dtype(np.uint8) in stored
    folded = {
        numpy_helper.to_array(tensor).tobytes() for tensor in loaded(tmp_path / "model.onnx").initializer
    }
    assert {matrix.tobytes() for matrix in matrices.values()} <= folded
    check_loaded(tmp_path / "model.onnx", 1)


def test_packed_int8_is_int8_to_the_bit(
    gated: onnx.ModelProto, sounds: list[dict[str, FloatArray]], answer: Answer
) -> None:
    plain, packed = onnx.ModelProto(), onnx.ModelProto()
    for model in (plain, packed):
        model.CopyFrom(gated)
        weights = {name: round_int8(w) for name, w in weight_matrices(gated.graph, LAYERS).items()}
        widths = make_dynamic(model.graph, weights)
    pack_initializers(packed.graph, widths)
    shorten_names(packed.graph)
    onnx.checker.check_model(packed)
    # Digits are looked up in a table of int8; no matrix is left.
    sizes = [len(t.dims) and t.dims[0] for t in packed.graph.initializer if t.data_type == TensorProto.INT8]
    assert sizes == [256, 256]
    for feed in sounds:
        np.testing.assert_array_equal(answer(packed, feed), answer(plain, feed))


def test_layers_of_several_widths_stay_apart(
    gated: onnx.ModelProto, sounds: list[dict[str, FloatArray]], answer: Answer
) -> None:
    weights = {
        name: IntegerWeights(drawn(WIDTHS[width], matrix.shape), np.full(matrix.shape[1], 0.01, np.float32),
                             WIDTHS[width])
        for (name, matrix), width in zip(
            weight_matrices(gated.graph, LAYERS).items(), ("2", "3", "ternary"), strict=True
        )
    }  # fmt: skip
    plain, packed = onnx.ModelProto(), onnx.ModelProto()
    for model, compact in ((plain, False), (packed, True)):
        model.CopyFrom(gated)
        put_integers(model, weights, compact=compact)
    for feed in sounds:
        np.testing.assert_allclose(answer(packed, feed), answer(plain, feed), atol=2e-3)  # scales are halves
    stored = [t for t in packed.graph.initializer if t.data_type == TensorProto.UINT8]
    assert sum(len(t.raw_data) for t in stored) < 0.4 * sum(w.values.size for w in weights.values())


def test_a_weight_that_is_unpacked_at_run_time_is_found(gated: onnx.ModelProto, tmp_path: Path) -> None:
    path = tmp_path / "late.onnx"
    weights = {name: round_int8(w) for name, w in weight_matrices(gated.graph, LAYERS).items()}
    make_dynamic(gated.graph, weights)
    onnx.save(gated, str(path))
    check_loaded(path, 3)
    with pytest.raises(ExportError, match="in 3 nodes when it has loaded the file, where 4 were planned"):
        check_loaded(path, 4)
    # onnxruntime does not compute random numbers beforehand: what is made of them is made at each run.
    (node,) = (node for node in gated.graph.node if node.name == "first layer")
    late = helper.make_node("RandomUniform", [], ["late"], shape=[40, 48], low=-9.0, high=9.0)
    gated.graph.node.insert(0, late)
    gated.graph.node.insert(1, helper.make_node("Cast", ["late"], ["late int8"], to=TensorProto.INT8))
    node.input[1] = "late int8"
    onnx.save(gated, str(path))
    with pytest.raises(ExportError, match="would unpack weights at each run"):
        check_loaded(path, 3)


@pytest.mark.parametrize(
    ("preset", "share"), [("int4", 0.75), ("int3", 0.7), ("int2", 0.65), ("ternary", 0.6)]
)
def test_a_student_is_packed_and_multiplies_integers(
    tiny_bundle: Path, tmp_path: Path, preset: str, share: float
) -> None:
    fp32 = tiny_bundle / "model.onnx"
    sound = np.random.default_rng(0).standard_normal((1, 80, 90)).astype(np.float32)
    feeds = [{"audio_signal": sound, "length": np.array([90])}]
    eight = quantize(fp32, "int8-dynamic", tmp_path / "eight.onnx")
    counted = quantize(fp32, preset, tmp_path / "small.onnx", feeds=feeds)
    assert counted.quantized == eight.quantized > 5
    assert counted.kept == eight.kept
    assert counted.foreign == ()
    before, after = onnx.load(str(fp32)), onnx.load(str(tmp_path / "small.onnx"))
    assert list(after.metadata_props) == list(before.metadata_props)
    assert list(after.graph.input) == list(before.graph.input)
    assert list(after.graph.output) == list(before.graph.output)
    assert (tmp_path / "small.onnx").stat().st_size < share * (tmp_path / "eight.onnx").stat().st_size
    # What runs is int8's graph, node by node: so is its time.
    names = [[n.op_type for n in loaded(tmp_path / f"{name}.onnx").node] for name in ("small", "eight")]
    assert sorted(names[0]) == sorted(names[1])
    found, lengths = Session(tmp_path / "small.onnx", threads=1).run(sound.transpose(0, 2, 1), np.array([90]))
    wanted, wanted_lengths = Session(fp32, threads=1).run(sound.transpose(0, 2, 1), np.array([90]))
    np.testing.assert_array_equal(lengths, wanted_lengths)
    assert found.shape == wanted.shape
    quantize(fp32, preset, tmp_path / "again.onnx", feeds=feeds)
    assert (tmp_path / "again.onnx").read_bytes() == (tmp_path / "small.onnx").read_bytes()
