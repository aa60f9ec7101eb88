"""Kaldi's log-mel features in numpy: the input of students for icefall's runtimes.

S samples, T frames, F mel bands. The definition is Kaldi's `compute-fbank-feats` with the options that
sherpa-onnx sets for icefall's models: Povey window, 80 bands from 20 to 7600 Hz, `snip_edges=false`, no
dither, no normalisation, samples within ±1.
"""

import threading
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from kdcompress.aliases import FloatArray
from kdcompress.audio.utterance import SAMPLE_RATE
from kdcompress.frontend.bands_numpy import BLOCK, BandEnergies, frozen

N_FFT = 512
WINDOW = 400  # [samples]
HOP = 160  # [samples]
BANDS = 80
BOTTOM_HZ, TOP_HZ = 20.0, 7600.0
PREEMPHASIS = 0.97
FLOOR = float(np.finfo(np.float32).eps)  # of the energy of a band, before the log
FIRST = HOP // 2 - WINDOW // 2  # [samples] where the first frame begins: its middle is half a hop behind 0


def frame_count(samples: int) -> int:
    """Return the number of frames T of a waveform of S samples: S / 160, rounded half up."""
    return (samples + HOP // 2) // HOP


@cache
def povey_window() -> FloatArray:
    """Return Kaldi's window [400] float32: Hann to the power of 0.85."""
    return frozen(np.hanning(WINDOW) ** 0.85)


@cache
def mel_filterbank() -> FloatArray:
    """Return Kaldi's mel bands [257, F] float32: triangles of height 1 on the mel scale.

    Source: the HTK book's scale, 1127 · ln(1 + f / 700).
    """
    bottom, top = _hz_to_mel(np.array([BOTTOM_HZ, TOP_HZ]))
    edges = np.linspace(bottom, top, BANDS + 2)
    mel = _hz_to_mel(np.linspace(0.0, SAMPLE_RATE / 2, N_FFT // 2 + 1))[:, None]
    rising = (mel - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - mel) / (edges[2:] - edges[1:-1])
    return frozen(np.maximum(0.0, np.minimum(rising, falling)))


def fbank(waveform: npt.NDArray[np.floating[Any]]) -> FloatArray:
    """Compute the features [T, F] float32 of a mono waveform [S] at 16 kHz.

    Raises:
        ValueError: the waveform is not one-dimensional.
    """
    if waveform.ndim != 1:
        raise ValueError(f"expected a mono waveform [S], found shape {waveform.shape}")
    samples = waveform.astype(np.float32, copy=False)
    features = np.empty((frame_count(len(samples)), BANDS), np.float32)
    energies = _energies()
    for start in range(0, len(features), BLOCK):
        block = features[start : start + BLOCK]
        stretch = _stretch(samples, FIRST + start * HOP, (len(block) - 1) * HOP + WINDOW)
        level = stretch.mean()
        if np.isfinite(level):  # no frame needs it, and what is left loses less to rounding
            stretch = stretch - level
        # Each frame less its mean, then each sample less 0.97 of the one before: the mean is left 0.03 times.
        # A frame's first sample, which has none before it, does not count: the window is 0 there.
        signal = energies.signal[: len(stretch)]
        np.multiply(stretch[:-1], np.float32(-PREEMPHASIS), out=signal[1:])
        signal[0] = 0
        signal += stretch
        # A frame is five half hops long.
        half_hops = stretch.reshape(-1, HOP // 2).sum(axis=1)
        sums = np.lib.stride_tricks.sliding_window_view(half_hops, 2 * WINDOW // HOP)[::2].sum(axis=1)
        energies(block, sums * np.float32((1 - PREEMPHASIS) / WINDOW))
    np.maximum(features, np.float32(FLOOR), out=features)
    return np.log(features, out=features)


def _stretch(samples: FloatArray, first: int, count: int) -> FloatArray:
    """Return so many samples from `first` on, mirrored beyond the ends."""
    if first >= 0 and first + count <= len(samples):
        return samples[first : first + count]
    return samples[mirrored(np.arange(first, first + count), len(samples))]


def mirrored(index: npt.NDArray[np.int64], samples: int) -> npt.NDArray[np.int64]:
    """Return the sample that stands for each index: beyond its ends a waveform is mirrored."""
    index = index % (2 * samples)
    return np.minimum(index, 2 * samples - 1 - index)


_kept = threading.local()


def _energies() -> BandEnergies:
    """Return this thread's buffers."""
    try:
        energies: BandEnergies = _kept.energies
    except AttributeError:
        energies = _kept.energies = BandEnergies(povey_window(), mel_filterbank(), HOP)
    return energies


def _hz_to_mel(hz: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    mel: npt.NDArray[np.float64] = 1127.0 * np.log1p(hz / 700.0)
    return mel
