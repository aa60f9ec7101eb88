"""The block that both numpy front ends share, and what its kept buffers may not do."""

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdcompress.frontend import fbank_numpy, logmel_numpy
from kdcompress.frontend.bands_numpy import BLOCK, BandEnergies
from kdcompress.frontend.fbank_numpy import fbank
from kdcompress.frontend.logmel_numpy import HOP, WINDOW, log_mel

FloatArray = npt.NDArray[np.float32]


def noise(samples: int, seed: int = 0) -> FloatArray:
    return (0.1 * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


@pytest.mark.parametrize("module", [logmel_numpy, fbank_numpy])
@given(frames=st.integers(1, BLOCK), seed=st.integers(0, 50), with_level=st.booleans())
def test_energies_are_those_of_each_frame_by_itself(
    module: object, frames: int, seed: int, with_level: bool
) -> None:
    bank = module.mel_filterbank()  # type: ignore[attr-defined]
    window = module.hann_window() if module is logmel_numpy else module.povey_window()  # type: ignore[attr-defined]
    energies = BandEnergies(window, bank, HOP)
    signal = noise((BLOCK - 1) * HOP + WINDOW, seed)
    level = noise(frames, seed + 1) if with_level else np.zeros(frames, np.float32)
    energies.signal[:] = signal
    out = np.full((frames, bank.shape[1]), np.nan, np.float32)
    energies(out, level if with_level else None)
    for t in range(frames):
        frame = (signal[t * HOP : t * HOP + WINDOW].astype(np.float64) - level[t]) * window
        expected = np.abs(np.fft.rfft(frame, 512)) ** 2 @ bank.astype(np.float64)
        np.testing.assert_allclose(out[t], expected, rtol=1e-4)


@pytest.mark.parametrize("features", [log_mel, fbank])
def test_a_broken_waveform_leaves_nothing_behind(features: Callable[[FloatArray], FloatArray]) -> None:
    waveform = noise(3000)
    expected = features(waveform)
    assert not np.isfinite(features(np.full(BLOCK * HOP * 2, np.nan, np.float32))).any()
    np.testing.assert_array_equal(features(waveform), expected)
    np.testing.assert_array_equal(features(waveform[:1000]), features(waveform[:1000].copy()))


def test_a_number_that_is_none_stays_within_its_frames() -> None:
    waveform = noise(BLOCK * HOP * 2)
    waveform[5000] = np.nan
    for features in (fbank(waveform), log_mel(waveform, normalize="none")):
        broken = np.flatnonzero(np.isnan(features).all(axis=1))
        assert 2 <= len(broken) <= 3
        assert broken[0] <= 5000 // HOP <= broken[-1]
        assert np.isfinite(np.delete(features, broken, axis=0)).all()


def test_what_was_returned_is_not_written_again() -> None:
    for features in (log_mel, fbank):
        first = features(noise(5000, 1))
        kept = first.copy()
        features(noise(9000, 2))
        np.testing.assert_array_equal(first, kept)


@pytest.fixture
def restless() -> Iterator[None]:
    """Let threads take turns as often as the interpreter can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("restless")
@pytest.mark.parametrize("features", [log_mel, fbank])
def test_threads_do_not_meet(features: Callable[[FloatArray], FloatArray]) -> None:
    waves = [noise(20_000 + 1000 * seed, seed) for seed in range(8)]
    expected = [features(wave) for wave in waves]
    with ThreadPoolExecutor(4) as threads:
        for _ in range(10):
            for found, right in zip(threads.map(features, waves), expected, strict=True):
                np.testing.assert_array_equal(found, right)


def test_constants_of_a_waveform_do_not_cost_kaldis_features_their_precision() -> None:
    waveform = noise(20_000) * np.float32(0.1)
    # Kaldi takes every frame's mean away: a constant must not show, beyond what float32 holds of the sum.
    np.testing.assert_allclose(fbank(waveform + np.float32(0.5)), fbank(waveform), atol=2e-2)
    assert np.abs(fbank(waveform + np.float32(0.5)) - fbank(waveform)).mean() < 1e-4
