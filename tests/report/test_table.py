from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from kdcompress.bench.machine import describe_machine
from kdcompress.report.accuracy import score
from kdcompress.report.measured import Bucket, Facts, Latency, Memory, Spread, Throughput, Timing
from kdcompress.report.report import BenchReport, CandidateResult, Settings
from kdcompress.report.table import BenchTable

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


@pytest.mark.parametrize("width", [80, 170])
def test_memory_latency_and_throughput_stand_below(report: BenchReport, width: int) -> None:
    latency = Latency(0.0111, 0.02, 0.0999)
    timing = replace(
        TIMING,
        first_result_seconds=1.25,
        cpu_seconds_per_hour=77.7,
        buckets=tuple(Bucket(10.0 * i, 10.0 * i + 10 if i < 6 else None, 2, latency) for i in range(7)),
        throughput=tuple(
            Throughput(threads, batch, Spread(100.0 * threads + batch, 1.0, 999.0, 3))
            for threads in (1, 2)
            for batch in (1, 8, 32)
        ),
    )
    memory = Memory(123 << 20, 45 << 20)
    plain = report.results[0]
    measured = replace(plain, timing=timing, memory=memory)
    other = replace(
        plain, name="other", timing=replace(timing, throughput=timing.throughput[:1]), memory=memory
    )
    text = shown(replace(report, results=(measured, other, report.results[2])), width)
    for expected in (
        "1.25",
        "77.7",
        "123",
        "45",
        "over 60 s",
        "0–10 s",
        "11.1",
        "99.9",
        "batch 32",
        "132",
        "232",
    ):
        assert expected in text
    assert "GPU" not in text
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
    on_gpu = replace(measured, memory=replace(memory, gpu_bytes=777 << 20))
    assert "777" in shown(replace(report, results=(on_gpu,)), width)


def test_without_speech_the_insertions_stand_in_place_of_the_rate(report: BenchReport) -> None:
    silent = replace(report.results[0], accuracy=score(["", ""], ["", "x y"]))
    text = shown(replace(report, results=(silent,)), 170)
    assert "2 inserted" in text
