"""A folder of audio files, searched recursively."""

import os
from collections.abc import Iterator
from pathlib import Path

from kdcompress.audio.corpus.line import Line
from kdcompress.audio.sniff import AUDIO_SUFFIXES, AV_SUFFIXES
from kdcompress.errors import AudioError, ManifestError

_SUFFIXES = frozenset((*AUDIO_SUFFIXES, *AV_SUFFIXES))


def find_audio(folder: Path) -> list[Path]:
    """List the audio files in a folder and below it by their names, sorted; hidden ones are left out.

    Raises:
        AudioError: there are none.
    """
    files: list[Path] = []
    seen: set[str] = set()
    for root, folders, names in os.walk(folder, followlinks=True):
        # Corpora are assembled with links; a link to a folder above would go round for ever.
        real = os.path.realpath(root)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        # Hidden: among them the "._x.wav" that macOS leaves beside x.wav, which is not audio.
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        files += (
            Path(root, name)
            for name in names
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in _SUFFIXES
        )
    if not files:
        known = ", *".join((*AUDIO_SUFFIXES, *AV_SUFFIXES))
        raise AudioError(f"no audio in {folder}: looked for *{known} in it and below")
    files.sort()
    return files


def read_folder(folder: Path, with_text: bool = False) -> Iterator[Line]:
    """List the audio of a folder and below it; ids are its paths, without suffix where these differ."""
    files = find_audio(folder)
    ids: dict[Path, str] = {}
    taken: set[str] = set()
    # Videos last: a recording beside one keeps the id that it had before videos were read.
    for audio in sorted(files, key=lambda file: file.suffix.lower() not in AUDIO_SUFFIXES):
        relative = audio.relative_to(folder)
        id_ = relative.with_suffix("").as_posix()
        # x.flac beside x.wav: the second keeps its suffix.
        ids[audio] = relative.as_posix() if id_ in taken else id_
        taken.add(ids[audio])
    if with_text:
        raise ManifestError(f"{folder} is a folder of audio files, without transcripts: name a manifest")
    for number, audio in enumerate(files, 1):
        yield Line(number, ids[audio], audio, 0.0, None)
