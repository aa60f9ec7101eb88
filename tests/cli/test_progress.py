"""What a run shows while it goes: on a narrow terminal, and in a file."""

import io
import re
from typing import Any

import pytest
from rich.console import Console

from kdcompress.cli import progress as module
from kdcompress.cli.progress import DistillProgress

LONG = "Narrowing the layers to start from"


class Clock:
    """A clock that the test moves."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module.time, "monotonic", clock)
    return clock


def shown(monkeypatch: pytest.MonkeyPatch, width: int, terminal: bool) -> tuple[DistillProgress, io.StringIO]:
    file = io.StringIO()

    def console(stderr: bool = False, **options: Any) -> Console:
        return Console(file=file, force_terminal=terminal, width=width, **options)

    monkeypatch.setattr(module, "Console", console)
    return DistillProgress(), file


@pytest.mark.parametrize("width", [80, 120])
def test_a_terminal_shows_steps_time_left_and_figures_in_one_line(
    monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    progress, file = shown(monkeypatch, width, terminal=True)
    with progress:
        progress.stage(LONG, 11_000, 12_000)
        progress.step(1, 20_000, {"loss": 12.3456, "selected_share": 1.0})
        progress.step(12_345, 20_000, {"loss": 12.3456, "selected_share": 1.0})
        file.truncate(0)
        progress.progress.refresh()
        text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", file.getvalue())
    (line,) = (line for line in re.split(r"[\r\n\0]+", text) if line.strip())
    assert len(line) <= width
    assert "12345/20000" in line
    assert re.search(r"\d:\d\d:\d\d .*(\d:\d\d:\d\d|-:--:--)", line)
    assert "loss 12.3456  selected 100%" in line
    assert LONG not in line


def test_a_stage_of_preparation_fits_into_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    progress, file = shown(monkeypatch, 80, terminal=True)
    with progress:
        progress.stage(LONG, 11_000, 12_000)
        progress.progress.refresh()
    assert f"{LONG} " in file.getvalue()
    assert "11000/12000" in file.getvalue()


def test_in_a_file_lines_are_whole_and_say_what_is_left(
    monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    progress, file = shown(monkeypatch, 80, terminal=False)
    with progress:
        progress.stage("Reading audio", 0, 1000)
        clock.now = 20.0
        progress.stage("Reading audio", 250, 1000)
        progress.say("x" * 300)
        progress.step(101, 1100, {"loss": 1.0})
        clock.now = 40.0
        progress.step(111, 1100, {"loss": 0.5})
        clock.now = 42.0
        progress.step(112, 1100, {"loss": 0.5})
    assert file.getvalue().splitlines() == [
        "Reading audio 250/1000, 60 s left",
        "x" * 300,
        "Training 111/1100 loss 0.5000, 33.0 min left",
    ]


def test_a_stage_that_begins_again_is_timed_anew(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    progress, file = shown(monkeypatch, 80, terminal=False)
    progress.stage("Reading audio", 900, 1000)
    clock.now = 1000.0
    progress.stage("Reading audio", 0, 1000)  # of the next row of a comparison
    clock.now = 1020.0
    progress.stage("Reading audio", 500, 1000)
    assert file.getvalue().splitlines()[-1] == "Reading audio 500/1000, 20 s left"


def test_after_some_steps_the_time_of_the_rest_is_foreseen(
    monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    progress, file = shown(monkeypatch, 80, terminal=False)
    for step in range(501, 560):  # resumed
        clock.now += 0.5
        progress.step(step, 20_000, {"loss": 1.0})
    foreseen = [line for line in file.getvalue().splitlines() if "to go" in line]
    assert foreseen == ["about 2.7 h to go, 0.5 s a step"]


def test_a_short_run_is_not_foreseen(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    progress, file = shown(monkeypatch, 80, terminal=False)
    for step in range(1, 31):
        progress.step(step, 30, {"loss": 1.0})
    assert file.getvalue() == ""
