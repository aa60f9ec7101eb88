"""Log-mel features in numpy: what a student hears where there is no torch.

S samples, T frames, F mel bands. The definition is NVIDIA NeMo's `AudioToMelSpectrogramPreprocessor`, which
sherpa-onnx and onnx-asr compute on their side: pre-emphasis, centred Hann frames of 25 ms every 10 ms, power
spectrum, slaney mel bands, log, and zero mean and unit variance per band over the utterance. No dither.
"""

from functools import cache
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from kdcompress.audio.utterance import SAMPLE_RATE

Normalize: TypeAlias = Literal["per_feature", "none"]
FloatArray: TypeAlias = npt.NDArray[np.float32]

N_FFT = 512
WINDOW = 400  # [samples] centred within N_FFT
HOP = 160  # [samples]
BANDS = 80
TOP_HZ = 8000.0
PREEMPHASIS = 0.97
LOG_GUARD = 2.0**-24  # added to the power before the log
STD_GUARD = 1e-5  # added to the standard deviation

# Frames per block: bounds memory on long audio and keeps a block within the cache.
_BLOCK = 1024


def frame_count(samples: int) -> int:
    """Return the number of frames T of a waveform of S samples: floor(S / 160).

    Centred frames fit once more (at S itself), but NeMo counts floor(S / 160) as valid and so does onnx-asr;
    sherpa-onnx counts floor((S + 80) / 160). The smallest of these is inside what every runtime delivers.
    """
    return samples // HOP


@cache
def hann_window() -> FloatArray:
    """Return the symmetric Hann window [400] float32 (as `torch.hann_window(400, periodic=False)`)."""
    return _frozen(np.hanning(WINDOW))


@cache
def mel_filterbank() -> FloatArray:
    """Return the slaney mel bands [257, F] float32, each of unit area.

    Source: Slaney, Auditory Toolbox (1998), as in librosa `filters.mel(htk=False, norm="slaney")`.
    """
    edges = _mel_to_hz(np.linspace(0.0, _hz_to_mel(TOP_HZ), BANDS + 2))
    bins = np.linspace(0.0, SAMPLE_RATE / 2, N_FFT // 2 + 1)
    widths = np.diff(edges)
    rising = (bins[:, None] - edges[None, :-2]) / widths[:-1]
    falling = (edges[None, 2:] - bins[:, None]) / widths[1:]
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    return _frozen(triangles * (2.0 / (edges[2:] - edges[:-2])))


def log_mel(waveform: npt.NDArray[np.floating[Any]], *, normalize: Normalize = "per_feature") -> FloatArray:
    """Compute the features [T, F] float32 of a mono waveform [S] at 16 kHz.

    Raises:
        ValueError: the waveform is not one-dimensional.
    """
    if waveform.ndim != 1:
        raise ValueError(f"expected a mono waveform [S], found shape {waveform.shape}")
    frames = frame_count(len(waveform))
    features = np.empty((frames, BANDS), np.float32)
    if not frames:
        return features
    signal = np.zeros(len(waveform) + N_FFT, np.float32)
    inner = signal[N_FFT // 2 : N_FFT // 2 + len(waveform)]
    inner[:] = waveform
    inner[1:] -= np.float32(PREEMPHASIS) * waveform[:-1].astype(np.float32, copy=False)
    strided = np.lib.stride_tricks.sliding_window_view(signal, N_FFT)[::HOP]
    # Only the 400 samples under the window count; the phase that the offset changes is not looked at.
    offset = (N_FFT - WINDOW) // 2
    for start in range(0, frames, _BLOCK):
        stop = min(start + _BLOCK, frames)
        windowed = strided[start:stop, offset : offset + WINDOW] * hann_window()
        spectrum = np.fft.rfft(windowed, N_FFT)
        power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32, copy=False)
        features[start:stop] = np.log(power @ mel_filterbank() + np.float32(LOG_GUARD))
    return normalize_features(features) if normalize == "per_feature" else features


def normalize_features(features: FloatArray) -> FloatArray:
    """Bring features [T, F] to zero mean and unit variance per band; a single frame becomes zeros."""
    # Relative to the first frame: digital silence gives exact zeros instead of rounding errors over 1e-5.
    centred = features - features[:1]
    centred = centred - centred.mean(axis=0)
    variance = np.square(centred).sum(axis=0) / max(len(features) - 1, 1)
    normalized: FloatArray = centred / (np.sqrt(variance) + np.float32(STD_GUARD))
    return normalized


def _frozen(values: npt.NDArray[np.float64]) -> FloatArray:
    array = values.astype(np.float32)
    array.flags.writeable = False  # cached: a caller that wrote into it would change every later result
    return array


# The slaney scale: linear to 1 kHz, logarithmic above, 27 mel per factor of 6.4.
_LINEAR_HZ = 200.0 / 3.0
_BREAK_HZ = 1000.0
_BREAK_MEL = _BREAK_HZ / _LINEAR_HZ
_LOG_STEP = np.log(6.4) / 27.0


def _hz_to_mel(hz: float) -> float:
    if hz < _BREAK_HZ:
        return hz / _LINEAR_HZ
    return float(_BREAK_MEL + np.log(hz / _BREAK_HZ) / _LOG_STEP)


def _mel_to_hz(mel: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    above = _BREAK_HZ * np.exp(_LOG_STEP * (np.maximum(mel, _BREAK_MEL) - _BREAK_MEL))
    return np.where(mel < _BREAK_MEL, mel * _LINEAR_HZ, above)
