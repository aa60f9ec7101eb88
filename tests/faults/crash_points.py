"""What lies on the disk before each change that a program makes to a folder: where a kill would leave it.

A change is what the system is asked for: mkdir, rename, unlink, rmdir, fsync, and opening a file to write.
The program runs once and the folder is copied before each change, so that every point can be gone on from;
points that look alike are one.
"""

import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kdcompress import files
from kdcompress.digests import DIGESTS

_CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate"}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_RANDOM = re.compile(r"\.kdcompress-[0-9a-f]{16}\.partial")
_TIMES = {"seconds", "audio_per_second", "load_ms", "load_mb", "cost", "digest"}  # and a digest of times

_watching: list[Callable[[], None]] = []
_installed: list[bool] = []


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if _watching and (
        event in _CHANGES or (event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITING)
    ):
        _watching[-1]()


@contextmanager
def _before_each_change(call: Callable[[], None]) -> Iterator[None]:
    """Call a function before each change to any file, but not during that call."""
    if not _installed:  # a hook cannot be removed again
        sys.addaudithook(_audit)
        _installed.append(True)

    def once() -> None:
        _watching.append(lambda: None)
        try:
            call()
        finally:
            _watching.pop()

    sync = os.fsync

    def fsync(descriptor: Any) -> None:
        once()
        sync(descriptor)

    os.fsync = fsync
    _watching.append(once)
    try:
        yield
    finally:
        _watching.pop()
        os.fsync = sync


def crash_points(folder: Path, work: Callable[[], object], states: Path) -> list[Path]:
    """Run a program, and return copies of `folder` as it was before each change, without repetitions.

    Args:
        states: a folder that the copies are put into; one is missing where `folder` was not there yet.
    """
    found: dict[str, Path] = {}

    def copy() -> None:
        known = _state(folder)
        if known not in found:
            found[known] = states / f"{len(found):04}"
            if folder.exists():
                shutil.copytree(folder, found[known], symlinks=True)

    with _before_each_change(copy):
        work()
    copy()
    return list(found.values())


def put_back(state: Path, folder: Path) -> None:
    """Make a folder what it was, for a program that has not been there yet."""
    shutil.rmtree(folder, ignore_errors=True)
    if state.exists():
        shutil.copytree(state, folder, symlinks=True)
    files._remove_leftovers_once.cache_clear()


def content(folder: Path) -> dict[str, Any]:
    """Return what is in each file of a folder, figures of time left out."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_dir():
            found[name] = None
        elif path.suffix == ".lock":
            continue  # of a process that is gone: the next one takes it over
        elif path.suffix == ".jsonl":
            found[name] = [_timeless(json.loads(line)) for line in path.read_text("utf-8").splitlines()]
        elif path.suffix == ".json" and path.name != DIGESTS:
            found[name] = _timeless(json.loads(path.read_text("utf-8")))
        elif path.name != "README.md":  # a card, made of what the others hold, times among it
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _timeless(item) for key, item in value.items() if key not in _TIMES}
    return [_timeless(item) for item in value] if isinstance(value, list) else value


def _state(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*"), key=lambda path: _RANDOM.sub("partial", str(path))):
        digest.update(_RANDOM.sub("partial", str(path)).encode() + b"\0")
        digest.update(b"folder" if path.is_dir() else path.read_bytes())
    return digest.hexdigest()
