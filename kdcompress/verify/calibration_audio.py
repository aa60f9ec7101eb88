"""What quantized graphs are measured on: features of the user's audio, or of rendered sound."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from kdcompress.aliases import FloatArray
from kdcompress.audio.decode import read_utterance
from kdcompress.audio.manifest import read_utterances
from kdcompress.errors import AudioError
from kdcompress.frontend.logmel_numpy import Normalize, log_mel
from kdcompress.verify.sound import synthetic_waveform

# Enough frames for steady figures (3000 at 40 ms), and a matter of seconds.
_TOTAL_SECONDS = 120.0
_LONGEST_SECONDS = 30.0
_SHORTEST_SECONDS = 0.1


@dataclass(frozen=True)
class Features:
    """Features [T, F] of some utterances, or their waveforms as hops [T, 160].

    Attributes:
        source: what they were computed from, in words.
    """

    arrays: tuple[FloatArray, ...]
    source: str


def features_of(audio: Path | None, features: Normalize | Callable[[FloatArray], FloatArray]) -> Features:
    """Compute features of about two minutes spread over a folder or manifest; transcripts are not read.

    Args:
        audio: None renders sound.
        features: the normalisation of log-mel features, or what turns a waveform [S] into features.

    Raises:
        AudioError: nothing in it can be used.
        ManifestError: a line of the manifest is not what the format says.
    """
    compute = partial(log_mel, normalize=features) if isinstance(features, str) else features
    if audio is None:
        sounds = [synthetic_waveform(seconds, seed) for seed, seconds in enumerate((1.5, 3.0, 6.0))]
        return Features(tuple(compute(s) for s in sounds), "rendered sound")
    utterances = [u for u in read_utterances(audio)[0] if u.duration >= _SHORTEST_SECONDS]
    total = sum(min(u.duration, _LONGEST_SECONDS) for u in utterances)
    every = max(1, int(total / _TOTAL_SECONDS))  # folders are sorted by speaker: take some of each
    arrays: list[FloatArray] = []
    for utterance in utterances[::every]:
        try:
            samples = read_utterance(replace(utterance, duration=min(utterance.duration, _LONGEST_SECONDS)))
        except AudioError:
            continue  # the others do; training is where bad files are counted
        arrays.append(compute(samples))
    if not arrays:
        raise AudioError(f"{audio} holds no audio of at least {_SHORTEST_SECONDS} s that can be decoded")
    seconds = sum(len(array) for array in arrays) / 100
    return Features(tuple(arrays), f"{len(arrays)} utterances, {seconds:.0f} s, of {audio.name}")
