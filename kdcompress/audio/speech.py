"""What a benchmark hears: a folder, or a manifest with or without transcripts."""

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from kdcompress.audio.manifest import read_references, read_utterances
from kdcompress.audio.utterance import Reference, Utterance
from kdcompress.errors import AudioError


def read_speech(source: Path) -> Sequence[Reference] | Sequence[Utterance]:
    """List what a benchmark hears: with transcripts if the source is a manifest that has them.

    A folder has none. A manifest either gives every line a text, which may be empty, or none.

    Raises:
        AudioError: the source does not exist, or an audio file of it cannot be used; says which line.
        ManifestError: a line is not what the format says, only some lines have a text, or an id occurs twice.
    """
    if not source.is_dir() and _has_texts(source):
        return read_references(source)
    utterances, bad = read_utterances(source)
    if bad:
        more = f" ({len(bad)} such files in all)" if len(bad) > 1 else ""
        raise AudioError(f"{source}: {bad[0].reason}{more}")
    return utterances


def _has_texts(manifest: Path) -> bool:
    """Whether any line has a text; what else is wrong with a line is told by who reads it."""
    found = []
    with suppress(OSError, UnicodeDecodeError), manifest.open(encoding="utf-8-sig") as file:
        for line in filter(str.strip, file):
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                continue
            found.append(isinstance(record, dict) and record.get("text") is not None)
    return any(found)
