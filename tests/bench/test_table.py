from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from kdcompress.bench.accuracy import score
from kdcompress.bench.candidate import Facts
from kdcompress.bench.machine import describe_machine
from kdcompress.bench.report import BenchReport, CandidateResult, Settings
from kdcompress.bench.table import BenchTable
from kdcompress.bench.timing import Latency, Spread, Timing

SPREAD = Spread(0.0123, 0.0111, 0.0222, 3)
TIMING = Timing(0.5, SPREAD, SPREAD, SPREAD, SPREAD, Latency(0.0101, 0.02, 0.0303), 1.0)


@pytest.fixture
def report() -> BenchReport:
    facts = Facts("script", "cpu", 1)
    teacher = CandidateResult(
        "teacher",
        4_000_000,
        1_000_000,
        replace(facts, features_in_model=True),
        None,
        score(["a b"], ["a b"]),
        TIMING,
    )
    faster = replace(TIMING, speed=Spread(4.5, 4.4, 4.6, 3), model_speed=Spread(6.5, 6.4, 6.6, 3))
    student = CandidateResult(
        "[red]student",
        123_456,
        5000,
        replace(facts, notes=("it is small",)),
        None,
        score(["a b"], ["a c"]),
        faster,
    )
    failed = CandidateResult("broken", None, None, None, "u3: ValueError: no")
    settings = Settings("test.jsonl", 1, 10.0, 3, 10, "basic", 1, "teacher", 0)
    return BenchReport(
        "2026-01-01T00:00:00+00:00", describe_machine(), settings, 0.001, (), (teacher, student, failed)
    )


def shown(report: BenchReport, width: int) -> str:
    console = Console(width=width, file=StringIO(), record=True)
    console.print(BenchTable(report))
    return console.export_text()


@pytest.mark.parametrize("width", [150, 170])
def test_everything_that_was_found_is_in_the_table(report: BenchReport, width: int) -> None:
    text = shown(report, width)
    for expected in (
        report.machine.cpu,
        "test.jsonl: 1 utterances, 10 s; normaliser basic v1; 3 timed passes",
        "4.00",
        "1.00 M",
        "[red]student",
        "50.00",
        "0.0123",
        "(0.0111–0.0222)",
        "* with the features",
        "10.1",
        "30.3",
        "4.50×",
        "6.50×",
        "broken failed and was not timed: u3: ValueError: no",
        "[red]student: it is small",
        "times faster than teacher",
    ):
        assert expected in text


@pytest.mark.parametrize("width", [80, 100, 149])
def test_a_narrow_terminal_loses_nothing_that_matters(report: BenchReport, width: int) -> None:
    text = shown(report, width)
    for expected in (
        "4.00",
        "1.00 M",
        "50.00",
        "0.0123*",
        "(0.0111–0.0222)",
        "30.3",
        "4.50×",
        "6.50×",
        "failed",
    ):
        assert expected in text
    assert "…" not in text
    assert text.count("MB") == 1
    assert max(map(len, text.splitlines())) <= width


def test_without_speech_the_insertions_stand_in_place_of_the_rate(report: BenchReport) -> None:
    silent = replace(report.results[0], accuracy=score(["", ""], ["", "x y"]))
    text = shown(replace(report, results=(silent,)), 170)
    assert "2 inserted" in text
