"""Members of tar files by offset, and webdataset, which is nothing else."""

import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path

from kdcompress.audio.corpus.line import Line, Shard
from kdcompress.audio.packed import read_packed, tar_member
from kdcompress.audio.sniff import AUDIO_SUFFIXES, AV_SUFFIXES
from kdcompress.errors import AudioError, ManifestError


@dataclass(frozen=True, slots=True)
class Member:
    """A file in a tar: its name there, without and with suffix, and the handle of its bytes."""

    key: str
    suffix: str
    handle: Path


def members(tar: Path) -> Iterator[Member]:
    """Yield the files of a tar; only the headers between them are read.

    Raises:
        AudioError: it is no tar, is compressed or cut short.
    """
    try:
        with tarfile.open(tar, "r:") as archive:
            while (one := archive.next()) is not None:
                archive.members = []  # type: ignore[attr-defined]  # what was read stays there else
                if one.isfile():
                    folder, _, name = one.name.rpartition("/")
                    stem, dot, suffix = name.partition(".")  # as webdataset has it: the first dot
                    key = f"{folder}/{stem}" if folder else stem
                    yield Member(key, dot + suffix, tar_member(tar, one.offset_data, one.size, name))
    except (tarfile.TarError, EOFError) as error:
        with tar.open("rb") as file:
            compressed = file.read(2) == b"\x1f\x8b"
        advice = "decompress it (gunzip), audio is compressed already" if compressed else "fetch it again"
        raise AudioError(f"{tar} cannot be read as a tar ({error}); {advice}") from error
    except OSError as error:
        raise AudioError(f"cannot read {tar}: {error.strerror or error}") from error


def webdataset_shards(source: Path) -> list[Shard]:
    """Return one shard for each tar: of a folder, by name, or the one that is named."""
    tars = sorted(source.glob("*.tar")) if source.is_dir() else [source]
    return [Shard(tar.name, partial(_read_webdataset, tar)) for tar in tars]


def _read_webdataset(tar: Path, with_text: bool) -> Iterator[Line]:
    rows = groupby(members(tar), key=lambda one: one.key)
    for number, (key, group) in enumerate(rows, 1):
        files = {one.suffix.lower(): one.handle for one in group}
        audio = [
            suffix for suffix in files if f".{suffix.rpartition('.')[2]}" in {*AUDIO_SUFFIXES, *AV_SUFFIXES}
        ]
        if len(audio) > 1:
            raise AudioError(f"{tar}: {key} has audio in {', '.join(audio)}: expected one of them")
        if audio:
            text = _webdataset_text(files, f"{tar}: {key}") if with_text else None
            yield Line(number, key, files[audio[0]], 0.0, None, text)


def _webdataset_text(files: dict[str, Path], where: str) -> str:
    if ".txt" in files:
        return _content(files[".txt"]).decode("utf-8", "replace").strip()
    if ".json" in files:
        try:
            text = json.loads(_content(files[".json"]))["text"]
        except (ValueError, KeyError, TypeError, RecursionError):
            text = None
        if isinstance(text, str):
            return text
    raise ManifestError(f"{where}: expected a transcript beside the audio, .txt or .json with text")


def _content(handle: Path) -> bytes:
    found = read_packed(handle)
    return found[1] if found else b""
