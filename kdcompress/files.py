"""Files and folders that are complete, or as they were, whatever ends the program that writes them.

What is written lies beside its target under a name of its own until it is whole, on the disk, and moved into
place. Its writer holds a lock on it; what nobody holds is the leftover of a program that was killed, and is
removed by the next one that writes into the same folder.
"""

import errno
import hashlib
import os
import secrets
import shutil
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from kdcompress.signals import signals_wait

if sys.platform != "win32":
    import fcntl

# Short: the names of some recordings fill what a file system allows. Random: no link can wait there.
_PREFIX, _SUFFIX = ".kdcompress-", ".partial"
_STALE = 86_400  # [s] of age, where the file system has no locks
# EBADF: NFS locks what is open for writing only, which a folder never is.
_NO_LOCKS = {errno.EBADF, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}
_NO_EXCHANGE = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EXDEV, errno.EPERM}


def write_file(path: Path, content: str | bytes) -> None:
    """Replace a file's content in one step.

    Text becomes UTF-8. What UTF-8 has not (half a character, a byte of a file's name) is written as JSON
    escapes it.

    Raises:
        OSError: naming `path`; the file is as it was, and nothing is left beside it.
    """
    data = content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content
    if _is_device(path):  # /dev/stdout, /dev/null, a FIFO: what is written there is not a file's content
        with path.open("wb") as file:
            file.write(data)
        return
    with writing_file(path) as partial, partial.open("wb") as file:
        file.write(data)


@contextmanager
def writing_file(path: Path) -> Iterator[Path]:
    """Give a name to write to, beside `path`; when the block ends well, that file takes the place of `path`.

    Raises:
        OSError: naming `path`; the file is as it was, and nothing is left beside it.
    """
    with _naming(path), _partial(path.parent, _new_file) as partial:
        yield partial
        _sync(partial, write=True)
        os.replace(partial, path)
        _sync_folder(path.parent)


@contextmanager
def writing_folder(path: Path, check: Callable[[], None] = lambda: None) -> Iterator[Path]:
    """Give a new folder to fill, beside `path`; when the block ends well, it takes the place of the old.

    Where the system can exchange two folders (Linux, macOS), there is a whole one at `path` at every moment.

    Args:
        check: called before the exchange; what it raises leaves `path` as it is.

    Raises:
        OSError: naming `path`; the folder is as it was, and nothing is left beside it.
    """
    with _naming(path):
        path = path.resolve() if path.is_symlink() else path
        path.parent.mkdir(parents=True, exist_ok=True)
        _restore(path)
        with _partial(path.parent, Path.mkdir) as partial:
            yield partial
            for folder, _, names in os.walk(partial, topdown=False):
                for name in names:
                    _sync(Path(folder, name), write=True)
                _sync_folder(Path(folder))
            check()
            if not path.is_dir():
                os.replace(partial, path)
            else:
                _exchange(partial, path)  # and the old one, which has the partial's name now, is removed
            _sync_folder(path.parent)


def remove_folder(path: Path) -> None:
    """Remove a folder that others may be reading: for them it is whole, or not there.

    Raises:
        OSError: it cannot be moved aside; it is as it was.
    """
    aside = path.with_name(f"{_PREFIX}{secrets.token_hex(8)}{_SUFFIX}")
    os.replace(path, aside)
    _remove(aside)


def is_unfinished(name: str) -> bool:
    """Tell whether it is a name under which something is being written, or was."""
    return name.startswith(_PREFIX) and name.endswith(_SUFFIX)


