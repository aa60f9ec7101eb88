from io import StringIO

import pytest
from rich.console import Console

from kdcompress.report.accuracy import score
from kdcompress.report.measured import Bucket, Facts, Latency, Machine, Memory, Spread, Throughput, Timing
from kdcompress.report.record import CandidateResult, ReferenceText, Report, Settings
from kdcompress.report.table import BenchTable


def around(median: float, low: float, high: float) -> Spread:
    return Spread(median=median, low=low, high=high, repeats=3)


SPREAD = around(0.0123, 0.0111, 0.0222)
TIMING = Timing(
    load_seconds=0.5,
    rtf=SPREAD,
    model_rtf=SPREAD,
    features_rtf=SPREAD,
    decoding_rtf=SPREAD,
    latency=Latency(p50=0.0101, p90=0.02, p99=0.0303),
    cores_busy=1.0,
)


@pytest.fixture
def report() -> Report:
    facts = {"runtime": "script", "provider": "cpu", "threads": 1}
    teacher = CandidateResult(
        name="teacher",
        bytes=4_000_000,
        parameters=1_000_000,
        facts=Facts(**facts, features_in_model=True),
        accuracy=score(["a b"], ["a b"]),
        timing=TIMING,
        hypotheses={"u": "a b"},
    )
    speeds = {"speed": around(4.5, 4.4, 4.6), "model_speed": around(6.5, 6.4, 6.6)}
    student = CandidateResult(
        name="[red]student",
        bytes=123_456,
        parameters=5000,
        facts=Facts(**facts, notes=("it is small",)),
        accuracy=score(["a b"], ["a c"]),
        timing=TIMING.model_copy(update=speeds),
        hypotheses={"u": "a c"},
    )
    failed = CandidateResult(name="broken", failed="u3: ValueError: no", hypotheses={})
    return Report(
        created="2026-01-01T00:00:00+00:00",
        machine=Machine(cpu="Some CPU", cores=4, usable_cores=2),
        settings=Settings(
            source="test.jsonl", utterances=1, audio_seconds=10.0, repeats=3, block=10, normalizer="basic",
            normalizer_version=1, reference="teacher",
        ),
        audio_decoding_rtf=0.001,
        utterances=(ReferenceText(id="u", duration=10.0, reference="a b"),),
        results=(teacher, student, failed),
    )  # fmt: skip


def results(report: Report, *found: CandidateResult) -> Report:
    return report.model_copy(update={"results": found})


def shown(report: Report, width: int) -> str:
    console = Console(width=width, file=StringIO(), record=True)
    console.print(BenchTable(report))
    return console.export_text()


@pytest.mark.parametrize("width", [150, 170])
def test_everything_that_was_found_is_in_the_table(report: Report, width: int) -> None:
    text = shown(report, width)
    for expected in (
        "Some CPU, 2 of 4 cores",
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
def test_a_narrow_terminal_loses_nothing_that_matters(report: Report, width: int) -> None:
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
def test_memory_latency_and_throughput_stand_below(report: Report, width: int) -> None:
    timing = TIMING.model_copy(
        update={
            "first_result_seconds": 1.25,
            "cpu_seconds_per_hour": 77.7,
            "buckets": tuple(
                Bucket(start=start, end=start + 10 if start < 60 else None, utterances=2, p50=0.0111,
                       p90=0.02, p99=0.0999)
                for start in range(0, 70, 10)
            ),
            "throughput": tuple(
                Throughput(threads=threads, batch=batch, rtfx=around(100.0 * threads + batch, 1.0, 999.0))
                for threads in (1, 2)
                for batch in (1, 8, 32)
            ),
        }
    )  # fmt: skip
    memory = Memory(peak_rss_bytes=123 << 20, model_rss_bytes=45 << 20)
    measured = report.results[0].model_copy(update={"timing": timing, "memory": memory})
    fewer = timing.model_copy(update={"throughput": timing.throughput[:1]})
    other = measured.model_copy(update={"name": "other", "timing": fewer})
    text = shown(results(report, measured, other, report.results[2]), width)
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
    on_gpu = measured.model_copy(update={"memory": memory.model_copy(update={"gpu_bytes": 777 << 20})})
    assert "777" in shown(results(report, on_gpu), width)


def test_without_speech_the_insertions_stand_in_place_of_the_rate(report: Report) -> None:
    silent = report.results[0].model_copy(update={"accuracy": score(["", ""], ["", "x y"])})
    assert "2 inserted" in shown(results(report, silent), 170)
