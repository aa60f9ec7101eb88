"""Audio inside other files is read where it lies: a member of a tar, or a row of an Arrow or Parquet table.

A handle of such audio is a path below the file: `shard.tar/@512+31234/a.flac` names 31,234 bytes from byte
512 on, `train.parquet/@17/a.flac` what row 17 holds. So it goes wherever a path goes, through lists, caches
and messages; the name behind it is for the reader only.
"""

import re
from functools import lru_cache
from pathlib import Path
from typing import Any

from kdcompress.errors import AudioError, MissingExtra

_HANDLE = re.compile(r"(?P<file>.+)/@(?P<first>\d+)(?:\+(?P<size>\d+))?(?:/[^/]*)?", re.DOTALL)
_AUDIO_COLUMN = "audio"


def tar_member(tar: Path, offset: int, size: int, name: str) -> Path:
    """Return the handle of a member whose bytes begin at `offset`."""
    return tar / f"@{offset}+{size}" / (Path(name).name or "audio")


def table_row(table: Path, row: int, name: str) -> Path:
    """Return the handle of the audio that a row, from 0, of a table holds."""
    return table / f"@{row}" / (Path(name).name or "audio")


def read_packed(path: Path, middle: int | None = None) -> tuple[int, bytes] | None:
    """Return how many bytes a handle names, and the bytes; None if the path is no handle.

    Args:
        path: any path.
        middle: read no more than so many, from the middle.

    Raises:
        AudioError: the file is shorter than the handle says, or has no such row.
        OSError: it cannot be read.
    """
    text = str(path)
    if (
        "/@" not in text
        or not (found := _HANDLE.fullmatch(text))
        or not (file := Path(found["file"])).is_file()
    ):
        return None
    first = int(found["first"])
    if found["size"] is None:
        row = _row(file, first)
        skipped, wanted = _part(len(row), middle)
        return len(row), row[skipped : skipped + wanted]
    size = int(found["size"])
    skipped, wanted = _part(size, middle)
    with file.open("rb", buffering=0) as stream:
        stream.seek(first + skipped)
        data = stream.read(wanted)
    if not data or len(data) < wanted:
        reason = f"{len(data)} of {wanted} bytes are there"
        raise AudioError(f"{path} is cut short: {reason}; fetch {file.name} anew")
    return size, data


def _part(size: int, middle: int | None) -> tuple[int, int]:
    if middle is None:
        return 0, size
    skipped = max(0, size // 2 - middle // 2)
    return skipped, min(middle, size - skipped)


def open_table(path: Path) -> Any:
    """Open an Arrow file (mapped, not read) or a Parquet file.

    Returns:
        A pyarrow.Table, or a pyarrow.parquet.ParquetFile, which one thread at a time may read.

    Raises:
        MissingExtra: pyarrow is not installed.
        AudioError: it is neither.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtra("pyarrow", "datasets", f"a data set of Hugging Face ({path})") from error
    try:
        if path.suffix == ".parquet":
            return parquet.ParquetFile(path)
        mapped = pyarrow.memory_map(str(path))
        try:
            return pyarrow.ipc.open_stream(mapped).read_all()
        except pyarrow.ArrowInvalid:
            mapped.seek(0)
            return pyarrow.ipc.open_file(mapped).read_all()
    except (pyarrow.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise AudioError(f"{path} cannot be read as {path.suffix[1:]}: {reason}") from error


# Threads share what does not change: a mapped table, and what a Parquet file says of itself.
_shared_table = lru_cache(maxsize=16)(open_table)


@lru_cache(maxsize=4)  # rows are asked for group by group as long as nobody shuffles
def _row_group(path: Path, group: int) -> Any:
    """Return the audio column of a row group, through a reader of its own: threads that share one crash."""
    from pyarrow import parquet

    with parquet.ParquetFile(path, metadata=_shared_table(path).metadata) as reader:
        return reader.read_row_group(group, columns=[_AUDIO_COLUMN])[_AUDIO_COLUMN]


def _row(path: Path, row: int) -> bytes:
    table, column, at = _shared_table(path), None, row
    if hasattr(table, "read_row_group"):
        for group in range(table.num_row_groups):
            rows = table.metadata.row_group(group).num_rows
            if at < rows:
                column = _row_group(path, group)
                break
            at -= rows
    else:
        column = table[_AUDIO_COLUMN]
    if column is None or at >= len(column):
        raise AudioError(f"{path} has no row {row}")
    data: bytes | None = column[at].as_py()["bytes"]
    if not data:
        raise AudioError(f"{path}: row {row} has no audio")
    return data
