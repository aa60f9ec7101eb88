"""Log-mel features in numpy: a student's input where there is no torch.

S samples, T frames, F mel bands. The definition is NVIDIA NeMo's `AudioToMelSpectrogramPreprocessor`, which
sherpa-onnx and onnx-asr compute on their side: pre-emphasis, centred Hann frames of 25 ms every 10 ms, power
spectrum, slaney mel bands, log, and zero mean and unit variance per band over the utterance. No dither.

With `floored` they are, value for value, those that sherpa-onnx really computes: its window is periodic, and
before the log low energies are raised to a floor, where NeMo adds half of that to all.
"""

import threading
from functools import cache
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from kdcompress.aliases import FloatArray
from kdcompress.audio.utterance import SAMPLE_RATE
from kdcompress.frontend.bands_numpy import BLOCK, BandEnergies, frozen

Normalize: TypeAlias = Literal["per_feature", "none"]

N_FFT = 512
WINDOW = 400  # [samples] centred within N_FFT
HOP = 160  # [samples]
BANDS = 80
TOP_HZ = 8000.0
PREEMPHASIS = 0.97
LOG_GUARD = 2.0**-24  # added to the power before the log
LOG_FLOOR = 2.0**-23  # the least power, of `floored` features
STD_GUARD = 1e-5  # added to the standard deviation


def frame_count(samples: int) -> int:
    """Return the number of frames T of a waveform of S samples: floor(S / 160).

    Centred frames fit once more (at S itself), but NeMo counts floor(S / 160) as valid and so does onnx-asr;
    sherpa-onnx counts floor((S + 80) / 160). The smallest of these is inside what every runtime delivers.
    """
    return samples // HOP


@cache
def hann_window(*, periodic: bool = False) -> FloatArray:
    """Return the Hann window [400] float32 (as `torch.hann_window(400, periodic=periodic)`)."""
    return frozen(np.hanning(WINDOW + 1)[:WINDOW] if periodic else np.hanning(WINDOW))


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
    return frozen(triangles * (2.0 / (edges[2:] - edges[:-2])))


def log_mel(
    waveform: npt.NDArray[np.floating[Any]], *, normalize: Normalize = "per_feature", floored: bool = False
) -> FloatArray:
    """Compute the features [T, F] float32 of a mono waveform [S] at 16 kHz.

    Args:
        floored: as sherpa-onnx computes them.

    Raises:
        ValueError: the waveform is not one-dimensional.
    """
    if waveform.ndim != 1:
        raise ValueError(f"expected a mono waveform [S], found shape {waveform.shape}")
    samples = waveform.astype(np.float32, copy=False)
    features = np.empty((frame_count(len(samples)), BANDS), np.float32)
    # The first frame is centred on sample 0.
    log_energies(samples, -WINDOW // 2, features, floored=floored)
    return _normalized(features) if normalize == "per_feature" and len(features) else features


def log_energies(samples: FloatArray, first: int, out: FloatArray, *, floored: bool = False) -> None:
    """Write T frames [T, F] of a waveform [S], not normalised; beyond its ends are zeros.

    Args:
        samples: float32 [S].
        first: where the first frame's window begins; pre-emphasis takes the sample before it, too.
        out: float32 [T, F].
        floored: as of `log_mel`.
    """
    energies = _energies(floored)
    for start in range(0, len(out), BLOCK):
        block = out[start : start + BLOCK]
        _emphasise(samples, first + start * HOP, energies.signal[: (len(block) - 1) * HOP + WINDOW])
        energies(block)
    if floored:
        np.maximum(out, np.float32(LOG_FLOOR), out=out)
    else:
        out += np.float32(LOG_GUARD)
    np.log(out, out=out)


def _emphasise(samples: FloatArray, first: int, out: FloatArray) -> None:
    """Write samples from `first` on, each less 0.97 of the one before; zeros beyond the ends."""
    begin, end = max(first, 0), min(first + len(out), len(samples))
    out[: begin - first] = 0
    out[end - first :] = 0
    inner = out[begin - first : end - first]
    np.multiply(samples[max(begin - 1, 0) : end - 1], np.float32(-PREEMPHASIS), out=inner[int(begin == 0) :])
    if begin == 0:
        inner[0] = 0
    inner += samples[begin:end]


def _normalized(features: FloatArray) -> FloatArray:
    """Bring features [T, F] to zero mean and unit variance per band, in place; a single frame becomes zeros.

    What is returned lies in memory band by band, as graphs of the portable profile take it.
    """
    # Relative to the first frame: digital silence gives exact zeros instead of rounding errors over 1e-5.
    features -= features[0].copy()
    features -= np.ones(len(features), np.float32) @ features / np.float32(len(features))
    variance = np.einsum("tf,tf->f", features, features) / np.float32(max(len(features) - 1, 1))
    deviation = np.sqrt(variance) + np.float32(STD_GUARD)
    normalized: FloatArray = np.empty(features.shape, np.float32, order="F")
    np.divide(features, deviation, out=normalized)
    return normalized


_kept = threading.local()


def _energies(periodic: bool) -> BandEnergies:
    """Return this thread's buffers."""
    kept: dict[bool, BandEnergies] = _kept.__dict__.setdefault("energies", {})
    if periodic not in kept:
        kept[periodic] = BandEnergies(hann_window(periodic=periodic), mel_filterbank(), HOP)
    return kept[periodic]


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
