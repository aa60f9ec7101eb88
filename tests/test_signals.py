"""A signal may come between any two lines: what was begun is finished or gone."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from kdcompress import files, locks
from kdcompress.files import writing_file, writing_folder
from kdcompress.locks import locked

OURS = {files.__file__, locks.__file__}


@pytest.fixture(autouse=True)
def ends_as_the_command_line() -> Iterator[None]:
    before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    yield
    signal.signal(signal.SIGTERM, before)


def stopped_at(line: int, block: Callable[[], AbstractContextManager[Any]]) -> bool:
    """Run a block, with SIGTERM before the N-th line of our modules; False if it has fewer."""
    left = line

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal left
        if frame.f_code.co_filename not in OURS:
            return None
        if event == "line":
            left -= 1
            if left == 0:
                signal.raise_signal(signal.SIGTERM)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        with block():
            pass
    except SystemExit:
        return True
    finally:
        sys.settrace(before)
    return False


@pytest.mark.parametrize(
    "block",
    [
        lambda target: locked(target),
        lambda target: locked(target, beside=True),
        lambda target: writing_file(target),
        lambda target: writing_folder(target),
    ],
    ids=["lock inside", "lock beside", "file", "folder"],
)
def test_nothing_is_left_wherever_a_signal_comes(
    tmp_path: Path, block: Callable[[Path], AbstractContextManager[Any]]
) -> None:
    line = 0
    stopped = True
    while stopped:
        line += 1
        folder = tmp_path / str(line)
        folder.mkdir()
        target = folder / "mine"
        stopped = stopped_at(line, partial(block, target))
        assert not [path for path in folder.rglob("*") if path.name.startswith(".")], line
    assert line > 15
