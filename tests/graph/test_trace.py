import signal
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from kdcompress.config.student import ConformerConfig
from kdcompress.graph.runtime_files import metadata
from kdcompress.graph.trace import trace
from kdcompress.runtime.bundle import Frontend
from kdcompress.runtime.layout import LAYOUTS, State
from kdcompress.runtime.session import Session
from kdcompress.signals import signals_wait
from kdcompress.students.conformer import ConformerStudent
from kdcompress.students.view import ExportView
from kdcompress.students.weights import load_student
from kdcompress.text.vocabulary import Vocabulary


@pytest.fixture(scope="module")
def graph(tiny_bundle: Path) -> onnx.ModelProto:
    return onnx.load(str(tiny_bundle / "model.onnx"))


def test_the_interface_is_nemos(graph: onnx.ModelProto) -> None:
    shapes = {
        value.name: [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]
        for value in (*graph.graph.input, *graph.graph.output)
    }
    assert shapes == {
        "audio_signal": ["batch", 80, "frames"],
        "length": ["batch"],
        "logprobs": ["batch", "encoded_frames", 6],
        "encoded_lengths": ["batch"],
    }
    properties = {entry.key: entry.value for entry in graph.metadata_props}
    assert properties["model_type"] == "EncDecCTCModelBPE"
    assert properties["vocab_size"] == "5"
    assert properties["subsampling_factor"] == "4"
    assert properties["normalize_type"] == "per_feature"


