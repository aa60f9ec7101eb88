"""Kaldi's log-mel features in numpy: what students for icefall's runtimes hear.

S samples, T frames, F mel bands. The definition is Kaldi's `compute-fbank-feats` with the options that
sherpa-onnx sets for icefall's models: Povey window, 80 bands from 20 to 7600 Hz, `snip_edges=false`, no
dither, no normalisation, samples within ±1.
"""

from functools import cache
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from kdcompress.audio.utterance import SAMPLE_RATE

FloatArray: TypeAlias = npt.NDArray[np.float32]

N_FFT = 512
WINDOW = 400  # [samples]
HOP = 160  # [samples]
BANDS = 80
BOTTOM_HZ, TOP_HZ = 20.0, 7600.0
PREEMPHASIS = 0.97
FLOOR = float(np.finfo(np.float32).eps)  # of the energy of a band, before the log
FIRST = HOP // 2 - WINDOW // 2  # [samples] where the first frame begins: its middle is half a hop behind 0

# Frames per block: bounds memory on long audio and keeps a block within the cache.
_BLOCK = 1024


def frame_count(samples: int) -> int:
    """Return the number of frames T of a waveform of S samples: S / 160, rounded half up."""
    return (samples + HOP // 2) // HOP


@cache
def povey_window() -> FloatArray:
    """Return Kaldi's window [400] float32: Hann to the power of 0.85."""
    return _frozen(np.hanning(WINDOW) ** 0.85)


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
    return _frozen(np.maximum(0.0, np.minimum(rising, falling)))


def fbank(waveform: npt.NDArray[np.floating[Any]]) -> FloatArray:
    """Compute the features [T, F] float32 of a mono waveform [S] at 16 kHz.

    Raises:
        ValueError: the waveform is not one-dimensional.
    """
    if waveform.ndim != 1:
        raise ValueError(f"expected a mono waveform [S], found shape {waveform.shape}")
    frames = frame_count(len(waveform))
    features = np.empty((frames, BANDS), np.float32)
    samples = waveform.astype(np.float32, copy=False)
    for start in range(0, frames, _BLOCK):
        stop = min(start + _BLOCK, frames)
        begins = FIRST + HOP * np.arange(start, stop)[:, None]
        framed = samples[mirrored(begins + np.arange(WINDOW), len(samples))]
        framed = framed - framed.mean(axis=1, keepdims=True)
        before = np.concatenate([framed[:, :1], framed[:, :-1]], axis=1)
        spectrum = np.fft.rfft((framed - np.float32(PREEMPHASIS) * before) * povey_window(), N_FFT)
        power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32, copy=False)
        features[start:stop] = np.log(np.maximum(power @ mel_filterbank(), np.float32(FLOOR)))
    return features


def mirrored(index: npt.NDArray[np.int64], samples: int) -> npt.NDArray[np.int64]:
    """Return the sample that stands for each index: beyond its ends a waveform is mirrored."""
    index = index % (2 * samples)
    return np.minimum(index, 2 * samples - 1 - index)


def _frozen(values: npt.NDArray[np.float64]) -> FloatArray:
    array = values.astype(np.float32)
    array.flags.writeable = False  # cached: a caller that wrote into it would change every later result
    return array


def _hz_to_mel(hz: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    mel: npt.NDArray[np.float64] = 1127.0 * np.log1p(hz / 700.0)
    return mel
