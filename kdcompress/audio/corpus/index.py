"""The index of a packed corpus: where each utterance lies, how long it is, and a digest.

corpus.json                       which shards there are
index/000000.jsonl                a header, then [id, offset, bytes, samples, digest] of each utterance
shar/recording.000000.tar         their audio
shar/cuts.000000.jsonl.gz         what lhotse reads; it takes every file of a Shar for a part of it
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdcompress.audio.corpus.line import Line, numbered_lines
from kdcompress.audio.packed import tar_member
from kdcompress.audio.utterance import SAMPLE_RATE
from kdcompress.errors import AudioError

DESCRIPTION = "corpus.json"
SCHEMA = 1


def shard_files(folder: Path, name: str) -> tuple[Path, Path, Path]:
    """Return the audio, the cuts and the index of a shard."""
    shar = folder / "shar"
    return shar / f"recording.{name}.tar", shar / f"cuts.{name}.jsonl.gz", folder / "index" / f"{name}.jsonl"


def is_packed(folder: Path) -> bool:
    """Whether `kdcompress pack` wrote to a folder, even if it is unfinished."""
    return (folder / DESCRIPTION).is_file() or ((folder / "index").is_dir() and (folder / "shar").is_dir())


@dataclass(frozen=True, slots=True)
class IndexedShard:
    """What a packed corpus says of a shard: its name, its utterances and their samples at 16 kHz."""

    name: str
    count: int
    samples: int


def indexed_shards(folder: Path) -> list[IndexedShard]:
    """Return the shards of a packed corpus; none of their files is opened.

    Raises:
        AudioError: it is unfinished, or of another version.
    """
    try:
        described = json.loads((folder / DESCRIPTION).read_bytes())
        _check_schema(folder / DESCRIPTION, described["schema"])
        return [
            IndexedShard(str(one["name"]), int(one["count"]), int(one["samples"]))
            for one in described["shards"]
        ]
    except FileNotFoundError as error:
        raise AudioError(f"{folder} is packed in part only: run the same kdcompress pack again") from error
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        if isinstance(error, AudioError):
            raise
        raise AudioError(f"{folder / DESCRIPTION} cannot be read; run kdcompress pack again") from error


def read_header(index: Path) -> dict[str, Any]:
    """Read the first line of a shard's index.

    Raises:
        AudioError: there is none, or it is of another version.
    """
    try:
        with index.open(encoding="utf-8") as file:
            header = json.loads(file.readline())
        _check_schema(index, header["schema"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        if isinstance(error, AudioError):
            raise
        raise AudioError(f"{index} cannot be read; run the same kdcompress pack again") from error
    return dict(header)


def read_index(folder: Path, name: str) -> Iterator[Line]:
    """Yield the utterances of a shard; neither its audio nor its cuts are opened.

    Raises:
        AudioError: the index cannot be read, or the audio is not what was packed.
    """
    tar, _, index = shard_files(folder, name)
    header = read_header(index)
    if not tar.is_file() or tar.stat().st_size != header["bytes"]:
        raise AudioError(f"{tar} is missing or not as it was packed; run the same kdcompress pack again")
    for number, text in numbered_lines(index):
        if number == 1:
            continue
        try:
            id_, offset, size, samples, _ = json.loads(text)
        except (ValueError, TypeError, RecursionError) as error:
            raise AudioError(
                f"{index}:{number} cannot be read; run the same kdcompress pack again"
            ) from error
        handle = tar_member(tar, offset, size, f"{id_}.flac")
        yield Line(number - 1, id_, handle, 0.0, samples / SAMPLE_RATE, known=True)


def _check_schema(path: Path, schema: object) -> None:
    if schema != SCHEMA:
        raise AudioError(
            f"{path} is of schema {schema}, expected {SCHEMA}: pack the corpus with this version"
        )
