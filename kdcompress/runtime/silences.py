"""Where a recording may be cut: silences, found by level alone and from what has been read so far.

What is silent is decided from the beginning of the chunk up to the silence, never from what follows it. So a
recording is cut where each of its parts would be cut, and the text of an hour is that of its parts.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kdcompress.aliases import FloatArray
from kdcompress.audio.utterance import SAMPLE_RATE

Levels = npt.NDArray[np.float64]

FRAME = SAMPLE_RATE // 100
"""Samples of one level: 10 ms."""

_CONTRAST = 18.0  # [dB] between silence and speech; with less there is music, noise, or one of the two only
_STEP = 6.0  # [dB] thresholds come in steps, so that a little more audio seldom moves one
_INAUDIBLE = -80.0  # [dB] of full scale
_LOOK = 10  # [levels] between two looks for a silence
_BEGUN = 40  # [levels] of silence until it is one; at the end of a recording that is enough
_FLOOR = 30  # [levels] whose median is the noise that speech rises from …
_RISE = 6.0  # [dB] … by so much


@dataclass(frozen=True)
class Pause:
    """A silence within a recording.

    Attributes:
        start: first silent sample, a multiple of `FRAME`.
        threshold: what is quieter is silent here [dB of full scale].
    """

    start: int
    threshold: float


def levels(waveform: FloatArray) -> Levels:
    """Return the power of each whole 10 ms of a waveform [S] [dB of full scale]."""
    frames = len(waveform) // FRAME
    power = np.square(waveform[: frames * FRAME].reshape(frames, FRAME)).mean(axis=1, dtype=np.float64)
    return np.asarray(10 * np.log10(power + 1e-10))


def find_pause(level: Levels, shortest: float, earliest: int, to_the_end: bool) -> Pause | None:
    """Return the first silence of a chunk that is long enough to end it.

    Args:
        level: of the chunk and what follows.
        shortest: the silence [s].
        earliest: where it may begin [samples]; of one that has begun before, what lies behind counts.
        to_the_end: the recording ends with these levels; a silence that lasts until then may be shorter.
    """
    needed = round(shortest * SAMPLE_RATE) // FRAME
    begun: Pause | None = None
    for end in range(_LOOK, len(level) + 1, _LOOK):
        if begun is not None and (level[end - _LOOK : end] >= begun.threshold).any():
            begun = None
        if begun is None:
            begun = _begun(level[:end])
        if begun is not None and end - max(begun.start, earliest) // FRAME >= needed:
            return Pause(max(begun.start, earliest), begun.threshold)
    tail = level[len(level) // _LOOK * _LOOK :]
    if to_the_end and begun is not None and (tail < begun.threshold).all():
        start = max(begun.start, earliest)
        return Pause(start, begun.threshold) if len(level) - start // FRAME >= _BEGUN else None
    return None


def leading_silence(level: Levels, threshold: float | None = None) -> int | None:
    """Return where speech begins after the silence at the beginning [samples], or None where it does not.

    Speech is what is louder than the threshold, or rises above the noise right before it.

    Args:
        level: from the beginning of the silence on.
        threshold: of the pause that these levels belong to; None at the beginning of a recording, where only
            what follows can tell what silence is.
    """
    if threshold is None:
        threshold = _threshold(level)
    loud = level >= threshold
    if len(level) > _FLOOR:
        noise = np.median(np.lib.stride_tricks.sliding_window_view(level[:-1], _FLOOR), axis=1)
        loud[_FLOOR:] |= level[_FLOOR:] >= np.maximum(noise + _RISE, _INAUDIBLE)
    return int(loud.argmax()) * FRAME if loud.any() else None


def _begun(level: Levels) -> Pause | None:
    if len(level) < _BEGUN:
        return None
    threshold = _threshold(level)
    if level[-_BEGUN:].max() >= threshold:
        return None
    before = np.flatnonzero(level >= threshold)
    return Pause(int(before[-1] + 1) * FRAME if len(before) else 0, threshold)


def _threshold(level: Levels) -> float:
    """Return a third of the way from the quietest twentieth to the loudest [dB].

    Lower than in `kdcompress.audio.pauses`, since what is called silent here may be left out. What is
    all alike may be all speech, and is silent only where hardly a bit of 16 is set.
    """
    if not len(level):
        return _INAUDIBLE
    quiet, loud = np.quantile(level, [0.05, 0.95])
    if loud - quiet < _CONTRAST:
        return _INAUDIBLE
    return float(max((quiet + (loud - quiet) / 3) // _STEP * _STEP, _INAUDIBLE))