def remove_leftovers(folder: Path) -> None:
    """Remove what programs that are no longer there left unfinished in a folder."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if is_unfinished(entry.name):
                with suppress(OSError):
                    _remove_if_left(Path(entry.path))


@lru_cache(maxsize=4096)  # some folders are written into a hundred thousand times
def _remove_leftovers_once(folder: Path) -> None:
    remove_leftovers(folder)


def what_was_refused(error: OSError) -> str:
    """Return in one line what the system refused, on which path, and what helps against it."""
    reason = (error.strerror or str(error) or type(error).__name__).lower()
    named = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, str | bytes)]
    helps = {
        errno.ENOSPC: "make room there, or write elsewhere",
        errno.EDQUOT: "make room in your quota, or write elsewhere",
        errno.EFBIG: "this file system, or a limit of yours, allows no larger file: write elsewhere",
        errno.EROFS: "write elsewhere",
        errno.ENAMETOOLONG: "choose a shorter name",
    }
    where = f": {' -> '.join(named)}" if named else ""
    return reason + where + (f"; {helps[error.errno]}" if error.errno in helps else "")


@contextmanager
def _partial(folder: Path, make: Callable[[Path], None]) -> Iterator[Path]:
    """Make something unfinished in a folder and hold it; it is gone afterwards, unless it was moved away."""
    _remove_leftovers_once(folder)
    partial: Path | None = None
    held: int | None = None
    try:  # twice, since a signal may cut the inner one's end in two
        try:
            while partial is None:
                name = folder / f"{_PREFIX}{secrets.token_hex(8)}{_SUFFIX}"
                with signals_wait():  # else one may come when it is there and nobody holds it
                    make(name)
                    partial = name
                    # Between the two lines someone else may have taken it for a leftover.
                    with suppress(FileNotFoundError):
                        held = hold(partial)
                    if held is not None and not partial.exists():
                        os.close(held)
                        held = None
                    if held is None and not partial.exists():
                        partial = None
            yield partial
        finally:
            _remove(partial)
    finally:
        _remove(partial)
        if held is not None:
            os.close(held)


def _new_file(path: Path) -> None:
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))


def hold(path: Path, wait: bool = True) -> int | None:
    """Lock a file or folder until the descriptor is closed; None where the system has no locks.

    Raises:
        OSError: someone else holds it, and waiting was not wanted.
    """
    if sys.platform == "win32":
        return None
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError as error:
        os.close(descriptor)
        if error.errno in _NO_LOCKS:
            return None
        raise
    return descriptor


def _remove_if_left(path: Path) -> None:
    held = hold(path, wait=False)
    if held is not None or path.lstat().st_mtime < time.time() - _STALE:
        _remove(path)
    if held is not None:
        os.close(held)


def _remove(path: Path | None) -> None:
    with suppress(OSError):
        if path is None:
            return
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Let errors name what the user knows: not the unfinished file, and not nothing."""
    try:
        yield
    except OSError as error:
        unnamed = error.filename is None or _PREFIX in os.fsdecode(error.filename)
        if error.errno is None or not unnamed:
            raise
        raise OSError(error.errno, error.strerror or os.strerror(error.errno), str(path)) from error


def _exchange(new: Path, old: Path) -> None:
    """Let two folders change names, in one step where the system can."""
    try:
        _rename_swapped(os.fsencode(new), os.fsencode(old))
    except OSError as error:
        if error.errno not in _NO_EXCHANGE:
            raise
        os.replace(old, _aside(old))
        try:
            os.replace(new, old)
        except OSError:
            os.replace(_aside(old), old)
            raise
        _remove(_aside(old))


def _restore(path: Path) -> None:
    """Put back what was moved aside by a program that was killed before it put the new one in place."""
    if _aside(path).exists():
        if path.exists():
            _remove(_aside(path))
        else:
            os.replace(_aside(path), path)


def _aside(path: Path) -> Path:
    name = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]
    return path.with_name(f"{_PREFIX}{name}.replaced")


def _rename_swapped(one: bytes, other: bytes) -> None:
    import ctypes  # not above: who only writes files need not load it

    libc: Any = ctypes.CDLL(None, use_errno=True) if os.name == "posix" else None
    if hasattr(libc, "renameat2"):
        here, swap = -100, 2  # AT_FDCWD, RENAME_EXCHANGE of linux/fs.h
        failed = libc.renameat2(here, one, here, other, swap)
    elif hasattr(libc, "renamex_np"):
        failed = libc.renamex_np(one, other, 2)  # RENAME_SWAP of macOS
    else:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if failed:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), os.fsdecode(other))


def _is_device(path: Path) -> bool:
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _sync(path: Path, write: bool = False) -> None:
    # Windows flushes what is open for writing only.
    descriptor = os.open(path, os.O_RDWR if write and os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_folder(path: Path) -> None:
    if os.name != "nt":  # where folders cannot be opened
        _sync(path)
