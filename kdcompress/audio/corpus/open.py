"""Which format a corpus has, and its shards."""

import json
from collections.abc import Iterator
from enum import Enum
from functools import partial
from pathlib import Path

from kdcompress.audio.corpus.cuts import read_cuts
from kdcompress.audio.corpus.folder import read_folder
from kdcompress.audio.corpus.index import is_packed
from kdcompress.audio.corpus.jsonl import read_manifest
from kdcompress.audio.corpus.kaldi import read_kaldi
from kdcompress.audio.corpus.line import Line, Shard, numbered_lines
from kdcompress.audio.corpus.nemo import MANIFEST, nemo_shards
from kdcompress.audio.corpus.shar import shar_shards
from kdcompress.audio.corpus.tables import table_files, table_shards
from kdcompress.audio.corpus.tars import webdataset_shards
from kdcompress.audio.sniff import AUDIO_SUFFIXES
from kdcompress.errors import AudioError, KdcompressError, ManifestError


class Format(Enum):
    """What a corpus is; the values name it in messages."""

    FOLDER = "a folder of audio files"
    MANIFEST = "a manifest"
    CUTS = "a file of lhotse cuts"
    SHAR = "a lhotse Shar directory"
    KALDI = "a Kaldi data directory"
    NEMO = "a NeMo tarred data set"
    WEBDATASET = "tars of audio (webdataset)"
    TABLES = "a Hugging Face data set"


def corpus_format(source: Path) -> Format:
    """Tell which format a corpus has: a folder is of audio files, a file a manifest, unless it shows.

    Only names and, of files, the first line are looked at.
    """
    if source.is_dir():
        if any(source.glob("cuts.*.jsonl*")) or is_packed(source):
            return Format.SHAR
        if (source / "wav.scp").is_file():
            return Format.KALDI
        if (source / MANIFEST).is_file():
            return Format.NEMO
        if _holds_audio_or_folders(source):  # an archive beside what was unpacked from it
            return Format.TABLES if _exported(source) else Format.FOLDER
        if any(source.glob("*.tar")):
            return Format.WEBDATASET
        return Format.TABLES if table_files(source) else Format.FOLDER
    if source.suffix == ".tar":
        return Format.WEBDATASET
    if source.suffix in {".parquet", ".arrow"}:
        return Format.TABLES
    first = _first_object(source)
    if "recording" in first or "tracks" in first:
        return Format.CUTS
    if "shard_id" in first and any(source.parent.glob("*.tar")):
        return Format.NEMO
    return Format.MANIFEST


def open_corpus(source: Path) -> list[Shard]:
    """Return the shards of a corpus of any format; a folder, a manifest and the like are one.

    Raises:
        AudioError: it does not exist, or lacks a part.
    """
    if not source.exists():
        raise AudioError(f"no such folder or manifest: {source}")
    match corpus_format(source):
        case Format.SHAR:
            return shar_shards(source)
        case Format.NEMO:
            return nemo_shards(source)
        case Format.WEBDATASET:
            return webdataset_shards(source)
        case Format.TABLES:
            return table_shards(source)
        case Format.KALDI:
            return [Shard(source.name, partial(read_kaldi, source))]
        case Format.CUTS:
            return [Shard(source.name, partial(read_cuts, source))]
        case Format.MANIFEST:
            return [Shard(source.name, partial(read_manifest, source))]
        case Format.FOLDER:
            return [Shard(source.name, partial(read_folder, source))]


def read_lines(source: Path, *, with_text: bool) -> Iterator[Line]:
    """Yield the lines of all shards of a corpus, in their order.

    Raises:
        AudioError: the corpus does not exist, cannot be read, or is empty.
        ManifestError: a line is not what the format says, lacks a text that was asked for, or has an id that
            was there before.
    """
    first_at: dict[str, tuple[str, int]] = {}
    shards = open_corpus(source)
    for shard in shards:
        for line in shard.lines(with_text):
            if line.id in first_at:
                name, number = first_at[line.id]
                where = (
                    f"{source}:{line.number}" if len(shards) == 1 else f"{source}: {shard.name}:{line.number}"
                )
                before = f"line {number}" if name == shard.name else f"{name}:{number}"
                raise ManifestError(
                    f'{where}: the id {line.id!r} was already used in {before}; give each line its own "id"'
                )
            first_at[line.id] = shard.name, line.number
            yield line
    if not first_at:
        raise AudioError(f"{source} is {corpus_format(source).value} without audio")


def _first_object(path: Path) -> dict[str, object]:
    try:
        _, text = next(numbered_lines(path))
        record = json.loads(text)
    except (KdcompressError, ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


def _holds_audio_or_folders(folder: Path) -> bool:
    return any(one.suffix.lower() in AUDIO_SUFFIXES or one.is_dir() for one in folder.iterdir())


def _exported(folder: Path) -> bool:
    """Whether `datasets` wrote the folder: with data/ in it, or its own description beside the files."""
    return any((folder / "data").glob("*.parquet")) or (
        (folder / "dataset_info.json").is_file() and bool(table_files(folder))
    )
