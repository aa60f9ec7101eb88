"""One writer at a time: runs and bundles are locked while they are written.

Caches are not: any number of processes label one together, each shard claimed by one of them.

The lock is the system's own (flock) on a small file that says who holds it. It ends with its process, however
that ends, so that nobody waits for the dead; where the file system has no locks, the process that the file
names is looked for.
"""

import errno
import json
import os
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from kdcompress.errors import InUse
from kdcompress.signals import signals_wait

if sys.platform != "win32":
    import fcntl

NAME = ".lock"
"""Of the file inside a locked folder."""

_HELD = {errno.EWOULDBLOCK, errno.EACCES}
_CLOCK = 2.0  # [s] within which two readings of a process's start agree

_mine: set[int] = set()


def _leave_to_parent() -> None:
    # A fork has the lock, too: a loader's worker would keep it for seconds after its parent was killed.
    while _mine:
        os.close(_mine.pop())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)


@contextmanager
def locked(folder: Path, *, beside: bool = False) -> Iterator[None]:
    """Hold the lock of a folder, which is made if it is not there.

    Where no file can be written the block runs without a lock: what it writes will say why.

    Args:
        beside: put the file beside the folder, for folders that are replaced as a whole.

    Raises:
        InUse: another process holds it; says which, and since when.
    """
    path = folder.parent / f".{folder.name}{NAME}" if beside else folder / NAME
    made = [above for above in path.parents if not above.exists()]
    file: int | None = None
    try:  # twice, since a signal may cut the inner one's end in two
        try:
            try:
                with signals_wait():  # else one may come when the file is there and nobody knows whose it is
                    path.parent.mkdir(parents=True, exist_ok=True)
                    file = _open(path, folder)
                    _mine.add(file)
            except InUse:
                raise
            except OSError:
                pass
            if file is not None:
                os.truncate(file, 0)
                os.lseek(file, 0, os.SEEK_SET)
                os.write(file, json.dumps(_self()).encode())
            yield
        finally:
            _give_back(file, path, made)
    finally:
        _give_back(file, path, made)


def _give_back(file: int | None, path: Path, made: list[Path]) -> None:
    if file is None or file not in _mine:
        return
    with suppress(OSError):
        path.unlink()  # before it is given back: who opened it meanwhile sees that it is gone
    with suppress(OSError):  # they are empty only if nothing came of it
        for above in made:
            above.rmdir()
    _mine.remove(file)
    os.close(file)


def _open(path: Path, folder: Path) -> int:
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        try:
            if not _take(file):
                raise InUse(_complaint(folder, _read(file)))
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file), os.stat(path)):
                    return file
        except BaseException:
            os.close(file)
            raise
        os.close(file)  # its holder removed it between our two looks


def _take(file: int) -> bool:
    if sys.platform != "win32":
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _HELD:
                return False
        else:
            return True
    return not _lives(_read(file))


def _lives(holder: dict[str, Any]) -> bool:
    """Tell whether a process that is named by a lock may still be there; of another host nobody knows."""
    import psutil  # not above: it is needed where files cannot be locked

    if holder.get("host") != platform.node():
        return bool(holder)
    try:
        return abs(psutil.Process(int(holder["pid"])).create_time() - float(holder["process"])) < _CLOCK
    except psutil.AccessDenied:
        return True
    except (psutil.Error, KeyError, TypeError, ValueError):
        return False


def _self() -> dict[str, Any]:
    import psutil

    process = psutil.Process()
    return {
        "pid": process.pid,
        "process": process.create_time(),
        "host": platform.node(),
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
    }


def _read(file: int) -> dict[str, Any]:
    with suppress(ValueError, OSError, RecursionError):
        os.lseek(file, 0, os.SEEK_SET)
        data = json.loads(os.read(file, 4096))
        if isinstance(data, dict):
            return data
    return {}


def _complaint(folder: Path, holder: dict[str, Any]) -> str:
    who = "another process"
    if holder:
        pid, host, since = (str(holder.get(key, "?"))[:64] for key in ("pid", "host", "since"))
        who = f"process {pid} on {host} since {since}"
    return f"{folder} is being written by {who}: wait for it, stop it, or choose another --out"
