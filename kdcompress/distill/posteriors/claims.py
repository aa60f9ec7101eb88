"""Who labels which shard of a cache, where several processes or machines fill it.

cache/NAME/claims/  shard-00003.0  shard-00003.1 …

A claim is a file that only one process can create; the last one of a shard counts. Its process holds a lock
on it, touches it now and then, and removes it when it is done. A claim whose process is gone is taken over by
creating the one with the next number, which again only one process can. Nothing is renamed or removed to take
over, so that two who find the same dead claim cannot both win, and no clocks of two machines are compared.
"""

import json
import os
import platform
import secrets
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from kdcompress.files import hold

STALE_SECONDS = 180.0
"""Without a touch, after which a claim of another machine, or where files cannot be locked, is dead."""


class Claims:
    """The claims of one cache."""

    def __init__(self, cache: Path, stale_seconds: float = STALE_SECONDS) -> None:
        self.folder, self.stale_seconds = cache / "claims", stale_seconds

    @contextmanager
    def claim(self, shard: str) -> Iterator[bool]:
        """Hold a shard while the block runs; gives False where a live process has it.

        Whoever gets a shard has to look whether it was finished meanwhile.

        Raises:
            OSError: the folder cannot be written.
        """
        created = self._create(shard)
        if created is None:
            yield False
            return
        path, held = created
        ended = threading.Event()
        try:
            beat = threading.Thread(target=self._touch, args=(path, ended), daemon=True)
            beat.start()
            yield True
        finally:
            ended.set()
            for number in range(int(path.suffix[1:]) + 1):  # those that were taken over as well
                path.with_suffix(f".{number}").unlink(missing_ok=True)
            if held is not None:
                os.close(held)
            with suppress(OSError):
                self.folder.rmdir()

    def remove(self) -> None:
        """Remove what killed processes left, once every shard is finished."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _create(self, shard: str) -> tuple[Path, int | None] | None:
        """Return a claim and its lock; None where another process has the shard."""
        last = self._last(shard)
        if last is not None and not self._dead(last):
            return None
        number = 0 if last is None else int(last.suffix[1:]) + 1
        path = self.folder / f"{Path(shard).stem}.{number}"
        while True:
            self.folder.mkdir(exist_ok=True)
            try:
                return path, self._put(path)
            except FileExistsError:
                return None
            except FileNotFoundError:  # the folder was just removed by the last one
                continue

    def _put(self, path: Path) -> int | None:
        """Let a claim appear with its lock and content: what a kill leaves is then seen to be dead."""
        content = json.dumps({"machine": _machine(), "pid": os.getpid()})
        made = path.with_name(f"new-{secrets.token_hex(8)}")
        made.write_text(content, encoding="utf-8")
        try:
            held = hold(made)
            try:
                os.link(made, path)
            except OSError as error:
                if held is not None:
                    os.close(held)
                if isinstance(error, FileExistsError | FileNotFoundError):
                    raise
            else:
                return held
        finally:
            made.unlink(missing_ok=True)
        # No links here: the content comes after the lock, and who cannot read it goes by its age.
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        held = hold(path)
        path.write_text(content, encoding="utf-8")
        return held

    def _last(self, shard: str) -> Path | None:
        there = list(self.folder.glob(f"{Path(shard).stem}.*"))
        return max(there, key=lambda path: int(path.suffix[1:]), default=None)

    def _dead(self, path: Path) -> bool:
        try:
            touched, content = path.stat().st_mtime, path.read_text(encoding="utf-8")
            if self._now() - touched > self.stale_seconds:
                return True
            if not content or json.loads(content)["machine"] != _machine():
                return False
            held = hold(path, wait=False)
        except OSError:  # locked; or removed meanwhile, then it is free the next time
            return False
        if held is None:  # no locks here
            return False
        os.close(held)
        return True

    def _now(self) -> float:
        """Return the time by the clock that the claims are dated by: that of the file system."""
        clock = self.folder / "clock"
        clock.touch()
        return clock.stat().st_mtime

    def _touch(self, path: Path, ended: threading.Event) -> None:
        while not ended.wait(self.stale_seconds / 12):
            with suppress(OSError):
                os.utime(path)


@cache
def _machine() -> str:
    """Name the running system: two with one name cannot see each other's locks, nor one after a restart."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return platform.node()
