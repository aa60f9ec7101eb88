import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kdcompress.aliases import FloatArray
from kdcompress.audio.utterance import Reference, Utterance
from kdcompress.bench import timing
from kdcompress.bench.candidate import Recognition
from kdcompress.bench.combinations import combine
from kdcompress.bench.passes import BLOCK
from kdcompress.bench.process import IsolatedCandidate
from kdcompress.bench.run import run_bench
from kdcompress.errors import AudioError, BenchError
from kdcompress.report.measured import Facts
from kdcompress.report.record import Report, check_writable

Bench = Callable[..., Report]


@dataclass
class Time:
    """A clock that moves when a candidate says so."""

    wall: float = 0.0
    cpu: float = 0.0


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> Iterator[Time]:
    now = Time()
    clocks = SimpleNamespace(perf_counter=lambda: now.wall, process_time=lambda: now.cpu)
    monkeypatch.setattr(timing, "time", clocks)
    return now


@dataclass
class Scripted:
    """A candidate that decodes everything, at a set speed, and writes down when it was asked."""

    name: str
    now: Time
    seconds: float = 1.0
    cores: float = 1.0
    answer: Callable[[int, FloatArray], str] = lambda call, samples: "a b"
    log: list[str] = field(default_factory=list)
    bytes: int | None = 1000
    parameters: int | None = None
    batches: bool = False
    calls: int = 0

    def load(self) -> None:
        self.now.wall += 7.0

    def facts(self) -> Facts:
        return Facts(runtime="script", provider="cpu", threads=1)

    def recognise(self, waveforms: Sequence[FloatArray]) -> Recognition:
        text = self.answer(self.calls, waveforms[0])
        self.calls += 1
        self.log.append(self.name)
        self.now.wall += self.seconds
        self.now.cpu += self.seconds * self.cores
        return Recognition((text,), 0.2 * self.seconds, 0.7 * self.seconds, 0.1 * self.seconds)


@pytest.fixture
def bench(isolated: Callable[..., IsolatedCandidate], references: list[Reference]) -> Bench:
    def run(candidates: list[Scripted], heard: list[Reference] = references, **options: Any) -> Report:
        made = [isolated(candidate, candidate.name) for candidate in candidates]
        return run_bench(made, heard, **{"repeats": 2, **options})

    return run


def test_figures_are_those_of_the_clock(bench: Bench, references: list[Reference], now: Time) -> None:
    slow, fast = Scripted("slow", now, seconds=2.0), Scripted("fast", now, seconds=0.5)
    report = bench([slow, fast], references, repeats=3)
    audio = sum(reference.utterance.duration for reference in references)
    first, second = (result.timing for result in report.results)
    assert first is not None
    assert second is not None
    assert report.settings.audio_seconds == pytest.approx(audio)
    assert first.load_seconds == second.load_seconds == 7.0
    assert second.rtf.median == pytest.approx(0.5 * len(references) / audio)
    assert second.model_rtf.median == pytest.approx(0.7 * 0.5 * len(references) / audio)
    assert second.features_rtf.high == pytest.approx(0.2 * 0.5 * len(references) / audio)
    assert second.decoding_rtf.low == pytest.approx(0.1 * 0.5 * len(references) / audio)
    assert second.rtf.repeats == 3
    assert (second.latency.p50, second.latency.p99) == (0.5, 0.5)
    assert (first.first_result_seconds, second.first_result_seconds) == (9.0, 7.5)
    assert second.cpu_seconds_per_hour == pytest.approx(3600 * 0.5 * len(references) / audio)
    assert second.rtfx.median == pytest.approx(audio / (0.5 * len(references)))
    assert sum(bucket.utterances for bucket in second.buckets) == len(references)
    assert {bucket.p99 for bucket in second.buckets} == {0.5}
    assert [(row.threads, row.batch) for row in second.throughput] == [(1, 1)]
    assert first.speed is None
    assert second.speed is not None
    assert second.speed.median == pytest.approx(4)
    assert second.model_speed is not None
    assert second.model_speed.low == pytest.approx(4)
    assert report.settings.reference == "slow"
    assert not report.failed


