"""What makes two lists of audio the same: ids, stretches, and a sample of the bytes.

Paths do not count: a corpus may move.
"""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from kdcompress.aliases import Progress
from kdcompress.audio.packed import read_packed
from kdcompress.audio.utterance import Utterance
from kdcompress.errors import AudioError

AudioList: TypeAlias = dict[str, tuple[float, float, str]]
"""Start [s], duration [s] and digest of the file, by id."""

_SAMPLE_BYTES = 4096  # from the middle: a file that was levelled or resampled in place may keep its length


def audio_list(
    utterances: Sequence[Utterance],
    clips: int,
    seed: int,
    on_progress: Progress | None = None,
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
    """Return twelve hex digits of a file's size and of bytes from its middle."""
    try:
        if (found := read_packed(path, _SAMPLE_BYTES)) is not None:
            return hashlib.sha256(str(found[0]).encode() + found[1]).hexdigest()[:12]
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size // 2 - _SAMPLE_BYTES // 2))
            return hashlib.sha256(str(size).encode() + file.read(_SAMPLE_BYTES)).hexdigest()[:12]
    except (OSError, AudioError):
        return "unreadable"


def hashed_number(text: str) -> int:
    """Return an evenly spread number that depends on the text alone, in 0 … 2⁶⁴ - 1."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
