"""What makes two lists of audio the same: ids, stretches, and a taste of the files.

Paths do not count: a corpus may move.
"""

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

from kdcompress.audio.utterance import Utterance

AudioList: TypeAlias = dict[str, tuple[float, float, str]]
"""Start [s], duration [s] and digest of the file, by id."""

_TASTE = 4096  # [bytes] from the middle: levelled or resampled in place, a file keeps its length but not this


def audio_list(
    utterances: Sequence[Utterance],
    clips: int,
    seed: int,
    on_progress: Callable[[int, int], None] | None = None,
) -> AudioList:
    """Describe utterances, of which the last `clips` are noise made from the seed.

    Their files are no evidence: each run writes its own, and another version of the encoder other bytes.
    """
    digests: dict[Path, str] = {}
    described: AudioList = {}
    for index, utterance in enumerate(utterances):
        if index >= len(utterances) - clips:
            digest = f"noise {seed}"
        elif utterance.audio in digests:
            digest = digests[utterance.audio]
        else:
            digest = digests[utterance.audio] = sample_digest(utterance.audio)
        described[utterance.id] = (round(utterance.start, 4), round(utterance.duration, 4), digest)
        if on_progress is not None:
            on_progress(index + 1, len(utterances))
    return described


def sample_digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size // 2 - _TASTE // 2))
            return hashlib.sha256(str(size).encode() + file.read(_TASTE)).hexdigest()[:12]
    except OSError:
        return "unreadable"
