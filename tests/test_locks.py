"""A folder has one writer; a dead one keeps nobody waiting."""

import errno
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from kdcompress import locks
from kdcompress.errors import InUse
from kdcompress.locks import NAME, locked

# With a child, as a loader's worker is one, that outlives it.
HOLD = (
    "import os, sys, time\nfrom pathlib import Path\nfrom kdcompress.locks import locked\n"
    "with locked(Path(sys.argv[1]), beside=sys.argv[2] == 'beside'):\n"
    "    if hasattr(os, 'fork'):\n        begun, begins = os.pipe()\n"
    "        if os.fork() == 0:\n            os.write(begins, b'.')\n"
    "            sys.stdin.read()\n            os._exit(0)\n"
    "        os.read(begun, 1)\n"
    "    print('held', flush=True)\n    time.sleep(600)\n"
)
Hold = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def hold() -> Iterator[Hold]:
    """Let another process hold the lock of a folder."""
    started = []

    def start(folder: Path, where: str = "inside") -> "subprocess.Popen[str]":
        command = [sys.executable, "-c", HOLD, str(folder), where]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("where", ["inside", "beside"])
def test_a_second_writer_is_refused_until_the_first_is_gone(tmp_path: Path, hold: Hold, where: str) -> None:
    holder = hold(tmp_path / "run", where)
    said = rf"run is being written by process {holder.pid} on .* since \d{{4}}-"
    with pytest.raises(InUse, match=said) as refused, locked(tmp_path / "run", beside=where == "beside"):
        pytest.fail("two writers")
    assert "\n" not in str(refused.value)
    holder.kill()  # it leaves its file
    holder.wait()
    (file,) = [path for path in tmp_path.rglob("*") if path.is_file()]
    with locked(tmp_path / "run", beside=where == "beside"):
        assert json.loads(file.read_text())["pid"] == os.getpid()
    assert not file.exists()


def test_nothing_is_left_where_nothing_came_of_it(tmp_path: Path) -> None:
    def fail() -> None:
        with locked(tmp_path / "a" / "b"):
            assert (tmp_path / "a" / "b" / NAME).is_file()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not (tmp_path / "a").exists()
    with locked(tmp_path / "c"):
        (tmp_path / "c" / "work").touch()
    assert [path.name for path in (tmp_path / "c").iterdir()] == ["work"]


def test_one_process_does_not_lock_twice(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(InUse, match=f"process {os.getpid()} on"), locked(tmp_path):
        pytest.fail("two writers")


def test_where_no_lock_can_be_written_the_work_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with locked(tmp_path / "file"):
        pass
    with locked(tmp_path / ("n" * 255), beside=True):  # the lock's name would be too long
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_lock_behind_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("x")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / NAME).symlink_to(tmp_path / "precious")
    with locked(tmp_path / "run"):
        pass
    assert (tmp_path / "precious").read_text() == "x"


@pytest.mark.skipif(sys.platform == "win32", reason="flock is what is taken away here")
def test_without_locks_of_the_system_the_named_process_is_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(file: int, how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(locks.fcntl, "flock", none)
    mine = {
        "pid": os.getpid(),
        "process": psutil.Process().create_time(),
        "host": platform.node(),
        "since": "now",
    }
    for change, refused in (
        ({}, True),
        ({"process": mine["process"] - 100}, False),  # its number is another's by now
        ({"host": "elsewhere"}, True),
        ({"pid": "x"}, False),
    ):
        (tmp_path / NAME).write_text(json.dumps(mine | change))
        if refused:
            with pytest.raises(InUse), locked(tmp_path):
                pytest.fail("two writers")
        else:
            with locked(tmp_path):
                assert json.loads((tmp_path / NAME).read_text())["process"] == mine["process"]
            assert not (tmp_path / NAME).exists()
    (tmp_path / NAME).write_text("[1")  # its writer was killed while it wrote
    with locked(tmp_path):
        pass
