"""What a benchmark hears: a folder, or a manifest with or without transcripts."""

import json
from collections.abc import Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path

from kdcompress.audio.corpus.line import numbered_lines
from kdcompress.audio.corpus.open import Format, corpus_format, read_lines
from kdcompress.audio.manifest import read_references, read_utterances
from kdcompress.audio.utterance import Reference, Utterance
from kdcompress.errors import AudioError, KdcompressError, ManifestError


def read_speech(source: Path) -> Sequence[Reference] | Sequence[Utterance]:
    """List what a benchmark hears: with transcripts if the source is a manifest that has them.

    A folder has none. A manifest either gives every line a text, which may be empty, or none.

    Raises:
        AudioError: the source does not exist, or an audio file of it cannot be used; says which line.
        ManifestError: a line is not what the format says, only some lines have a text, or an id occurs twice.
    """
    if source.exists() and _has_texts(source):
        return read_references(source)
    utterances, bad = read_utterances(source)
    if bad:
        more = f" ({len(bad)} such files in all)" if len(bad) > 1 else ""
        raise AudioError(f"{source}: {bad[0].reason}{more}")
    return utterances


def _has_texts(source: Path) -> bool:
    """Whether any line has a text; what else is wrong with a line is told by who reads it."""
    if corpus_format(source) is not Format.MANIFEST:
        try:
            return any(line.text for line in islice(read_lines(source, with_text=True), 1))
        except ManifestError:
            return False
    found = []
    with suppress(KdcompressError):
        for _, line in numbered_lines(source):
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                continue
            found.append(isinstance(record, dict) and record.get("text") is not None)
    return any(found)
