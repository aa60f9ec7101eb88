import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from kdcompress.audio.utterance import Reference, Utterance
from kdcompress.bench.candidate import BundleCandidate, Recognition, Waveform
from kdcompress.bench.process import ProcessCandidate
from kdcompress.bench.run import run_bench
from kdcompress.bench.spec import ModelSpec
from kdcompress.errors import BenchError
from kdcompress.report.measured import Facts
from kdcompress.runtime.bundle import open_bundle

Say = Callable[[str], npt.NDArray[np.float32]]

TEXTS = ["a b", "c", "ab ca", "bb", "a", "c c", "b a c"]


@pytest.fixture(scope="module")
def references(say: Say, tmp_path_factory: pytest.TempPathFactory) -> list[Reference]:
    folder = tmp_path_factory.mktemp("said")
    found = []
    for n, text in enumerate(TEXTS):
        samples = say(text)
        soundfile.write(folder / f"{n}.wav", samples, 16_000, subtype="FLOAT")
        found.append(Reference(Utterance(f"u{n}", folder / f"{n}.wav", 0.0, len(samples) / 16_000), text))
    return found


class Listener:
    """Writes down what it hears at once; the texts of a batch are wrong where it is told so."""

    batches = True
    bytes = parameters = None

    def __init__(self, name: str = "x", wrong: int = 0, crash: bool = False) -> None:
        self.name, self.wrong, self.crash = name, wrong, crash
        self.heard: list[list[int]] = []

    def load(self) -> None: ...

    def facts(self) -> Facts:
        return Facts("script", "cpu", 1)

    def recognise(self, samples: Waveform) -> Recognition:
        self.heard.append([len(samples)])
        return Recognition("a", 0.0, 0.0, 0.0)

    def recognise_batch(self, waveforms: list[Waveform]) -> list[str]:
        if self.crash:
            raise MemoryError
        self.heard.append([len(samples) for samples in waveforms])
        return ["b" if n < self.wrong else "a" for n, _ in enumerate(waveforms)]


def test_batches_are_of_like_length_and_all_is_heard(references: list[Reference]) -> None:
    listener = Listener()
    report = run_bench([listener], references, repeats=1, batches=(1, 3))
    lengths = sorted(round(16_000 * reference.utterance.duration) for reference in references)
    batches = listener.heard[1 + 2 * len(TEXTS) :]  # after one at a time, untimed and timed
    ordered = [lengths[:3], lengths[3:6], lengths[6:]]
    assert batches == [ordered[0], *ordered]  # the first of each block untimed, too
    timing = report.results[0].timing
    assert timing is not None
    assert [(row.threads, row.batch, row.rtfx.repeats) for row in timing.throughput] == [(1, 1, 1), (1, 3, 1)]
    assert timing.throughput[0].rtfx.median == pytest.approx(timing.rtfx.median)
    assert (report.settings.threads, report.settings.batches) == ((1,), (1, 3))


def test_texts_that_a_batch_changes_are_told(references: list[Reference]) -> None:
    (result,) = run_bench([Listener(wrong=1)], references, repeats=2, batches=(2,)).results
    assert result.facts is not None
    assert result.facts.notes[0].startswith("3 of 7 transcripts differ in batches of 2 (1 thread) from those")


def test_a_crash_in_a_batch_is_a_failure_of_the_run(references: list[Reference]) -> None:
    good, bad = run_bench(
        [Listener(), Listener("y", crash=True)], references, repeats=1, batches=(1, 4)
    ).results
    assert good.failed is None
    assert good.timing is not None
    assert len(good.timing.throughput) == 2
    assert bad.failed is not None
    assert re.fullmatch(r"1 thread, batches of 4, between u\d and u\d: MemoryError", bad.failed)
    assert bad.timing is None


def test_who_hears_one_at_a_time_has_no_batches(references: list[Reference]) -> None:
    alone = Listener()
    alone.batches = False
    (result,) = run_bench([alone], references, repeats=1, batches=(1, 4), threads=(1, 2)).results
    assert result.timing is not None
    assert [(row.threads, row.batch) for row in result.timing.throughput] == [(1, 1)]
    assert result.facts is not None
    assert result.facts.notes[:2] == (
        "was not measured with batches of 4: it hears one utterance at a time",
        "was not measured with 2 threads: it has no process of its own",
    )


@pytest.mark.slow
def test_every_setting_is_measured_in_turns(tone_bundle: Path, references: list[Reference]) -> None:
    told: list[tuple[str, float, float]] = []
    specs = [
        ModelSpec("kdcompress", str(tone_bundle), name, variant=name) for name in ("fp32", "int8-dynamic")
    ]
    report = run_bench(
        [ProcessCandidate(spec) for spec in specs],
        references,
        repeats=2,
        threads=(1, 2),
        batches=(1, 3),
        on_progress=lambda *step: told.append(step),
    )
    for result in report.results:
        assert result.failed is None
        assert result.timing is not None
        assert [(row.threads, row.batch) for row in result.timing.throughput] == [
            (1, 1),
            (1, 3),
            (2, 1),
            (2, 3),
        ]
        assert all(0 < row.rtfx.low <= row.rtfx.median <= row.rtfx.high for row in result.timing.throughput)
        assert result.facts is not None
        assert not [note for note in result.facts.notes if "differ" in note]
    audio = sum(reference.utterance.duration for reference in references)
    assert told[-1][1] == pytest.approx(told[-1][2]) == pytest.approx(audio * 2 * (1 + 2 * 4))
    last = [what for what, *_ in told if what.startswith("2 threads, batches of 3, pass 2")]
    assert len(last) == 2  # one block of each candidate


def test_a_batch_in_our_runtime_is_the_utterances(tone_bundle: Path, say: Say) -> None:
    candidate = BundleCandidate(open_bundle(tone_bundle), "fp32")
    candidate.load()
    waveforms = [say(text) for text in TEXTS]
    assert candidate.recognise_batch(waveforms) == TEXTS == [candidate.recognise(w).text for w in waveforms]


def test_numbers_below_one_are_refused(references: list[Reference]) -> None:
    with pytest.raises(BenchError, match="threads and batches must be 1 or more"):
        run_bench([Listener()], references, batches=(0,))
    with pytest.raises(BenchError, match="threads and batches must be 1 or more"):
        run_bench([Listener()], references, threads=(1, -1))
