"""Data sets of Hugging Face on disk: Parquet files, or the Arrow files that `save_to_disk` writes."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from kdcompress.audio.corpus.line import Line, Shard
from kdcompress.audio.packed import open_table, table_row
from kdcompress.errors import AudioError, ManifestError

_IDS = ("id", "utterance_id", "segment_id")
_TEXTS = ("text", "sentence", "transcription", "transcript")


def table_files(source: Path) -> list[Path]:
    """Return the Parquet or Arrow files of a folder, or of data/ in it, by name; a file is its own."""
    if source.is_file():
        return [source]
    for folder in (source, source / "data"):
        if found := sorted(folder.glob("*.parquet")) or sorted(folder.glob("*.arrow")):
            return found
    return []


def table_shards(source: Path) -> list[Shard]:
    """Return one shard for each Parquet or Arrow file."""
    return [Shard(path.name, partial(_read_table, path)) for path in table_files(source)]


def _read_table(path: Path, with_text: bool) -> Iterator[Line]:
    table = open_table(path)
    names = table.schema_arrow.names if hasattr(table, "schema_arrow") else table.schema.names
    if "audio" not in names:
        raise AudioError(f"{path}: expected a column audio, found {', '.join(names)}")
    ids = next((name for name in _IDS if name in names), None)
    texts = next((name for name in _TEXTS if name in names), None)
    if with_text and texts is None:
        raise ManifestError(f"{path}: expected a column with transcripts ({', '.join(_TEXTS)})")
    for row, (audio, id_, text) in enumerate(_rows(table, ids, texts if with_text else None)):
        name, inside = audio
        if name is None and not inside:
            raise AudioError(f"{path}: row {row} has no audio: neither bytes nor a path")
        handle = table_row(path, row, name or "audio") if inside else path.parent / str(name)
        if id_ is None:
            id_ = PurePosixPath(name).with_suffix("").as_posix() if name else f"{path.stem}/{row:06}"
        if with_text and not isinstance(text, str):
            raise ManifestError(f"{path}: row {row} has no transcript in the column {texts}")
        yield Line(row + 1, str(id_), handle, 0.0, None, text)


def _rows(
    table: Any, ids: str | None, texts: str | None
) -> Iterator[tuple[tuple[str | None, bool], Any, Any]]:
    """Yield (path, whether there are bytes), id and text of each row; the bytes themselves are not copied."""
    columns = ["audio", *filter(None, (ids, texts))]
    batches = (
        table.iter_batches(batch_size=100, columns=columns)
        if hasattr(table, "iter_batches")
        else table.select(columns).to_batches()
    )
    for batch in batches:
        audio = batch.column("audio")
        try:
            paths, inside = audio.field("path").to_pylist(), audio.field("bytes").is_valid().to_pylist()
        except (KeyError, AttributeError) as error:
            raise AudioError(f"expected a column audio of bytes and path, found {audio.type}") from error
        given = batch.column(ids).to_pylist() if ids else [None] * len(paths)
        words = batch.column(texts).to_pylist() if texts else [None] * len(paths)
        yield from zip(zip(paths, inside, strict=True), given, words, strict=True)
