"""Claims: one holder at a time, whoever dies."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from threading import Barrier, Thread

import pytest

from kdcompress.distill.posteriors import claims as module
from kdcompress.distill.posteriors.claims import Claims

HOLD = (
    "import sys, time\n"
    "from pathlib import Path\n"
    "from kdcompress.distill.posteriors.claims import Claims\n"
    "with Claims(Path(sys.argv[1])).claim('shard-00000.safetensors') as held:\n"
    "    print(held, flush=True)\n"
    "    time.sleep(600)\n"
)
SHARD = "shard-00000.safetensors"


def test_one_at_a_time_and_again_afterwards(tmp_path: Path) -> None:
    claims = Claims(tmp_path)
    with claims.claim(SHARD) as first, claims.claim(SHARD) as second, claims.claim("shard-00001.x") as other:
        assert (first, second, other) == (True, False, True)
    assert not claims.folder.exists() or {path.name for path in claims.folder.iterdir()} <= {"clock"}
    with claims.claim(SHARD) as again:
        assert again


def test_an_error_gives_the_shard_back(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), Claims(tmp_path).claim(SHARD):
        raise KeyboardInterrupt
    with Claims(tmp_path).claim(SHARD) as held:
        assert held


@pytest.fixture
def killed(tmp_path: Path) -> Path:
    """Return a cache with the claim of a process that was killed."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "True\n"
        with Claims(tmp_path).claim(SHARD) as held:
            assert not held
        os.kill(holder.pid, signal.SIGKILL)
    return tmp_path


def test_one_of_many_takes_over_from_the_dead(killed: Path) -> None:
    """All of them see the same dead claim before anyone acts on it."""
    count, won = 8, []
    together, everybody = Barrier(count), Barrier(count)

    class Slow(Claims):
        def _dead(self, path: Path) -> bool:
            dead = super()._dead(path)
            if path.suffix == ".0":
                together.wait(30)
            return dead

    def take() -> None:
        with Slow(killed).claim(SHARD) as held:
            won.append(held)
            everybody.wait(30)

    threads = [Thread(target=take) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == [False] * (count - 1) + [True]


def test_another_machine_is_dead_when_it_is_silent(killed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_machine", lambda: "another one")
    with Claims(killed).claim(SHARD) as held:
        assert not held  # its lock says nothing here
    (path,) = (killed / "claims").glob("shard-*")
    os.utime(path, (time.time() - 200, time.time() - 200))
    with Claims(killed).claim(SHARD) as held:
        assert held


def test_a_live_one_is_touched(tmp_path: Path) -> None:
    claims = Claims(tmp_path, stale_seconds=0.6)
    with claims.claim(SHARD):
        (path,) = claims.folder.glob("shard-*")
        before = path.stat().st_mtime_ns
        for _ in range(600):
            if path.stat().st_mtime_ns > before:
                break
            time.sleep(0.05)
        assert path.stat().st_mtime_ns > before
