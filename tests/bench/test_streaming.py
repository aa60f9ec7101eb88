"""Streaming as it is measured: on a bundle whose delay is known, in our runtime and in sherpa-onnx's."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from kdcompress.audio.utterance import Reference
from kdcompress.bench.combinations import combine
from kdcompress.bench.run import run_bench
from kdcompress.report.gate import Limits, judge
from kdcompress.report.live import Streaming, with_delays
from kdcompress.report.pages.tables import report_tables
from kdcompress.report.record import Report, parse_report

Say = Callable[[str], npt.NDArray[np.float32]]
DELAY = 6 * 0.04  # [s] of the graph


@pytest.fixture(scope="module")
def report(tone_bundle: Path, streaming_tone_bundle: Path, references: list[Reference]) -> Report:
    pytest.importorskip("sherpa_onnx")
    measured = combine([tone_bundle], variants=["fp32"])
    measured += combine([streaming_tone_bundle], ["kdcompress", "sherpa-onnx"])
    return run_bench(measured, references[:3], repeats=1, streams=(1, 3), affinity=None)


@pytest.mark.slow
def test_delays_are_those_of_the_graph_and_its_chunks(report: Report) -> None:
    assert not report.failed
    offline, ours, sherpa = report.results
    assert offline.streaming is None
    # What is offline and what streams say the same, so that every word has a delay.
    assert dict(ours.hypotheses) == dict(offline.hypotheses) == dict(sherpa.hypotheses)
    for live in (ours.streaming, sherpa.streaming):
        assert live is not None
        assert live.word is not None
        assert live.first is not None
        assert live.chunk_seconds == 0.16
        assert live.words == sum(len(text.split()) for text in offline.hypotheses.values())
        # The graph's delay, its look-ahead, and on the way there the rest of a chunk and of a look.
        assert DELAY - 0.04 <= live.word.p50 <= live.word.p95 <= DELAY + 0.04 + 0.16 + 0.04 + 0.02
        assert min(live.delays.values()) <= live.word.p50 <= max(live.delays.values())


def test_loads_are_counted(report: Report) -> None:
    for result in report.results[1:]:
        assert result.streaming is not None
        loads = result.streaming.loads
        assert [load.streams for load in loads] == [1, 3]
        assert all(0 < load.p50 <= load.p99 and 0 <= load.missed <= 1 < load.per_core for load in loads)


def test_the_report_keeps_and_shows_it(report: Report) -> None:
    assert parse_report(json.loads(report.dump()) | {"sha256": None}, "x").results == report.results
    [table] = [table for table in report_tables(report) if table.key == "streaming"]
    assert len(table.rows) == 4
    assert all(len(row) == len(table.columns) for row in table.rows)


def test_the_gate_knows_delays(report: Report) -> None:
    def later(seconds: float) -> Report:
        results = []
        for result in report.results:
            live = result.streaming
            if live is not None:
                delays = {id_: delay + seconds for id_, delay in live.delays.items()}
                live = live.model_copy(update={"delays": delays})
            results.append(result.model_copy(update={"streaming": live}))
        return report.model_copy(update={"results": tuple(results)})

    limits = Limits(delay_increase=0.05)
    assert not judge(later(0.04), report, limits).broken
    verdict = judge(later(0.08), report, limits)
    assert verdict.broken
    [sentence] = [f.sentence for f in verdict.findings if f.broken and "sherpa" in f.candidate]
    assert "+80 ms later than in the baseline [+80, +80], at most +0.050 s allowed" in sentence


def test_only_words_that_both_have_are_compared() -> None:
    spikes = {"x": [("a", 0.1, 0.2), ("b", 0.5, 0.6), ("c", 1.0, 1.1)]}
    found = with_delays(
        Streaming(chunk_seconds=1), {"x": [("A", 0.5), ("d", 0.8), ("c", 1.5)], "y": []}, spikes
    )
    assert found.words == 2
    assert found.delays["x"] == pytest.approx(0.35)
    assert found.first is not None
    assert found.first.p50 == pytest.approx(0.4)
    assert with_delays(Streaming(chunk_seconds=1), {"x": []}, {}).word is None
