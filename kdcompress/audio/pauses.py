"""Find where nobody speaks in a recording, by its level alone (numpy).

S samples.
"""

import numpy as np
import numpy.typing as npt

from kdcompress.audio.utterance import SAMPLE_RATE

FRAME = SAMPLE_RATE // 100
SHORTEST = 0.3  # [s] below it a silence is part of speech: the closure of a stop, the end of a word
GUARD = 0.1  # [s] taken off at both ends: CTC models emit a little before or after the sound


def pauses(waveform: npt.NDArray[np.float32]) -> list[tuple[float, float]]:
    """Return the (start, end) [s] of stretches of a waveform [S] that are silent, compared with its speech.

    Silent is a frame of 10 ms whose level lies nearer to the quietest tenth of the recording than to its
    loudest twentieth [dB]. No model is asked, so that none is judged by itself.
    """
    frames = len(waveform) // FRAME
    if not frames:
        return []
    power = (waveform[: frames * FRAME].astype(np.float64).reshape(frames, FRAME) ** 2).mean(axis=1)
    level = 10 * np.log10(power + 1e-10)
    quiet, loud = np.quantile(level, [0.1, 0.95])
    if loud - quiet < 6:  # all alike: nothing tells speech from silence here
        return []
    silent = np.concatenate([[False], level < (quiet + loud) / 2, [False]])
    edges = np.flatnonzero(silent[1:] != silent[:-1]).reshape(-1, 2) * FRAME / SAMPLE_RATE
    total = frames * FRAME / SAMPLE_RATE
    found = []
    for start, end in edges:
        if end - start < SHORTEST:
            continue
        # At the recording's own ends there is no speech to keep away from.
        start, end = start + GUARD * (start > 0), end - GUARD * (end < total)
        found.append((float(start), float(end)))
    return found
