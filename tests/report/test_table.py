from io import StringIO

import pytest
from rich.console import Console

from kdcompress.report.accuracy import score
from kdcompress.report.measured import Bucket, Facts, Latency, Machine, Memory, Spread, Throughput, Timing
from kdcompress.report.pages.tables import report_tables
from kdcompress.report.record import CandidateResult, ReferenceText, Report, Settings
from kdcompress.report.table import ReportTables


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


def detailed(report: Report) -> Report:
    """Return it with memory, latency by length and throughput of two models beside the one that failed."""
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
    memory = Memory(peak_rss_bytes=123 << 20, model_rss_bytes=45 << 20, gpu_bytes=777 << 20)
    measured = report.results[0].model_copy(update={"timing": timing, "memory": memory})
    fewer = timing.model_copy(update={"throughput": timing.throughput[:1]})
    other = report.results[1].model_copy(update={"timing": fewer})
    return results(report, measured, other, report.results[2])


def shown(report: Report, width: int, *, times: bool = True) -> str:
    console = Console(width=width, file=StringIO(), record=True)
    console.print(ReportTables(report, times=times))
    return console.export_text()


@pytest.mark.parametrize("width", [60, 80, 100, 170])
def test_every_figure_of_the_pages_stands_in_the_terminal_at_any_width(report: Report, width: int) -> None:
    text = shown(detailed(report), width)
    for table in report_tables(detailed(report)):
        assert table.title in text
        for row in table.rows:
            for cell in row:
                # Names may be folded.
                assert cell.model or (cell.shown in text and cell.range in text)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width


def test_heading_and_notes_say_what_the_figures_need(report: Report) -> None:
    text = shown(report, 170)
    for expected in (
        "CPU Some CPU; cores 2 of 4 usable",
        "test.jsonl: 1 utterance, 10.0 s; 3 timed passes, interleaved; reading the audio RTF 0.00100",
        "broken failed and was not timed: u3: ValueError: no",
        "[red]student: it is small",
        "speed: times faster than teacher",
    ):
        assert expected in text


def test_texts_alone_show_no_times(report: Report) -> None:
    text = shown(report, 100, times=False)
    assert "Accuracy" in text
    assert "50.00" in text
    assert "Speed" not in text
    assert "no model was run" in text


def test_one_figure_is_not_printed_twice(report: Report) -> None:
    timing = detailed(report).results[0].timing
    assert timing is not None
    single = timing.model_copy(update={"buckets": timing.buckets[:1], "throughput": timing.throughput[:1]})
    one = report.results[0].model_copy(update={"timing": single})
    text = shown(results(report, one), 100)
    assert "Latency by length" not in text
    assert "Throughput" not in text


def test_without_speech_the_insertions_stand_in_place_of_the_rate(report: Report) -> None:
    silent = report.results[0].model_copy(update={"accuracy": score(["", ""], ["", "x y"])})
    text = shown(results(report, silent), 100)
    assert "WER" not in text
    assert "inserted" in text