def test_the_time_of_each_utterance_is_kept(bench: Bench, references: list[Reference], now: Time) -> None:
    @dataclass
    class Thorough(Scripted):
        def recognise(self, waveforms: Sequence[FloatArray]) -> Recognition:
            self.seconds = len(waveforms[0]) * (1.0 if self.name == "x" else 0.5)
            return super().recognise(waveforms)

    report = bench([Thorough("x", now), Thorough("y", now)], references)
    sizes = {r.utterance.id: round(16_000 * r.utterance.duration) for r in references}
    assert report.results[0].seconds == pytest.approx(sizes)
    assert report.results[1].seconds == pytest.approx({id_: size / 2 for id_, size in sizes.items()})
    (ratio,) = [one for one in report.differences if one.measure == "rtf"]
    assert (ratio.candidate, ratio.baseline) == ("y", "x")
    assert (ratio.value, ratio.low, ratio.high) == pytest.approx((0.5, 0.5, 0.5))


def test_passes_are_interleaved_and_the_first_turn_rotates(
    bench: Bench, references: list[Reference], now: Time
) -> None:
    log: list[str] = []
    bench([Scripted(name, now, log=log) for name in "xy"], references)
    count = len(references)
    warm, timed = log[: 2 * count], log[2 * count :]
    assert warm == ["x"] * count + ["y"] * count
    # Every block begins with one untimed utterance.
    full, rest = BLOCK + 1, count - BLOCK + 1
    one_pass = ["x"] * full + ["y"] * full + ["y"] * rest + ["x"] * rest
    assert timed == one_pass * 2


def test_a_slow_spell_of_the_machine_does_not_decide(
    bench: Bench, references: list[Reference], now: Time
) -> None:
    weather = {"factor": 1.0}

    class Weathered(Scripted):
        def recognise(self, waveforms: Sequence[FloatArray]) -> Recognition:
            # From the third pass on everything takes ten times as long.
            self.seconds = (10.0 if self.calls > 2.5 * len(references) else 1.0) * weather["factor"]
            return super().recognise(waveforms)

    report = bench([Weathered("x", now), Weathered("y", now)], references, repeats=4)
    result = report.results[1].timing
    assert result is not None
    assert result.speed is not None
    assert result.rtf.high > 5 * result.rtf.low
    assert result.speed.median == pytest.approx(1)


def crash(call: int, samples: FloatArray) -> str:
    if call == 3:
        raise ValueError("no\nsuch frame")
    return "a"


def crash_later(call: int, samples: FloatArray) -> str:
    if call > 12 + 3:
        raise MemoryError
    return "a"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (crash, "u3: ValueError: no such frame"),
        (crash_later, "u3: MemoryError"),
        (lambda call, samples: "", "every transcript is empty, though 12 references are not"),
    ],
)
def test_who_fails_is_not_timed(
    bench: Bench, references: list[Reference], now: Time, answer: Any, reason: str
) -> None:
    report = bench([Scripted("bad", now, answer=answer), Scripted("good", now)], references)
    bad, good = report.results
    assert bad.failed == reason
    assert (bad.timing, bad.accuracy) == (None, None)
    assert report.failed
    assert good.failed is None
    assert good.timing is not None
    assert good.timing.speed is None  # nothing to compare with


def test_who_cannot_be_loaded_is_not_heard(bench: Bench, references: list[Reference], now: Time) -> None:
    class Missing(Scripted):
        def load(self) -> None:
            raise FileNotFoundError("no weights")

    bad = Missing("bad", now)
    report = bench([bad], references)
    assert report.results[0].failed == "cannot be loaded: FileNotFoundError: no weights"
    assert bad.calls == 0
    assert json.loads(report.dump())["results"][0]["hypotheses"] == {}


def test_silence_may_stay_silent(bench: Bench, references: list[Reference], now: Time) -> None:
    silent = [Reference(reference.utterance, " ") for reference in references]
    report = bench([Scripted("x", now, answer=lambda call, samples: "")], silent)
    accuracy = report.results[0].accuracy
    assert accuracy is not None
    assert (accuracy.wer.rate, accuracy.wer.errors) == (None, 0)
    assert not report.failed


@pytest.mark.parametrize(
    ("cores", "note"), [(0.3, "waited for the CPU: 0.30"), (1.9, "kept 1.90 cores busy"), (1.0, None)]
)
def test_a_busy_machine_and_hidden_threads_are_told(
    bench: Bench, references: list[Reference], now: Time, cores: float, note: str | None
) -> None:
    (result,) = bench([Scripted("x", now, cores=cores)], references).results
    assert result.facts is not None
    assert result.timing is not None
    assert result.timing.cores_busy == pytest.approx(cores)
    assert [note in found for found in result.facts.notes] == ([True] if note else [])


