"""Digests of files, compared where the files are read: a flipped bit is no other value."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kdcompress.files import write_file

DIGESTS = "digests.json"
SEAL = "digest"  # the key of JSON files that have their digest in themselves


def file_sha256(path: Path) -> str:
    """Return the hex digest of a file, read in blocks."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def write_digests(folder: Path) -> None:
    """Write down what every file of a folder is, for `altered_file`."""
    found = {path.name: file_sha256(path) for path in sorted(folder.iterdir()) if path.name != DIGESTS}
    write_file(folder / DIGESTS, json.dumps({"sha256": found}, indent=1) + "\n")


def altered_file(folder: Path, *names: str, promised_by: str | None = None) -> Path | None:
    """Return the first of some files that is not what `write_digests` saw; None if all are, or it saw none.

    Args:
        folder: with the files.
        names: of the files.
        promised_by: a JSON file in which the key `digests` says that there are some; without them, where it
            does, they are what is returned.

    Raises:
        OSError: a file is missing or cannot be read.
        ValueError: digests are missing, and `promised_by` is no JSON.
    """
    record = folder / DIGESTS
    if not record.is_file():  # deleted, or written before there were digests
        promise = (
            {} if promised_by is None else json.loads((folder / promised_by).read_text(encoding="utf-8"))
        )
        return record if isinstance(promise, dict) and "digests" in promise else None
    try:
        expected = json.loads(record.read_text(encoding="utf-8"))["sha256"]
        return next((folder / name for name in names if file_sha256(folder / name) != expected[name]), None)
    except (ValueError, KeyError, TypeError, RecursionError):
        return record


def sealed(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return JSON data with a digest of all of it, for `unsealed`."""
    return {**data, SEAL: _digest(json.loads(json.dumps(data)))}


def unsealed(data: Any) -> Any:
    """Return what `sealed` was given; what has no digest, as in files of earlier versions, is taken as it is.

    Raises:
        ValueError: it is not what was written.
    """
    if not isinstance(data, dict) or SEAL not in data:
        return data
    rest = {key: value for key, value in data.items() if key != SEAL}
    if _digest(rest) != data[SEAL]:
        raise ValueError(f"its {SEAL} is of other content: it was altered since it was written")
    return rest


def _digest(data: Any) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()
