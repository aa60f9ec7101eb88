"""Clips without speech, to train on: features are normalised per utterance, so that faint noise comes to a
model as loud as speech, and one that was never trained on it prints letters there.
"""

from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from kdcompress.audio.stress import coloured
from kdcompress.audio.utterance import SAMPLE_RATE, Utterance
from kdcompress.files import writing_file

QUIETEST_DB, LOUDEST_DB = -75.0, -25.0  # [dBFS], RMS
SHORTEST, LONGEST = 1.0, 5.0  # [s]
CLIP = "noise-"  # what ids of clips begin with
DIGITAL_SILENCE_SHARE, HUM_SHARE = 0.1, 0.3


def write_noise(folder: Path, count: int, seed: int) -> list[Utterance]:
    """Write `count` clips of noise and silence as FLAC, and return them; those already there are kept.

    Clip k depends on the seed and on k alone, so that a resumed run has the same.
    """
    folder.mkdir(parents=True, exist_ok=True)
    clips = []
    for index in range(count):
        path = folder / f"{index:04}.flac"
        if not path.is_file():
            with writing_file(path) as part:
                samples = noise(np.random.default_rng((seed, index)))
                soundfile.write(part, samples, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
        seconds = _samples(np.random.default_rng((seed, index))) / SAMPLE_RATE
        clips.append(Utterance(f"{CLIP}{index:04}", path, 0.0, seconds))
    return clips


def _samples(rng: np.random.Generator) -> int:
    """Return how long a clip is, which is drawn first."""
    return int(rng.uniform(SHORTEST, LONGEST) * SAMPLE_RATE)


def noise(rng: np.random.Generator) -> NDArray[np.float64]:
    """Return one clip [S]: coloured noise that swells a little, at times with hum, at times just zeros."""
    samples = _samples(rng)
    if rng.random() < DIGITAL_SILENCE_SHARE:
        return np.zeros(samples)
    sound = coloured(samples, rng)
    time = np.arange(samples) / SAMPLE_RATE
    if rng.random() < HUM_SHARE:
        mains = float(rng.choice([50.0, 60.0]))
        for harmonic in range(1, 6):
            phase = rng.uniform(0, 2 * np.pi)
            sound += rng.uniform(0, 1) / harmonic * np.sin(2 * np.pi * mains * harmonic * time + phase)
    sound *= 1 + rng.uniform(0, 0.5) * np.sin(2 * np.pi * rng.uniform(0.1, 2.0) * time + rng.uniform(0, 6))
    level = 10 ** (rng.uniform(QUIETEST_DB, LOUDEST_DB) / 20)
    return np.clip(sound / sound.std() * level, -1, 1)
