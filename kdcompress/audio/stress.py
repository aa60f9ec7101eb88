"""What speech meets on its way to a recogniser, as pure functions of samples at 16 kHz.

What is random in them comes from the generator that they are given: the same seed changes the same utterance
the same way.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from kdcompress.audio.utterance import SAMPLE_RATE

Samples: TypeAlias = NDArray[np.float64]
Change: TypeAlias = Callable[[Samples, np.random.Generator], Samples]

HUSH = 1e-3  # RMS of what a quiet room leaves in a recording
TELEPHONE_HZ = (300.0, 3400.0)
CLIPPED_DB = 12.0
OPUS_LEVEL = 0.992  # of libsndfile: 250,000 · (1 − level) + 6,000 bit/s
REVERBERATION, DIRECT_DB = 0.3, 6.0  # [s] to −60 dB, and how far the direct sound is above the rest


def coloured(samples: int, rng: np.random.Generator, tilt: float | None = None) -> Samples:
    """Return noise [S] of unit variance with power as 1/f^tilt: white (0), pink (1), brown (2).

    It is even below 20 Hz, where it would run away. Without a tilt any between 0 and 2 is drawn.
    """
    spectrum = np.fft.rfft(rng.normal(size=samples))
    slope = rng.uniform(0, 2) if tilt is None else tilt
    spectrum *= np.fft.rfftfreq(samples, 1 / SAMPLE_RATE).clip(min=20) ** (-slope / 2)
    sound: Samples = np.fft.irfft(spectrum, samples)
    return sound / float(sound.std())


def surround(samples: Samples, rng: np.random.Generator, seconds: float, level: float) -> Samples:
    """Put white noise of an RMS level before and after; at level 0 digital silence."""
    sides = rng.normal(size=(2, round(seconds * SAMPLE_RATE))) * level
    return np.concatenate([sides[0], samples, sides[1]])


def add_noise(samples: Samples, rng: np.random.Generator, snr_db: float) -> Samples:
    """Add pink noise, so far below the speech as a whole."""
    level = float(np.sqrt(np.mean(np.square(samples)))) * 10 ** (-snr_db / 20)
    return samples + coloured(len(samples), rng, 1.0) * level


def gain(samples: Samples, _: np.random.Generator, db: float) -> Samples:
    """Change the level; nothing is clipped."""
    return samples * 10 ** (db / 20)


def clip(samples: Samples, _: np.random.Generator, db: float = CLIPPED_DB) -> Samples:
    """Bring the peak so far above full scale, which cuts it off."""
    peak = float(np.abs(samples).max(initial=0)) or 1.0
    return (samples / peak * 10 ** (db / 20)).clip(-1, 1)


def telephone(samples: Samples, rng: np.random.Generator) -> Samples:
    """Keep 300 to 3400 Hz, in µ-law at 8 kHz."""
    spectrum = np.fft.rfft(samples)
    frequencies = np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE)
    low, high = TELEPHONE_HZ
    spectrum[(frequencies < low) | (frequencies > high)] = 0
    return encoded(np.fft.irfft(spectrum, len(samples)), rng, "WAV", "ULAW", 8000)


def encoded(
    samples: Samples,
    _: np.random.Generator,
    container: str,
    codec: str,
    rate: int = SAMPLE_RATE,
    level: float | None = None,
) -> Samples:
    """Encode and decode by libsndfile; the length stays.

    Raises:
        soundfile.LibsndfileError: it was built without the codec.
    """
    lower = soxr.resample(samples, SAMPLE_RATE, rate) if rate != SAMPLE_RATE else samples
    file = io.BytesIO()
    soundfile.write(
        file, np.clip(lower, -1, 1), rate, format=container, subtype=codec, compression_level=level
    )
    file.seek(0)
    decoded = soundfile.read(file)[0]
    wide = soxr.resample(decoded, rate, SAMPLE_RATE) if rate != SAMPLE_RATE else decoded
    return np.pad(wide, (0, max(0, len(samples) - len(wide))))[: len(samples)]


def reverberate(samples: Samples, rng: np.random.Generator) -> Samples:
    """Add the diffuse decay of a small furnished room; the direct sound keeps its time."""
    tail = rng.normal(size=round(REVERBERATION * SAMPLE_RATE))
    tail *= 10 ** (-3 * np.arange(len(tail)) / len(tail))
    tail[: SAMPLE_RATE // 200] = 0
    tail *= 10 ** (-DIRECT_DB / 20) / np.sqrt(np.square(tail).sum())
    tail[0] = 1
    size = len(samples) + len(tail) - 1
    return np.fft.irfft(np.fft.rfft(samples, size) * np.fft.rfft(tail, size), size)[: len(samples)]


@dataclass(frozen=True)
class Stress:
    """A change under which a model is measured again.

    Attributes:
        name: for options and tables.
        about: what is done, for people.
        change: does it to an utterance; of JOINED to a row of them, of EMPTY to nothing.
    """

    name: str
    about: str
    change: Change


def _as_it_is(samples: Samples, _: np.random.Generator) -> Samples:
    return samples


JOINED, EMPTY = "joined", "nobody"
JOINED_SECONDS, JOINED_GAP = 60.0, 0.5
STRESSES = {
    stress.name: stress
    for stress in (
        Stress("silence", "a second of digital silence before and after",
               partial(surround, seconds=1, level=0)),
        Stress("hush", f"a second of noise of RMS {HUSH:g} before and after",
               partial(surround, seconds=1, level=HUSH)),
        Stress(JOINED, f"in rows of up to {JOINED_SECONDS:g} s, {JOINED_GAP:g} s of silence between",
               _as_it_is),
        Stress("noise-20", "pink noise 20 dB below the speech", partial(add_noise, snr_db=20)),
        Stress("noise-10", "pink noise 10 dB below the speech", partial(add_noise, snr_db=10)),
        Stress("noise-0", "pink noise as loud as the speech", partial(add_noise, snr_db=0)),
        Stress("quiet", "20 dB quieter", partial(gain, db=-20)),
        Stress("loud", "20 dB louder, not clipped", partial(gain, db=20)),
        Stress("telephone", "300 to 3400 Hz, µ-law at 8 kHz", telephone),
        Stress("gsm", "GSM 6.10 at 8 kHz, 13 kbit/s",
               partial(encoded, container="WAV", codec="GSM610", rate=8000)),
        Stress("opus", "Opus at 8 kbit/s", partial(encoded, container="OGG", codec="OPUS", level=OPUS_LEVEL)),
        Stress("clipping", f"{CLIPPED_DB:g} dB over full scale", clip),
        Stress("reverberation", f"a small room, {REVERBERATION:g} s to −60 dB", reverberate),
        Stress(EMPTY, "silence, and noise of −75 to −25 dBFS: all that is printed is wrong", _as_it_is),
    )
}  # fmt: skip


def empty_clips() -> list[Samples]:
    """Return twenty clips, 40 s, in which nobody speaks: four of zeros, sixteen of noise of all colours."""
    seconds = (1, 2, 3, 2)
    clips: list[Samples] = [np.zeros(one * SAMPLE_RATE) for one in seconds]
    for index, db in enumerate(np.linspace(-75, -25, 16)):
        rng = np.random.default_rng(index)
        clips.append(coloured(2 * SAMPLE_RATE, rng) * 10 ** (float(db) / 20))
    return clips
