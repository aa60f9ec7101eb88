from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import numpy_helper

from kdcompress.aliases import FloatArray
from kdcompress.errors import ConfigError, ExportError
from kdcompress.quantize.blank_bias import blank_rate, fit_blank_bias, fold_blank_bias


def random_log_probs(seed: int, blank: int) -> list[FloatArray]:
    generator = np.random.default_rng(seed)
    lengths = generator.integers(1, 60, 4)
    rows = [generator.normal(0, 2, (length, 7)).astype(np.float32) for length in lengths]
    for row in rows:
        row[:, blank] += 1.5
    return [row - np.log(np.exp(row).sum(axis=1, keepdims=True)) for row in rows]


def shifted(rows: list[FloatArray], blank: int, value: float) -> list[FloatArray]:
    moved = [row.copy() for row in rows]
    for row in moved:
        row[:, blank] += value
    return [row - np.log(np.exp(row).sum(axis=1, keepdims=True)) for row in moved]


@given(st.integers(0, 1000), st.integers(0, 6), st.floats(-6, 6))
def test_a_planted_shift_is_undone_to_the_frame(seed: int, blank: int, planted: float) -> None:
    original = random_log_probs(seed, blank)
    rate = blank_rate(original, blank)
    if not 0 < rate < 1:
        return
    found = fit_blank_bias(shifted(original, blank, planted), blank, rate)
    repaired = shifted(shifted(original, blank, planted), blank, found)
    assert blank_rate(repaired, blank) == pytest.approx(rate, abs=1e-9)
    # The same frames, not only as many.
    for before, after in zip(original, repaired, strict=True):
        np.testing.assert_array_equal(before.argmax(axis=1) == blank, after.argmax(axis=1) == blank)


def test_what_is_right_is_left_alone() -> None:
    rows = random_log_probs(3, 0)
    assert fit_blank_bias(rows, 0, blank_rate(rows, 0)) == 0.0


@given(st.floats(0.001, 0.999))
def test_any_rate_is_met_to_one_frame(rate: float) -> None:
    rows = random_log_probs(5, 2)
    found = blank_rate(shifted(rows, 2, fit_blank_bias(rows, 2, rate)), 2)
    assert abs(found - rate) <= 0.5 / sum(map(len, rows)) + 1e-9


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1, float("nan")])
def test_no_bias_gives_all_or_nothing(rate: float) -> None:
    with pytest.raises(ConfigError, match="between 0 and 1"):
        fit_blank_bias(random_log_probs(0, 0), 0, rate)


@pytest.mark.parametrize("file", ["model.onnx", "model.int8.onnx"])
def test_the_graph_answers_as_if_the_logit_had_moved(tiny_bundle: Path, tmp_path: Path, file: str) -> None:
    from kdcompress.runtime.session import Session

    model = onnx.load(str(tiny_bundle / file))
    fold_blank_bias(model, 2, 1.25)
    onnx.save(model, str(tmp_path / "moved.onnx"))
    features = np.random.default_rng(0).standard_normal((1, 90, 80)).astype(np.float32)
    old, new = (
        Session(path, threads=1).run(features, np.array([90]))[0][0]
        for path in (tiny_bundle / file, tmp_path / "moved.onnx")
    )
    np.testing.assert_allclose(new, shifted([old], 2, 1.25)[0], atol=2e-5)
    assert (tmp_path / "moved.onnx").stat().st_size == (tiny_bundle / file).stat().st_size


def test_a_bias_that_others_read_too_is_copied(tiny_bundle: Path) -> None:
    model = onnx.load(str(tiny_bundle / "model.onnx"))
    makers = {output: node for node in model.graph.node for output in node.output}
    add = makers[makers["logprobs"].input[0]]
    model.graph.node.append(onnx.helper.make_node("Neg", [add.input[1]], ["other"]))
    name = add.input[1]
    before = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}[name]
    fold_blank_bias(model, 2, -3.0)
    after = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    np.testing.assert_array_equal(after[name], before)
    assert add.input[1] != name
    np.testing.assert_allclose(after[add.input[1]] - before, [0, 0, -3, 0, 0, 0], atol=1e-6)


def test_a_graph_without_an_output_bias_is_refused(tiny_bundle: Path) -> None:
    model = onnx.load(str(tiny_bundle / "model.onnx"))
    makers = {output: node for node in model.graph.node for output in node.output}
    makers["logprobs"].input[0] = makers[makers["logprobs"].input[0]].input[0]
    with pytest.raises(ExportError, match="layer with a bias"):
        fold_blank_bias(model, 2, 1.0)


def test_a_bias_stored_in_half_and_read_twice_is_changed_for_the_output_alone(gated: onnx.ModelProto) -> None:
    graph = gated.graph
    tensor = next(tensor for tensor in graph.initializer if tensor.name == "bias")
    wanted = onnx.numpy_helper.to_array(tensor).astype(np.float16)
    graph.initializer.remove(tensor)
    graph.initializer.append(onnx.numpy_helper.from_array(wanted, "stored"))
    graph.node.insert(0, onnx.helper.make_node("Cast", ["stored"], ["bias"], to=onnx.TensorProto.FLOAT))
    graph.node.append(onnx.helper.make_node("Neg", ["bias"], ["other"]))
    fold_blank_bias(gated, 3, 2.0)
    onnx.checker.check_model(gated)
    values = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    np.testing.assert_array_equal(values["stored"], wanted)
    (own,) = [node.input[1] for node in graph.node if node.op_type == "Add"]
    np.testing.assert_array_equal(values[own] - wanted, 2.0 * (np.arange(len(wanted)) == 3))