def test_transcripts_that_change_between_repeats_are_told(
    bench: Bench, references: list[Reference], now: Time
) -> None:
    unsteady = Scripted("x", now, answer=lambda call, samples: "a" if call % 2 else "b")
    (result,) = bench([unsteady], references, repeats=1).results
    assert result.facts is not None
    assert any("transcripts changed between repeats" in note for note in result.facts.notes)


def test_normalisation_is_applied_to_both_sides_and_recorded(
    bench: Bench, references: list[Reference], now: Time
) -> None:
    shouting = [Reference(reference.utterance, "A, b!") for reference in references]
    basic = bench([Scripted("x", now)], shouting)
    none = bench([Scripted("x", now)], shouting, normalizer="none")
    assert basic.results[0].accuracy is not None
    assert none.results[0].accuracy is not None
    assert basic.results[0].accuracy.wer.rate == 0
    assert none.results[0].accuracy.wer.rate == 1
    assert (basic.settings.normalizer, none.settings.normalizer) == ("basic", "none")
    assert basic.utterances[0].reference == "A, b!"
    assert basic.results[0].hypotheses["u0"] == "a b"


def test_what_cannot_be_measured_is_refused(
    bench: Bench, references: list[Reference], now: Time, tmp_path: Path
) -> None:
    one = Scripted("x", now)
    with pytest.raises(BenchError, match="0 candidates"):
        bench([], references)
    with pytest.raises(BenchError, match="0 utterances"):
        bench([one], [])
    with pytest.raises(BenchError, match="different names, found x, x"):
        bench([one, Scripted("x", now)], references)
    with pytest.raises(BenchError, match="no candidate 'y' to compare with; there are x"):
        bench([one], references, reference="y")
    with pytest.raises(BenchError, match="repeats must be 1 or more, found 0"):
        bench([one], references, repeats=0)
    with pytest.raises(AudioError, match="no such audio file"):
        bench([one], [Reference(Utterance("u", tmp_path / "none.wav", 0.0, 1.0), "a")])


def test_progress_ends_where_it_said(bench: Bench, references: list[Reference], now: Time) -> None:
    told: list[tuple[str, float, float]] = []
    candidates = [Scripted("x", now), Scripted("bad", now, answer=crash)]
    bench(candidates, references, on_progress=lambda *step: told.append(step))
    done = [d for _, d, _ in told]
    assert done == sorted(done)
    assert all(d <= total for _, d, total in told)
    audio = sum(reference.utterance.duration for reference in references)
    # One candidate's three passes, and the three utterances that the other one survived.
    crashed = sum(reference.utterance.duration for reference in references[:3])
    assert done[-1] == pytest.approx(3 * audio + crashed)


def test_a_bundle_is_measured(tone_bundle: Path, references: list[Reference]) -> None:
    report = run_bench(combine([tone_bundle]), references, repeats=1)
    assert [result.name for result in report.results] == [
        f"{tone_bundle.name} fp32",
        f"{tone_bundle.name} int8-dynamic",
    ]
    for result in report.results:
        assert result.failed is None
        assert list(result.hypotheses.values()) == [reference.text for reference in references]
        assert result.accuracy is not None
        assert result.accuracy.wer.rate == 0
        assert result.facts is not None
        assert result.facts.nodes == {"CPUExecutionProvider": 7}
        assert (result.facts.provider, result.facts.threads) == ("cpu", 1)
        timing = result.timing
        assert timing is not None
        assert timing.features_rtf is not None
        assert timing.model_rtf is not None
        assert timing.decoding_rtf is not None
        assert 0 < timing.features_rtf.low + timing.model_rtf.low + timing.decoding_rtf.low < timing.rtf.high
    data = json.loads(report.dump())
    assert (data["schema"], data["kind"]) == (2, "kdcompress-bench")
    assert data["results"][0]["accuracy"]["wer"]["rate"] == 0
    assert data["results"][0]["parameters"] == 405
    assert [u["id"] for u in data["utterances"]] == list(data["results"][1]["hypotheses"])
    assert data["settings"]["normalizer_version"] >= 1


def test_a_report_that_cannot_be_written_is_known_beforehand(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="is a folder"):
        check_writable(tmp_path)
    with pytest.raises(BenchError, match="does not exist"):
        check_writable(tmp_path / "none" / "report.json")
    check_writable(tmp_path / "report.json")
    assert not list(tmp_path.iterdir())
