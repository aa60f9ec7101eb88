"""The front end inside the graph, against the one outside and against torch."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kdcompress.frontend.logmel_numpy import HOP, Normalize, log_mel
from kdcompress.graph.waveform import with_frontend
from kdcompress.runtime.bundle import Frontend
from kdcompress.runtime.layout import hops
from kdcompress.runtime.recognizer import Recognizer
from kdcompress.runtime.session import Session
from kdcompress.students.weights import load_student
from kdcompress.verify.sound import synthetic_waveform

BLANK = 2  # of the tiny student


@pytest.fixture(scope="module")
def session(waveform_bundle: Path) -> Session:
    return Session(waveform_bundle / "model.onnx", threads=1)


def run(session: Session, *waveforms: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Run the graph as a stranger would: samples padded with zeros, one output."""
    batch = np.zeros((len(waveforms), max(map(len, waveforms))), np.float32)
    for row, waveform in zip(batch, waveforms, strict=True):
        row[: len(waveform)] = waveform
    (logits,) = session.session.run(["logits"], {"input_values": batch})
    assert isinstance(logits, np.ndarray)
    return logits


def test_the_interface_is_wav2vec2s(waveform_bundle: Path) -> None:
    graph = onnx.load(str(waveform_bundle / "model.onnx")).graph
    shapes = {
        value.name: [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.output)
    }
    assert shapes == {"input_values": ["batch", "samples"], "logits": ["batch", "encoded_frames", 6]}
    # Operators for spectra exist in few runtimes.
    assert not {"STFT", "DFT", "MelWeightMatrix"} & {node.op_type for node in graph.node}


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(HOP, 20_000), min_size=1, max_size=3), st.integers(0, 99))
def test_any_length_alone_and_in_company_is_as_in_torch(
    session: Session, tiny_checkpoint: Path, lengths: list[int], seed: int
) -> None:
    student = load_student(tiny_checkpoint).model
    sounds = [synthetic_waveform(2.0, seed + i)[-length:] for i, length in enumerate(lengths)]
    together = run(session, *sounds)
    assert together.shape[1] == max(-(-(length // HOP) // 4) for length in lengths)
    for row, sound in zip(together, sounds, strict=True):
        with torch.no_grad():
            expected = student(torch.from_numpy(sound)[None], torch.tensor([len(sound)]))[0][0].numpy()
        np.testing.assert_allclose(row[: len(expected)], expected, atol=2e-4)
        np.testing.assert_allclose(run(session, sound)[0], expected, atol=2e-4)
        # Who has no lengths reads on behind the end, and must find nothing there.
        assert (row[len(expected) :].argmax(axis=1) == BLANK).all()
        np.testing.assert_allclose(np.exp(row).sum(axis=1), 1, rtol=1e-4)


@pytest.mark.parametrize("samples", [1, 100, 159])
def test_less_than_a_hop_is_answered_all_the_same(session: Session, samples: int) -> None:
    for waveform in (np.full(samples, 0.1, np.float32), np.zeros(samples, np.float32)):
        assert np.isfinite(run(session, waveform)).all()
        assert run(session, waveform).shape == (1, 1, 6)


def test_silence_beside_speech_stays_finite(session: Session) -> None:
    logits = run(session, synthetic_waveform(1.0), np.zeros(16_000, np.float32))
    assert np.isfinite(logits).all()
    np.testing.assert_allclose(logits[0], run(session, synthetic_waveform(1.0))[0], atol=1e-5)


def test_normalised_waveforms_are_understood(session: Session) -> None:
    sound = synthetic_waveform(1.5)
    sound = sound * (0.03 / sound.std())  # the level that normalised ones are brought to
    loud = (sound - sound.mean()) / sound.std()
    np.testing.assert_allclose(run(session, loud), run(session, sound), atol=2e-2)
    assert not np.allclose(run(session, 30 * sound[:-160]), run(session, 0.001 * sound[:-160]), atol=2e-2)


@pytest.mark.parametrize("normalize", ["per_feature", "none"])
def test_features_are_those_of_numpy(tiny_bundle: Path, normalize: Normalize) -> None:
    model = onnx.load(str(tiny_bundle / "model.onnx"))
    with_frontend(model, Frontend(normalize=normalize), BLANK)
    inner = [onnx.helper.make_tensor_value_info(n, t, None) for n, t in (("audio_signal", 1), ("length", 7))]
    model.graph.output.extend(inner)
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    sound = synthetic_waveform(1.0)[:-33]
    found, frames = session.run(["audio_signal", "length"], {"input_values": sound[None]})
    assert frames.tolist() == [99]
    np.testing.assert_allclose(found[0].T, log_mel(sound, normalize=normalize), atol=2e-3)


def test_our_runtime_reads_it_like_the_portable_bundle(waveform_bundle: Path, tiny_bundle: Path) -> None:
    portable, inside = (Recognizer(b, "fp32", threads=1) for b in (tiny_bundle, waveform_bundle))
    sounds = [synthetic_waveform(s)[-n:] for s, n in ((2.0, 31_999), (1.0, 7_777), (1.0, 100))]
    expected, found = portable.transcribe_batch(sounds), inside.transcribe_batch(sounds)
    assert [t.tokens for t in found] == [t.tokens for t in expected]
    assert found[2].text == ""


def test_hops_lose_no_sample() -> None:
    sound = synthetic_waveform(0.1)[:-7]
    assert hops(sound).shape == (10, HOP)
    np.testing.assert_array_equal(hops(sound).ravel()[: len(sound)], sound)
    assert hops(sound[:159]).shape == (0, HOP)
