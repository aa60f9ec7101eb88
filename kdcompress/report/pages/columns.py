"""What each column of a report's tables holds, for one candidate."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

from kdcompress.report.measured import Estimate, Facts, Spread, Timing
from kdcompress.report.pages.figures import NONE, count, percent, significant
from kdcompress.report.record import CandidateResult
from kdcompress.report.scored import ErrorRate


@dataclass(frozen=True, slots=True)
class Cell:
    """What stands in a table.

    Attributes:
        shown: the figure.
        range: its interval or extremes.
        order: what a table is sorted by; None sorts last.
        numeric: stands right-aligned.
        model: the name of the candidate that a row belongs to.
    """

    shown: str
    range: str = ""
    order: float | str | None = None
    numeric: bool = True
    model: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    """A heading and, for who does not know the term, what it means."""

    title: str
    meaning: str = ""
    numeric: bool = True


EMPTY = Cell(NONE)
MODEL = Column("model", numeric=False)


def named(result: CandidateResult) -> Cell:
    """Return the cell that names a candidate."""
    return Cell(result.name, "failed" if result.failed else "", result.name.casefold(), False, result.name)


def words(text: str) -> Cell:
    """Return a cell of text."""
    return Cell(text or NONE, "", text.casefold() or None, False)


def figure(value: float | None, factor: float = 1) -> Cell:
    """Return a cell of three digits; its order is the value before the factor."""
    return EMPTY if value is None else Cell(significant(value * factor), "", value)


def spread(found: Spread | None, suffix: str = "", factor: float = 1) -> Cell:
    """Return a cell of a quantity with its extremes."""
    if found is None:
        return EMPTY
    scaled = found.estimate.scaled(factor)
    return Cell(significant(scaled.value) + suffix, bounds(scaled, significant), scaled.value)


def bounds(found: Estimate, write: Callable[[float | None], str]) -> str:
    """Write an interval; "" where there is none."""
    return "" if found.low is None or found.high is None else f"{write(found.low)} to {write(found.high)}"


def _whole(value: int | None) -> Cell:
    return EMPTY if value is None else Cell(count(value), "", float(value))


def _rate(rate: ErrorRate | None) -> Cell:
    found = rate.estimate if rate else None
    if found is None:
        return EMPTY
    return Cell(percent(found.value), bounds(found, partial(percent, places=1)), found.value)


def _wer(write: Callable[[ErrorRate], Cell]) -> Callable[[CandidateResult], Cell]:
    return lambda result: write(result.accuracy.wer) if result.accuracy else EMPTY


def _timed(write: Callable[[Timing], Cell]) -> Callable[[CandidateResult], Cell]:
    return lambda result: write(result.timing) if result.timing else EMPTY


def _memory(name: str) -> Callable[[CandidateResult], Cell]:
    return lambda result: figure(getattr(result.memory, name), 1e-6) if result.memory else EMPTY


def _latency(name: str) -> Callable[[CandidateResult], Cell]:
    return _timed(lambda timing: figure(getattr(timing.latency, name), 1e3) if timing.latency else EMPTY)


def _fact(write: Callable[[Facts], Cell]) -> Callable[[CandidateResult], Cell]:
    return lambda result: write(result.facts) if result.facts else EMPTY


def _median(found: Spread | None) -> float | None:
    return found.median if found else None


Figure: TypeAlias = tuple[Column, Callable[[CandidateResult], Cell]]
_INTERVAL = "with the bootstrap's 95 % interval over utterances"
ACCURACY: list[Figure] = [
    (Column("WER %", f"word errors in 100 reference words, {_INTERVAL}"), _wer(_rate)),
    (Column("CER %", f"character errors in 100, {_INTERVAL}"),
     lambda result: _rate(result.accuracy.cer) if result.accuracy else EMPTY),
    (Column("substituted", "words recognised as others"), _wer(lambda wer: _whole(wer.substitutions))),
    (Column("inserted", "words recognised that were not said"), _wer(lambda wer: _whole(wer.insertions))),
    (Column("deleted", "words said that were not recognised"), _wer(lambda wer: _whole(wer.deletions))),
    (Column("reference words", "words in the references"), _wer(lambda wer: _whole(wer.reference))),
    (Column("in silence, words/min", "words printed per minute of audio in which nothing is said"),
     lambda result: figure(result.non_speech.per_minute) if result.non_speech else EMPTY),
    (Column("disagrees %", "word differences from the compared system"),
     lambda result: _rate(result.agreement.wer) if result.agreement else EMPTY),
    (Column("same %", "transcripts equal to the compared system's"),
     lambda result: figure(result.agreement.same, 100) if result.agreement else EMPTY),
]  # fmt: skip
SPEED: list[Figure] = [
    (Column("RTF", "processing time / audio time, end to end; least and most of the passes"),
     _timed(lambda t: spread(t.rtf))),
    (Column("RTFx", "how many times faster than real time"), _timed(lambda t: spread(t.rtfx))),
    (Column("speed", "times faster than the reference model, pass by pass"),
     _timed(lambda t: spread(t.speed, "×"))),
    (Column("model speed", "the same of the models alone, without features and decoding"),
     _timed(lambda t: spread(t.model_speed, "×"))),
    (Column("model s/h", "seconds that the model alone takes per hour of audio"),
     _timed(lambda t: spread(t.model_rtf, factor=3600))),
    (Column("features s/h", "the same for features"),
     _timed(lambda t: figure(_median(t.features_rtf), 3600))),
    (Column("decoding s/h", "the same for CTC decoding"),
     _timed(lambda t: figure(_median(t.decoding_rtf), 3600))),
    (Column("p50 ms", "half of the utterances took less"), _latency("p50")),
    (Column("p90 ms", "nine in ten took less"), _latency("p90")),
    (Column("p99 ms", "99 in 100 took less"), _latency("p99")),
    (Column("first result ms", "opening the model and decoding the first utterance, nothing warmed up"),
     _timed(lambda t: figure(t.first_result_seconds, 1e3))),
    (Column("load ms", "opening the model"), _timed(lambda t: figure(t.load_seconds, 1e3))),
    (Column("CPU s/h", "CPU seconds per hour of audio"), _timed(lambda t: figure(t.cpu_seconds_per_hour))),
    (Column("cores busy", "CPU time / wall time"), _timed(lambda t: figure(t.cores_busy))),
]  # fmt: skip
SIZE: list[Figure] = [
    (Column("MB", "graph with all weights, not the bundle"), lambda result: figure(result.bytes, 1e-6)),
    (Column("MB gzip'd", "what a download costs"), lambda result: figure(result.gzip_bytes, 1e-6)),
    (Column("parameters, M", "weights in millions"), lambda result: figure(result.parameters, 1e-6)),
    (Column("peak memory, MB", "most that a process of its own held"), _memory("peak_rss_bytes")),
    (Column("model memory, MB", "what loading the model added"), _memory("model_rss_bytes")),
    (Column("GPU memory, MB", "on the device"), _memory("gpu_bytes")),
]  # fmt: skip
RUNTIME: list[Figure] = [
    (Column("runtime", numeric=False), _fact(lambda f: words(f.runtime))),
    (Column("on", "the device", numeric=False), _fact(lambda f: words(f.provider))),
    (Column("threads"), _fact(lambda f: _whole(f.threads))),
    (Column("precision", numeric=False), _fact(lambda f: words(f.precision))),
    (Column("nodes", "operators that each execution provider ran", numeric=False),
     _fact(lambda f: words(", ".join(f"{k} {v}" for k, v in f.nodes.items())))),
    (Column("session options", numeric=False),
     _fact(lambda f: words(", ".join(f"{k} {v}" for k, v in f.options.items())))),
]  # fmt: skip
