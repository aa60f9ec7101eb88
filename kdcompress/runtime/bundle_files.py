"""The files of a bundle directory: plain names, no links out of it, and others that replace it meanwhile."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from kdcompress.errors import BundleError

FILE_NAME = "bundle.json"

_LONGEST_NAME = 100  # no file system takes more than 255 bytes
_TRIES = 50  # to open what others replace meanwhile
_T = TypeVar("_T")


def while_replaced(directory: Path, attempt: Callable[[], _T]) -> _T:
    """Open something of a bundle, again and again while another process puts a new bundle in its place.

    What was opened then may be the description of one and the graph of another.
    """
    for _ in range(_TRIES):
        before = _stamp(directory)
        try:
            found = attempt()
        except (BundleError, OSError):  # a file may go between a look and its opening
            if _stamp(directory) == before:
                raise
            time.sleep(0.01)
        else:
            if _stamp(directory) == before:
                return found
    raise BundleError(f"{directory} is replaced faster than it can be read; wait for those who write it")


def _stamp(directory: Path) -> tuple[int, ...] | None:
    try:
        found = (directory / FILE_NAME).stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_ctime_ns


def check_name(where: Path, name: str) -> None:
    """Refuse a name with a separator or a drive: it would let a bundle from elsewhere open any file."""
    if (
        name in {"", ".", ".."}
        or any(c in name for c in "/\\:")
        or not name.isprintable()
        or len(name) > _LONGEST_NAME
    ):
        raise BundleError(f"{where} names the file {name[:80]!r}; expected a plain file name, no folders")


def refuse_links_out(file: Path) -> None:
    """Refuse a link that leaves its directory, unless to the blobs of the Hugging Face cache around it."""
    folder, target = file.parent.resolve(), file.resolve()
    # models--…/snapshots/REVISION/model.onnx -> ../../blobs/SHA256
    blobs = folder.parent.parent / "blobs" if folder.parent.name == "snapshots" else folder
    if target.parent not in {folder, blobs}:
        raise BundleError(f"{file} is a link to {target}, outside the bundle; copy the file itself")
