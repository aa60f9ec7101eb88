"""Kaldi's features: numpy against Kaldi's own code, torch against numpy, and blind to padding and company."""

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kdcompress.frontend.fbank import Fbank
from kdcompress.frontend.fbank_numpy import fbank, frame_count, mirrored


def waveform(samples: int, seed: int = 0) -> npt.NDArray[np.float32]:
    generator = np.random.default_rng(seed)
    swell = 0.05 + np.sin(np.arange(samples) / 2000) ** 2
    return (0.1 * swell * generator.standard_normal(samples) + 0.01).astype(np.float32)


def kaldis(wave: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Compute features as sherpa-onnx does for models of icefall."""
    knf = pytest.importorskip("kaldi_native_fbank")
    options = knf.FbankOptions()
    options.frame_opts.dither = 0
    options.frame_opts.snip_edges = False
    options.frame_opts.samp_freq = 16_000
    options.mel_opts.num_bins = 80
    options.mel_opts.high_freq = -400
    online = knf.OnlineFbank(options)
    online.accept_waveform(16_000, wave.tolist())
    online.input_finished()
    return np.array([online.get_frame(i) for i in range(online.num_frames_ready)])


@pytest.mark.parametrize("samples", [80, 159, 400, 4321, 16_000, 48_079, 48_080])
def test_numpy_is_kaldi(samples: int) -> None:
    wave = waveform(samples)
    expected = kaldis(wave)
    assert frame_count(samples) == len(expected)
    np.testing.assert_allclose(fbank(wave), expected, atol=2e-3)
    assert np.abs(fbank(wave) - expected).mean() < 1e-4


def test_silence_has_kaldis_floor() -> None:
    silence = np.zeros(1600, np.float32)
    np.testing.assert_allclose(fbank(silence), kaldis(silence), atol=1e-5)


@settings(max_examples=20, deadline=None)
@given(sizes=st.lists(st.integers(0, 6000), min_size=1, max_size=4), filler=st.sampled_from([0.0, 0.7, -3.0]))
def test_torch_is_numpy_whatever_stands_beside(sizes: list[int], filler: float) -> None:
    waves = [waveform(size, seed) for seed, size in enumerate(sizes)]
    batch = np.full((len(waves), 6500), filler, np.float32)
    for row, wave in zip(batch, waves, strict=True):
        row[: len(wave)] = wave
    features, frames = Fbank()(torch.from_numpy(batch), torch.tensor(sizes))
    assert features.shape == (len(sizes), 41, 80)
    for row, count, wave in zip(features.numpy(), frames.tolist(), waves, strict=True):
        expected = fbank(wave)
        assert count == len(expected)
        np.testing.assert_allclose(row[:count], expected, atol=2e-3)
        assert (row[count:] == 0).all()


def test_mirrors_face_each_other() -> None:
    found = mirrored(np.arange(-4, 7), 3).tolist()
    # … 2 2 1 0 | 0 1 2 | 2 1 0 0 …
    assert found == [2, 2, 1, 0, 0, 1, 2, 2, 1, 0, 0]


def test_only_mono_is_taken() -> None:
    with pytest.raises(ValueError, match="mono"):
        fbank(np.zeros((2, 400), np.float32))
