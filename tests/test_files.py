"""Writers, stopped before every step that they take: what is there is whole, and nothing stays behind."""

import errno
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kdcompress import files
from kdcompress.files import remove_folder, what_was_refused, write_file, writing_file, writing_folder

# Ends the process before the N-th call that changes the disk; without an N it says how many there are.
STOPPER = """
import os, sys
from pathlib import Path
from kdcompress import files
calls, last = 0, int(sys.argv[2])
def counted(name, real):
    def call(*arguments, **options):
        global calls
        if calls == last:
            os._exit(9)
        calls += 1
        return real(*arguments, **options)
    return call
for name in ("mkdir", "open", "fsync", "replace", "unlink", "rmdir"):
    setattr(os, name, counted(name, getattr(os, name)))
exchange = files._rename_swapped
files._rename_swapped = counted("exchange", exchange)
if len(sys.argv) > 3:  # a file system that cannot exchange folders
    def refuse(*names):
        raise OSError(files.errno.EINVAL, "no")
    files._rename_swapped = refuse
target = Path(sys.argv[1])
"""
WRITE_FILE = "files.write_file(target / 'report.json', 'new')\n"
WRITE_FOLDER = """
with files.writing_folder(target / 'bundle') as folder:
    (folder / 'graph').write_text('new')
    (folder / 'inside').mkdir()
    (folder / 'inside' / 'tokens').write_text('new')
"""


@pytest.fixture(autouse=True)
def forgotten() -> None:
    files._remove_leftovers_once.cache_clear()


def stopped_before(target: Path, program: str, step: int, *more: str) -> bool:
    """Run a writer up to a step; returns whether it was stopped before its end."""
    command = [sys.executable, "-c", f"{STOPPER}{program}print(calls)", str(target), str(step), *more]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode in {0, 9}, done.stderr
    return done.returncode == 9


def test_a_file_is_new_or_old_wherever_its_writer_is_stopped(tmp_path: Path) -> None:
    target = tmp_path / "report.json"
    steps = 0
    while True:
        target.write_text("old")
        unfinished = stopped_before(tmp_path, WRITE_FILE, steps)
        assert target.read_text() in ({"old", "new"} if unfinished else {"new"})
        if not unfinished:
            break
        steps += 1
    assert steps > 4
    write_file(target, "newest")
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]


@pytest.mark.parametrize("more", [(), ("no exchange",)])
def test_a_folder_is_new_or_old_wherever_its_writer_is_stopped(tmp_path: Path, more: tuple[str, ...]) -> None:
    target = tmp_path / "bundle"
    steps = 0
    with writing_folder(target) as folder:
        (folder / "graph").write_text("old")
    while stopped_before(tmp_path, WRITE_FOLDER, steps, *more):
        if not more:  # else there is a moment without one, which the next writer mends
            assert (target / "graph").read_text() in {"old", "new"}
        files._remove_leftovers_once.cache_clear()
        with pytest.raises(KeyError), writing_folder(target):
            raise KeyError
        assert (target / "graph").read_text() in {"old", "new"}
        assert (target / "inside" / "tokens").is_file() == ((target / "graph").read_text() == "new")
        assert [path.name for path in tmp_path.iterdir()] == ["bundle"]
        steps += 1
    assert steps > 10
    assert (target / "inside" / "tokens").read_text() == "new"


def test_what_is_still_written_is_no_leftover(tmp_path: Path) -> None:
    with writing_file(tmp_path / "one") as one, writing_folder(tmp_path / "two") as two:
        files._remove_leftovers_once.cache_clear()
        program = "import sys; from kdcompress.files import *; write_file(Path(sys.argv[1]) / 'x', '')"
        subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True)
        assert one.exists()
        assert two.exists()


@pytest.mark.parametrize("length", [1, 250, 255])
def test_any_name_that_the_file_system_allows_can_be_written(tmp_path: Path, length: int) -> None:
    write_file(tmp_path / ("é" * (length // 2) + "x" * (length % 2)), "text")
    assert len(list(tmp_path.iterdir())) == 1


def test_halves_of_characters_are_written_as_json_escapes_them(tmp_path: Path) -> None:
    write_file(tmp_path / "a", '["caf\udce9 \ud83d"]')
    assert (tmp_path / "a").read_bytes() == b'["caf\\udce9 \\ud83d"]'


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_what_the_system_refuses_names_the_path_and_leaves_the_old(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    write_file(path, "old")
    with largest_file(10), pytest.raises(OSError, match="large") as caught:
        write_file(path, "x" * 100_000)
    assert (caught.value.errno, caught.value.filename) == (errno.EFBIG, str(path))
    assert "write elsewhere" in what_was_refused(caught.value)
    with (
        largest_file(10),
        pytest.raises(OSError, match="large") as caught,
        writing_folder(tmp_path / "f") as f,
    ):
        (f / "graph").write_bytes(bytes(100_000))
    assert caught.value.filename == str(tmp_path / "f")
    with pytest.raises(FileNotFoundError) as missing:
        write_file(tmp_path / "nowhere" / "a", "")
    assert missing.value.filename == str(tmp_path / "nowhere" / "a")
    assert [p.name for p in tmp_path.iterdir()] == ["report.json"]
    assert path.read_text() == "old"


def test_a_folder_that_became_precious_meanwhile_is_kept(tmp_path: Path) -> None:
    def check() -> None:
        raise ValueError("there is something")

    (tmp_path / "out").mkdir()
    with pytest.raises(ValueError, match="something"), writing_folder(tmp_path / "out", check) as folder:
        (folder / "graph").write_text("new")
    assert not list((tmp_path / "out").iterdir())
    assert len(list(tmp_path.iterdir())) == 1


def test_devices_and_links_are_written_through_as_they_should(tmp_path: Path) -> None:
    write_file(Path(os.devnull), "text")
    assert not Path(os.devnull).is_file()
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with writing_folder(tmp_path / "link") as folder:
        (folder / "graph").write_text("new")
    assert (tmp_path / "real" / "graph").read_text() == "new"
    assert (tmp_path / "link").is_symlink()


def test_a_folder_is_removed_at_once_or_stays(tmp_path: Path) -> None:
    (tmp_path / "step" / "inside").mkdir(parents=True)
    (tmp_path / "step" / "inside" / "weights").write_text("old")
    remove_folder(tmp_path / "step")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(FileNotFoundError):
        remove_folder(tmp_path / "step")
