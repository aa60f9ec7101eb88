"""What somebody names to be transcribed: files, folders, manifests, lists, pipes."""

import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from kdcompress.audio.corpus.open import read_lines
from kdcompress.audio.utterance import Stretch
from kdcompress.errors import AudioError

STDIN = Path("-")
_LISTS = (".jsonl", ".jsonl.gz", ".tar", ".parquet", ".arrow")


@dataclass(frozen=True, slots=True)
class Source:
    """A recording, or a stretch of one, that was named.

    Attributes:
        name: of its results, a relative path without suffix.
        stretch: what is meant; its file may be a pipe.
    """

    name: str
    stretch: Stretch


def find_sources(named: Iterable[Path], channel: int | None = None) -> Iterator[Source]:
    """Yield what was named: files as they are, folders searched, manifests and other corpora line by line.

    Nothing is opened but folders and manifests: a file that is not there comes to light when it is read.

    Args:
        named: files, folders, manifests, and `-` for standard input.
        channel: the one of each that is meant, where a manifest does not say; None is the mix.

    Raises:
        AudioError: a folder has no audio, or a manifest cannot be read.
        ManifestError: a line of a manifest is not what the format says.
    """
    for path in named:
        if path == STDIN:
            yield Source("stdin", Stretch(path, channel=channel))
        elif path.is_dir() or path.name.lower().endswith(_LISTS):
            for line in read_lines(path, with_text=False):
                chosen = channel if line.channel is None else line.channel
                yield Source(_relative(line.id), Stretch(line.audio, line.start, line.duration, chosen))
        else:
            yield Source(path.stem, Stretch(path, channel=channel))


def read_list(path: Path) -> list[Path]:
    """Read the names of files, one a line or with zero bytes between them (`find -print0`); `-` is stdin.

    Raises:
        AudioError: it cannot be read, or names nothing.
    """
    try:
        content = sys.stdin.buffer.read() if path == STDIN else path.read_bytes()
    except OSError as error:
        raise AudioError(f"cannot read the list {path}: {error.strerror}") from error
    lines = content.split(b"\0") if b"\0" in content else content.splitlines()
    names = [Path(os.fsdecode(line)) for line in lines if line.strip()]
    if not names:
        where = "standard input" if path == STDIN else path
        raise AudioError(f"the list {where} names no files: expected one path a line")
    return names


@contextmanager
def on_disk(path: Path) -> Iterator[Path]:
    """Give a path that can be opened and sought in: of a pipe, that of a copy, gone when the block ends.

    Raises:
        AudioError: the pipe cannot be read or is empty, or there is no room for the copy.
    """
    if path == STDIN:
        if sys.stdin.isatty():
            raise AudioError("standard input is a terminal: pipe audio into it, or name a file")
        with _copied(sys.stdin.buffer, "standard input") as copy:
            yield copy
        return
    try:
        regular = not stat.S_ISFIFO(os.stat(path).st_mode)
    except OSError:  # told by what reads it
        regular = True
    if regular:
        yield path
        return
    with open(path, "rb") as pipe, _copied(pipe, str(path)) as copy:
        yield copy


@contextmanager
def _copied(pipe: BinaryIO, name: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="kdcompress-") as folder:
        copy = Path(folder) / "audio"
        try:
            with copy.open("wb") as file:
                shutil.copyfileobj(pipe, file, 1 << 20)
        except OSError as error:
            room = tempfile.gettempdir()
            raise AudioError(f"{name} cannot be copied to {room}: {error.strerror or error}") from error
        if not copy.stat().st_size:
            raise AudioError(f"{name} ended without a byte of audio")
        try:
            yield copy
        except AudioError as error:  # the copy's name means nothing to anybody
            raise AudioError(str(error).replace(str(copy), name)) from error


def _relative(id_: str) -> str:
    """Return an id as a path that stays below a folder."""
    parts = [part for part in PurePosixPath(id_).parts if part not in {"/", "..", "."}]
    return "/".join(parts) or "recording"
