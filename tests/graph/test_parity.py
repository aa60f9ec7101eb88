from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from kdcompress.errors import ExportError, NumericsError
from kdcompress.graph.parity import LENGTHS, allowed, check_parity
from kdcompress.runtime.compare import Difference, difference
from kdcompress.runtime.session import Session
from kdcompress.students.features import TRACED_FRAMES
from kdcompress.students.student import Student
from kdcompress.students.weights import load_student


def log_softmax(logits: np.ndarray) -> np.ndarray:
    return np.asarray(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True), np.float32)


def parity(student: Student, graph: Path) -> Difference:
    """Compare a student, whose blank is 2, with a graph of the profile portable."""
    return check_parity(student, student.export_view("portable"), Session(graph, threads=1), 2)


P = log_softmax(np.random.default_rng(0).standard_normal((40, 5)) * 4)


def test_what_is_equal_does_not_differ() -> None:
    found = difference([P, P[:7]], [P, P[:7]], blank=0)
    assert (found.max_abs, found.kl, found.agreement, found.same_labels) == (0.0, 0.0, 1.0, 1.0)
    assert (found.utterances, found.frames) == (2, 47)
    assert found.blank_rate == found.reference_blank_rate > 0


def test_figures_of_two_frames_by_hand() -> None:
    old = np.log(np.array([[0.5, 0.5 - 1e-6, 1e-6], [0.2, 0.2, 0.6]], np.float32))
    new = np.log(np.array([[0.25, 0.75 - 1e-6, 1e-6], [0.2, 0.2, 0.6]], np.float32))
    found = difference([old], [new], blank=0)
    assert found.max_abs == pytest.approx(np.log(2), rel=1e-3)
    assert found.kl == pytest.approx((0.5 * np.log(0.5 / 0.25) + 0.5 * np.log(0.5 / 0.75)) / 2, rel=1e-3)
    assert found.agreement == 0.5
    assert found.same_labels == 0.0
    assert (found.reference_blank_rate, found.blank_rate) == (0.5, 0.0)


def test_nan_and_infinity_are_refused() -> None:
    for wrong in (np.nan, -np.inf):
        broken = P.copy()
        broken[3, 1] = wrong
        with pytest.raises(NumericsError, match="the graph gives NaN or infinity"):
            difference([P], [broken], blank=0)
        with pytest.raises(NumericsError, match="the original gives NaN or infinity"):
            difference([broken], [P], blank=0)


def test_only_frames_that_run_away_may_differ_by_more_than_a_little() -> None:
    expected = np.array([[-0.1, -40.0], [-0.0, -7000.0], [-0.0, -99.0]], np.float32)
    at_most = np.array([[0.00101, 0.005], [7.0, 7.0], [0.001, 0.0109]])
    np.testing.assert_allclose(allowed(expected, 1e-3), at_most, rtol=1e-5)


def test_the_lengths_tried_are_hard_ones() -> None:
    assert len(LENGTHS) >= 3
    assert max(LENGTHS) > TRACED_FRAMES
    assert all(length % factor for length in LENGTHS for factor in (2, 4, 8))


def test_an_exported_student_passes(tiny_bundle: Path, tiny_checkpoint: Path) -> None:
    student = load_student(tiny_checkpoint)
    found = parity(student.model, tiny_bundle / "model.onnx")
    assert found.agreement == 1.0
    assert found.max_abs < 1e-3
    assert found.utterances == 2 * len(LENGTHS)


def test_another_student_does_not(tiny_bundle: Path, tiny_checkpoint: Path) -> None:
    student = load_student(tiny_checkpoint).model
    with torch.no_grad():
        student.head.bias[1] += 0.01
    with pytest.raises(ExportError, match="differ from torch's"):
        parity(student, tiny_bundle / "model.onnx")


def altered(source: Path, target: Path, name: str, factor: float) -> Path:
    """Copy a graph with one of its weights multiplied."""
    model = onnx.load(str(source))
    (tensor,) = (t for t in model.graph.initializer if t.name == name)
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(factor), name))
    onnx.save(model, str(target))
    return target


def test_a_graph_that_hears_its_padding_is_refused(
    tiny_bundle: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    model = onnx.load(str(tiny_bundle / "model.onnx"))
    # Every mask is `position < length`: let it be always true.
    masks = [
        node for node in model.graph.node if node.op_type == "Less" and "Unsqueeze" in producer(model, node)
    ]
    assert masks
    for node in masks:
        node.op_type = "GreaterOrEqual"
        node.input[1] = node.input[0]
    onnx.save(model, str(tmp_path / "deaf.onnx"))
    with pytest.raises(ExportError, match="in a padded batch"):
        parity(load_student(tiny_checkpoint).model, tmp_path / "deaf.onnx")


def producer(model: onnx.ModelProto, node: onnx.NodeProto) -> str:
    return next((n.op_type for n in model.graph.node if node.input[1] in n.output), "")


def test_a_graph_that_gives_nan_is_refused(tiny_bundle: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    source = tiny_bundle / "model.onnx"
    broken = altered(source, tmp_path / "nan.onnx", "student.head.bias", float("nan"))
    with pytest.raises(NumericsError):
        parity(load_student(tiny_checkpoint).model, broken)


def test_a_view_that_computes_something_else_is_refused(tiny_bundle: Path, tiny_checkpoint: Path) -> None:
    student = load_student(tiny_checkpoint).model
    view = student.export_view("portable")
    shifted = replace(view, prepare=lambda waveform: view.prepare(waveform) + 0.1)
    with pytest.raises(ExportError, match="not compute what its forward does"):
        check_parity(student, shifted, Session(tiny_bundle / "model.onnx", threads=1), 2)
