"""Digests of files, compared where the files are read: a flipped bit is no other value."""

import hashlib
import json
from pathlib import Path

from kdcompress.files import write_file

DIGESTS = "digests.json"


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


def altered_file(folder: Path, *names: str) -> Path | None:
    """Return the first of some files that is not what `write_digests` saw; None if all are, or it saw none.

    Raises:
        OSError: a file is missing or cannot be read.
    """
    record = folder / DIGESTS
    if not record.is_file():  # written before there were digests
        return None
    try:
        expected = json.loads(record.read_text(encoding="utf-8"))["sha256"]
        return next((folder / name for name in names if file_sha256(folder / name) != expected[name]), None)
    except (ValueError, KeyError, TypeError, RecursionError):
        return record
