"""The numpy features against implementations by other people, and on signals whose features are known."""

from importlib.resources import files
from pathlib import Path

import kaldi_native_fbank as knf
import numpy as np
import numpy.typing as npt
import onnx_asr
import onnxruntime
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from onnx_asr.preprocessors.numpy_preprocessor import NemoPreprocessorNumpy

from kdcompress.audio.utterance import SAMPLE_RATE
from kdcompress.frontend.logmel_numpy import (
    BANDS,
    HOP,
    LOG_GUARD,
    frame_count,
    hann_window,
    log_mel,
    mel_filterbank,
)
from kdcompress.frontend.torchaudio_import import load_torchaudio

FloatArray = npt.NDArray[np.float32]


def noise(samples: int, seed: int = 0, level: float = 0.1) -> FloatArray:
    return (level * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


def speech_like(samples: int) -> FloatArray:
    """A buzz with a moving pitch over faint noise: loud and quiet bands, loud and quiet frames."""
    time = np.arange(samples) / SAMPLE_RATE
    phase = 2 * np.pi * np.cumsum(120 + 30 * np.sin(2 * np.pi * time)) / SAMPLE_RATE
    buzz = sum(np.sin(k * phase) / k for k in range(1, 30))
    return (0.1 * buzz * np.sin(2 * np.pi * 1.3 * time) ** 2).astype(np.float32) + noise(samples, level=1e-3)


def test_filterbank_is_torchaudios() -> None:
    pytest.importorskip("torch", reason="no torch to compare with")
    theirs = load_torchaudio().functional.melscale_fbanks(257, 0.0, 8000.0, 80, 16000, "slaney", "slaney")
    np.testing.assert_allclose(mel_filterbank(), theirs.numpy(), atol=1e-7)


def test_filterbank_bands_have_unit_area() -> None:
    # Narrow bands are sampled by a few bins only, so their sums scatter; wide ones must come close.
    area = mel_filterbank().sum(axis=0) * (SAMPLE_RATE / 512)
    np.testing.assert_allclose(area[40:], 1.0, atol=0.02)


@pytest.mark.parametrize("samples", [480, 1599, 1600, 16_000, 40_123])
def test_features_are_those_of_onnx_asr(samples: int) -> None:
    waveform = speech_like(samples)
    features, lengths = NemoPreprocessorNumpy("nemo80")(waveform[None], np.array([samples]))
    ours = log_mel(waveform)
    assert len(ours) == lengths[0]
    np.testing.assert_allclose(ours, features[0].T[: lengths[0]], atol=2e-3)


def test_features_are_those_of_onnx_asrs_graph() -> None:
    graph = files(onnx_asr) / "preprocessors" / "data" / "nemo80.onnx"
    session = onnxruntime.InferenceSession(graph.read_bytes(), providers=["CPUExecutionProvider"])
    waveform = speech_like(30_000)
    features, lengths = session.run(
        None, {"waveforms": waveform[None], "waveforms_lens": np.array([len(waveform)])}
    )
    ours = log_mel(waveform)
    assert len(ours) == lengths[0]
    np.testing.assert_allclose(ours, features[0].T[: lengths[0]], atol=5e-3)


@pytest.mark.parametrize("floored", [False, True])
def test_features_are_kaldis_with_the_same_options(floored: bool) -> None:
    options = knf.FbankOptions()
    frame = options.frame_opts
    frame.samp_freq, frame.dither, frame.snip_edges = SAMPLE_RATE, 0, False
    frame.preemph_coeff, frame.remove_dc_offset = 0.97, False
    frame.window_type = "hann" if floored else "hanning"
    options.mel_opts.num_bins, options.mel_opts.low_freq, options.mel_opts.high_freq = BANDS, 0, 8000
    options.mel_opts.is_librosa = True
    options.use_energy = False
    bank = knf.OnlineFbank(options)
    # Loud, so that neither log guard matters: Kaldi has another one. Floored features have Kaldi's.
    waveform = noise(20_000, level=10.0) * np.repeat([1e-6, 1e-4] if floored else [1, 1], 10_000)
    # Kaldi's frames are centred half a hop later.
    bank.accept_waveform(SAMPLE_RATE, np.concatenate([np.zeros(HOP // 2, np.float32), waveform]).tolist())
    bank.input_finished()
    theirs = np.stack([bank.get_frame(i) for i in range(bank.num_frames_ready)])
    ours = log_mel(waveform, normalize="none", floored=floored)
    # At the edges Kaldi mirrors the waveform, NeMo pads with zeros.
    np.testing.assert_allclose(ours[2:-2], theirs[: len(ours)][2:-2], atol=1e-4)


@pytest.mark.parametrize("hz", [100.0, 440.0, 1000.0, 2500.0, 6000.0])
def test_a_tone_sounds_in_its_band(hz: float) -> None:
    tone = np.sin(2 * np.pi * hz * np.arange(16_000) / SAMPLE_RATE).astype(np.float32)
    loudest = log_mel(tone, normalize="none")[5:-5].argmax(axis=1)
    centres = mel_filterbank().T @ np.linspace(0, 8000, 257) / mel_filterbank().sum(axis=0)
    nearest = np.abs(centres - hz).argmin()
    assert np.all(np.abs(loudest - nearest) <= 1)


def test_a_rising_tone_rises() -> None:
    time = np.arange(32_000) / SAMPLE_RATE
    sweep = np.sin(2 * np.pi * (200 * time + 1500 * time**2)).astype(np.float32)  # 200 to 6200 Hz
    loudest = log_mel(sweep, normalize="none")[3:-3].argmax(axis=1)
    assert np.all(np.diff(loudest) >= 0)
    assert loudest[-1] - loudest[0] > 50


def test_silence_is_the_guard_and_normalises_to_zero() -> None:
    silence = np.zeros(16_000, np.float32)
    assert np.all(log_mel(silence, normalize="none") == np.float32(np.log(LOG_GUARD)))
    assert np.all(log_mel(silence) == 0)


def test_one_frame_normalises_to_zero() -> None:
    assert np.all(log_mel(noise(200)) == 0)


@given(st.integers(0, 3000))
def test_frames_are_the_whole_hops(samples: int) -> None:
    features = log_mel(noise(samples))
    assert features.shape == (samples // HOP, BANDS) == (frame_count(samples), BANDS)
    assert features.dtype == np.float32
    assert np.isfinite(features).all()


# Ten frames or more: two may be so alike in a band that the guard shows.
@given(st.integers(1600, 8000), st.integers(0, 100))
def test_normalised_bands_have_zero_mean_and_unit_variance(samples: int, seed: int) -> None:
    features = log_mel(noise(samples, seed))
    np.testing.assert_allclose(features.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(features.std(axis=0, ddof=1), 1, atol=1e-3)


def test_long_audio_in_blocks_is_the_same_as_its_parts() -> None:
    waveform = noise(1024 * HOP * 2 + 777)
    whole = log_mel(waveform, normalize="none")
    # Cut on a hop well before the block's edge: frames away from the cut cannot know of it.
    tail = log_mel(waveform[1000 * HOP :], normalize="none")
    np.testing.assert_allclose(whole[1003:], tail[3:], atol=1e-4)


def test_real_speech_as_onnx_asr_hears_it(an4: Path) -> None:
    for path in sorted((an4 / "audio" / "dev").glob("*.flac"))[:10]:
        waveform, _ = soundfile.read(path, dtype="float32")
        features, lengths = NemoPreprocessorNumpy("nemo80")(waveform[None], np.array([len(waveform)]))
        np.testing.assert_allclose(log_mel(waveform), features[0].T[: lengths[0]], atol=2e-3)


def test_constants_cannot_be_overwritten() -> None:
    with pytest.raises(ValueError, match="read-only"):
        hann_window()[0] = 1.0
    with pytest.raises(ValueError, match="read-only"):
        mel_filterbank()[0, 0] = 1.0


def test_stereo_is_refused() -> None:
    with pytest.raises(ValueError, match=r"mono waveform \[S\], found shape \(2, 100\)"):
        log_mel(np.zeros((2, 100), np.float32))
