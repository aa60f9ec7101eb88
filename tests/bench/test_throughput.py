import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from kdcompress.aliases import FloatArray
from kdcompress.audio.utterance import Reference
from kdcompress.bench.candidate import Recognition
from kdcompress.bench.combinations import combine
from kdcompress.bench.process import IsolatedCandidate
from kdcompress.bench.run import run_bench
from kdcompress.errors import BenchError
from kdcompress.report.measured import Facts

Isolated = Callable[..., IsolatedCandidate]


@pytest.fixture
def few(references: list[Reference]) -> list[Reference]:
    return references[:7]


@dataclass
class Listed:
    """Writes down what comes at once; the texts of a batch are wrong where it is told so."""

    wrong: int = 0
    crash: bool = False
    batches: bool = True
    bytes: int | None = None
    parameters: int | None = None
    calls: list[list[int]] = field(default_factory=list)

    def load(self) -> None: ...

    def facts(self) -> Facts:
        return Facts(runtime="script", provider="cpu", threads=1)

    def recognise(self, waveforms: Sequence[FloatArray]) -> Recognition:
        if self.crash and len(waveforms) > 1:
            raise MemoryError
        self.calls.append([len(samples) for samples in waveforms])
        wrong = self.wrong if len(waveforms) > 1 else 0
        return Recognition(tuple("b" if n < wrong else "a" for n, _ in enumerate(waveforms)))


def test_batches_are_of_like_length_and_all_is_decoded(isolated: Isolated, few: list[Reference]) -> None:
    listed = Listed()
    report = run_bench([isolated(listed)], few, repeats=1, batches=(1, 3))
    lengths = sorted(round(16_000 * reference.utterance.duration) for reference in few)
    batches = listed.calls[1 + 2 * len(few) :]  # after one at a time, untimed and timed
    ordered = [lengths[:3], lengths[3:6], lengths[6:]]
    assert batches == [ordered[0], *ordered]  # the first of each block untimed, too
    timing = report.results[0].timing
    assert timing is not None
    assert [(row.threads, row.batch, row.rtfx.repeats) for row in timing.throughput] == [(1, 1, 1), (1, 3, 1)]
    assert timing.throughput[0].rtfx.median == pytest.approx(timing.rtfx.median)
    assert (report.settings.threads, report.settings.batches) == ((1,), (1, 3))


def test_texts_that_a_batch_changes_are_noted(isolated: Isolated, few: list[Reference]) -> None:
    (result,) = run_bench([isolated(Listed(wrong=1))], few, repeats=2, batches=(2,)).results
    assert result.notes[0].startswith("3 of 7 transcripts differ in batches of 2 (1 thread) from those")


def test_a_crash_in_a_batch_is_a_failure_of_the_run(isolated: Isolated, few: list[Reference]) -> None:
    candidates = [isolated(Listed()), isolated(Listed(crash=True), "y")]
    good, bad = run_bench(candidates, few, repeats=1, batches=(1, 4)).results
    assert good.failed is None
    assert good.timing is not None
    assert len(good.timing.throughput) == 2
    assert bad.failed is not None
    assert re.fullmatch(r"1 thread, batches of 4, between u\d and u\d: MemoryError", bad.failed)
    assert bad.timing is None


def test_what_takes_one_at_a_time_has_no_batches(isolated: Isolated, few: list[Reference]) -> None:
    (result,) = run_bench([isolated(Listed(batches=False))], few, repeats=1, batches=(1, 4)).results
    assert result.timing is not None
    assert [(row.threads, row.batch) for row in result.timing.throughput] == [(1, 1)]
    assert result.notes[0] == "was not measured with batches of 4: it takes one utterance at a time"


def test_a_wrong_number_of_transcripts_is_a_failure(isolated: Isolated, few: list[Reference]) -> None:
    class Short(Listed):
        def recognise(self, waveforms: Sequence[FloatArray]) -> Recognition:
            return Recognition(("a",))

    (result,) = run_bench([isolated(Short())], few, repeats=1, batches=(1, 4)).results
    assert result.failed is not None
    assert result.failed.endswith("gave 1 transcripts for 4 utterances")


@pytest.mark.slow
def test_every_setting_is_measured_in_turns(tone_bundle: Path, few: list[Reference]) -> None:
    steps: list[tuple[str, float, float]] = []
    report = run_bench(
        combine([tone_bundle]),
        few,
        repeats=2,
        threads=(1, 2),
        batches=(1, 3),
        on_progress=lambda *step: steps.append(step),
    )
    for result in report.results:
        assert result.failed is None
        assert result.timing is not None
        settings = [(row.threads, row.batch) for row in result.timing.throughput]
        assert settings == [(1, 1), (1, 3), (2, 1), (2, 3)]
        assert all(0 < row.rtfx.low <= row.rtfx.median <= row.rtfx.high for row in result.timing.throughput)
        assert not [note for note in result.notes if "differ" in note]
    audio = sum(reference.utterance.duration for reference in few)
    assert steps[-1][1] == pytest.approx(steps[-1][2]) == pytest.approx(audio * 2 * (1 + 2 * 4))
    last = [stage for stage, *_ in steps if stage.startswith("2 threads, batches of 3, pass 2")]
    assert len(last) == 2  # one block of each candidate


def test_numbers_below_one_are_refused(isolated: Isolated, few: list[Reference]) -> None:
    with pytest.raises(BenchError, match="threads, batches and streams must be 1 or more"):
        run_bench([isolated(Listed())], few, batches=(0,))
    with pytest.raises(BenchError, match="threads, batches and streams must be 1 or more"):
        run_bench([isolated(Listed())], few, threads=(1, -1))