def test_the_interface_is_icefalls(kaldi_bundle: Path) -> None:
    model = onnx.load(str(kaldi_bundle / "model.onnx"))
    shapes = {
        value.name: [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }
    assert shapes == {
        "x": ["batch", "frames", 80],
        "x_lens": ["batch"],
        "log_probs": ["batch", "encoded_frames", 6],
        "log_probs_len": ["batch"],
    }
    # Nothing that would let a runtime take it for NeMo's.
    assert not {"model_type", "normalize_type"} & {entry.key for entry in model.metadata_props}


def test_only_standard_operators_in_one_file(graph: onnx.ModelProto, tiny_bundle: Path) -> None:
    assert [(opset.domain, opset.version) for opset in graph.opset_import] == [("", 20)]
    assert not graph.functions
    assert not [tensor.name for tensor in graph.graph.initializer if tensor.external_data]
    assert {path.suffix for path in tiny_bundle.iterdir()} == {".onnx", ".json", ".txt", ".wav", ".md"}


def test_norms_are_whole_and_nothing_is_left_to_simplify(graph: onnx.ModelProto) -> None:
    kinds = {node.op_type for node in graph.graph.node}
    assert {"LayerNormalization", "Softmax", "LogSoftmax", "MatMul"} <= kinds
    # Gemm: quantize only knows MatMul. ReduceMean, Sqrt: a norm in pieces. IsNaN: see simplify.
    assert not kinds & {"Gemm", "ReduceMean", "Sqrt", "IsNaN"}
    scalars = {tensor.name for tensor in graph.graph.initializer if not tensor.dims}
    outputs = {node.output[0]: node.op_type for node in graph.graph.node}
    halved = [n for n in graph.graph.node if n.op_type == "Mul" and n.input[1] in scalars]
    assert not [n for n in halved if outputs.get(n.input[0]) == "Add"]


def test_no_path_of_this_machine_is_inside(graph: onnx.ModelProto) -> None:
    inside = graph.SerializeToString()
    for trail in (str(Path(__file__).parent.parent.parent), str(Path.home()), ".py"):
        assert trail.encode() not in inside


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("frames", [1, 2, 3, 4, 5, 97, 203, 640])
def test_any_batch_and_length(tiny_bundle: Path, tiny_checkpoint: Path, batch: int, frames: int) -> None:
    student = load_student(tiny_checkpoint).model
    features = torch.randn(batch, frames, 80, generator=torch.Generator().manual_seed(frames))
    lengths = torch.tensor([frames, max(1, frames // 2), 1][:batch])
    with torch.no_grad():
        expected, encoded = student.encode(features, lengths)
    found, found_lengths = Session(tiny_bundle / "model.onnx", threads=1).run(
        features.numpy(), lengths.numpy()
    )
    assert found.shape[1] == -(-frames // 4)
    np.testing.assert_array_equal(found_lengths, encoded)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_an_empty_utterance_in_a_batch_is_no_nan(tiny_bundle: Path) -> None:
    features = np.random.default_rng(0).standard_normal((2, 50, 80)).astype(np.float32)
    found, _ = Session(tiny_bundle / "model.onnx", threads=1).run(features, np.array([50, 0]))
    assert np.isfinite(found).all()


@pytest.mark.slow
def test_another_frame_shift(tmp_path: Path) -> None:
    small = {"width": 16, "layers": 1, "heads": 1, "feed_forward": 1, "kernel": 3, "stem_channels": 4}
    student = ConformerStudent(ConformerConfig(**small, frame_shift_ms=80, normalize="none"), 3).eval()
    properties = metadata(Vocabulary(("<pad>", "a", "b"), 0), student.factor, "none", "")
    onnx.save(trace(student.export_view("portable"), properties, 20), str(tmp_path / "model.onnx"))
    features = torch.randn(2, 101, 80, generator=torch.Generator().manual_seed(0))
    lengths = torch.tensor([101, 30])
    with torch.no_grad():
        expected, encoded = student.encode(features, lengths)
    found, found_lengths = Session(tmp_path / "model.onnx", threads=1).run(features.numpy(), lengths.numpy())
    assert found.shape[1] == 13
    np.testing.assert_array_equal(found_lengths, encoded)
    np.testing.assert_allclose(found, expected, atol=1e-4)


class Running(nn.Module):
    """A running mean of the features, whose sum and count are passed in and out."""

    def forward(self, x: Tensor, lengths: Tensor, total: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        sums = total[:, None] + x.cumsum(dim=1)
        return sums.log_softmax(-1), lengths, sums[:, -1]


def test_states_are_inputs_and_outputs_behind_the_others(tmp_path: Path) -> None:
    """In two pieces, with the state passed on, as in one."""
    state = State("total", "next_total")
    layout = replace(LAYOUTS["kaldi"], states=(state,))
    example = (torch.randn(2, 203, 3), torch.tensor([203, 100]), torch.zeros(2, 3))
    view = ExportView(Running().eval(), layout, example, lambda waveform: waveform, Frontend(), 1)
    onnx.save(trace(view, {}, 20), str(tmp_path / "model.onnx"))
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    assert [value.name for value in session.get_inputs()] == ["x", "x_lens", "total"]
    assert [value.name for value in session.get_outputs()] == ["log_probs", "log_probs_len", "next_total"]

    def run(frames: np.ndarray, total: np.ndarray) -> list[np.ndarray]:
        lengths = np.full(len(frames), frames.shape[1], np.int64)
        return session.run(None, {"x": frames, "x_lens": lengths, "total": total})

    frames = np.random.default_rng(0).standard_normal((3, 57, 3)).astype(np.float32)
    whole, _, end = run(frames, np.zeros((3, 3), np.float32))
    first, _, middle = run(frames[:, :20], np.zeros((3, 3), np.float32))
    second, _, last = run(frames[:, 20:], middle)
    np.testing.assert_allclose(np.concatenate([first, second], axis=1), whole, atol=1e-4)
    np.testing.assert_allclose(last, end, atol=1e-4)


class _Interrupted(torch.nn.Module):
    """A student that is interrupted while it is traced."""

    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, features: torch.Tensor, lengths: torch.Tensor) -> object:
        signal.raise_signal(signal.SIGTERM)
        return self.inner(features, lengths)


@pytest.mark.slow
def test_an_interrupted_exporter_is_no_fault_of_the_student(tiny_checkpoint: Path) -> None:
    view = load_student(tiny_checkpoint).model.export_view("portable")
    before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        with pytest.raises(SystemExit) as caught:
            trace(replace(view, module=_Interrupted(view.module).eval()), {}, 20)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert caught.value.code == 143


def test_a_second_signal_does_not_wait() -> None:
    reached = False
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012, SIM117  # where it is raised is what is looked at
        with signals_wait():
            signal.raise_signal(signal.SIGINT)
            reached = True
            signal.raise_signal(signal.SIGINT)
            pytest.fail("the second one waited")
    assert reached
