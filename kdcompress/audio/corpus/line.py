"""What every format of a corpus is read into: lines, in shards that can be read apart."""

import gzip
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from kdcompress.errors import AudioError, ManifestError


@dataclass(frozen=True, slots=True)
class Line:
    """One entry of a corpus; `text` stays None unless it was asked for.

    Attributes:
        number: of its line or row, from 1, for messages.
        id: unique in the corpus.
        audio: a file, or a handle of bytes inside one (`kdcompress.audio.packed`).
        start: where the stretch begins [s].
        duration: its length [s]; None goes to the end.
        text: the transcript.
        channel: from 0; None is the mix of all.
        known: the corpus itself says how long the audio is, so that no header need be opened.
    """

    number: int
    id: str
    audio: Path
    start: float
    duration: float | None
    text: str | None = None
    channel: int | None = None
    known: bool = False

    def __post_init__(self) -> None:
        # Names may hold bytes that are no UTF-8, or halves of characters; ids are hashed and written.
        object.__setattr__(self, "id", self.id.encode("utf-8", "backslashreplace").decode())


ReadLines: TypeAlias = Callable[[bool], Iterator[Line]]
"""Yields the lines of a shard anew at each call, with their texts if its argument says so."""


@dataclass(frozen=True, slots=True)
class Shard:
    """A part of a corpus that is read by itself, in its order.

    Attributes:
        name: unique in the corpus.
        lines: yields its lines; picklable, so that another process may call it.
    """

    name: str
    lines: ReadLines


def numbered_lines(path: Path, what: str = "manifest") -> Iterator[tuple[int, str]]:
    """Yield the lines of a UTF-8 text, gzipped or not, that are not blank, with their numbers from 1.

    Raises:
        AudioError: it cannot be read; names `what` it ought to be.
        ManifestError: it is not UTF-8, or there are none.
    """
    empty = True
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
        with (
            gzip.open(path, "rt", encoding="utf-8-sig") if packed else path.open(encoding="utf-8-sig") as file
        ):
            for number, text in enumerate(file, 1):
                if text.strip():
                    empty = False
                    yield number, text
    except EOFError as error:
        raise AudioError(f"cannot read {what} {path}: it is cut short; fetch it again") from error
    except OSError as error:
        raise AudioError(f"cannot read {what} {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ManifestError(f"{path} is not UTF-8 text: expected one JSON object per line") from error
    if empty:
        raise ManifestError(f"{path} has no lines: expected one JSON object with audio_filepath per line")
