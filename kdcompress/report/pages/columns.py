"""What each column of a report's tables holds, for one candidate."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from kdcompress.report.pages.figures import NONE, count, percent, significant
from kdcompress.report.pages.view import Entry, Estimate, estimate, mapping, number, text


@dataclass(frozen=True, slots=True)
class Cell:
    """What stands in a table.

    Attributes:
        shown: the figure.
        range: its interval or extremes.
        order: what a table is sorted by; None sorts last.
        numeric: stands right-aligned.
        entry: the candidate that a name belongs to.
    """

    shown: str
    range: str = ""
    order: float | str | None = None
    numeric: bool = True
    entry: Entry | None = None


@dataclass(frozen=True, slots=True)
class Column:
    """A heading and, for who does not know the term, what it means."""

    title: str
    meaning: str = ""
    numeric: bool = True


Figure: TypeAlias = tuple[Column, Callable[[Entry], Cell]]
EMPTY = Cell(NONE)


def named(entry: Entry) -> Cell:
    """Return the cell that names a candidate."""
    return Cell(entry.name, "failed" if entry.failed else "", entry.name.casefold(), False, entry)


def words(said: str) -> Cell:
    """Return a cell of text."""
    return Cell(said or NONE, "", said.casefold() or None, False)


def bounds(found: Estimate, write: Callable[[float | None], str]) -> str:
    if found.low is None or found.high is None:
        return ""
    return f"{write(found.low)} to {write(found.high)}"


def _rate(*keys: str) -> Callable[[Entry], Cell]:
    def cell(entry: Entry) -> Cell:
        found = estimate(entry.data, *keys)
        if found is None:
            return EMPTY
        return Cell(percent(found.value), bounds(found, lambda rate: percent(rate, 1)), found.value)

    return cell


def _spread(*keys: str, suffix: str = "", factor: float = 1) -> Callable[[Entry], Cell]:
    def cell(entry: Entry) -> Cell:
        found = estimate(entry.data, *keys)
        if found is None:
            return EMPTY
        found = found.scaled(factor)
        return Cell(significant(found.value) + suffix, bounds(found, significant), found.value)

    return cell


def _scaled(factor: float, *keys: str) -> Callable[[Entry], Cell]:
    def cell(entry: Entry) -> Cell:
        value = number(entry.data, *keys)
        return EMPTY if value is None else Cell(significant(value * factor), "", value)

    return cell


def _whole(*keys: str) -> Callable[[Entry], Cell]:
    def cell(entry: Entry) -> Cell:
        value = number(entry.data, *keys)
        return EMPTY if value is None else Cell(count(value), "", value)

    return cell


def _text(*keys: str) -> Callable[[Entry], Cell]:
    return lambda entry: words(text(entry.data, *keys))


def _pairs(*keys: str) -> Callable[[Entry], Cell]:
    return lambda entry: words(", ".join(f"{k} {v}" for k, v in mapping(entry.data, *keys).items()))


def _rtfx(entry: Entry) -> Cell:
    found = estimate(entry.data, "timing", "rtfx")
    if found is None and (rtf := entry.rtf) is not None and rtf.value > 0:
        low, high = (1 / bound if bound else None for bound in (rtf.high, rtf.low))
        found = Estimate(1 / rtf.value, low, high)
    return EMPTY if found is None else Cell(significant(found.value), bounds(found, significant), found.value)


_INTERVAL = "with the bootstrap's 95 % interval over utterances"
ACCURACY: list[Figure] = [
    (Column("WER %", f"word errors in 100 reference words, {_INTERVAL}"), _rate("accuracy", "wer")),
    (Column("CER %", f"character errors in 100, {_INTERVAL}"), _rate("accuracy", "cer")),
    (Column("substituted", "words heard as others"), _whole("accuracy", "wer", "substitutions")),
    (Column("inserted", "words heard that were not said"), _whole("accuracy", "wer", "insertions")),
    (Column("deleted", "words said that were not heard"), _whole("accuracy", "wer", "deletions")),
    (Column("reference words", "words in the references"), _whole("accuracy", "wer", "reference")),
    (
        Column("in silence, words/min", "words printed per minute of audio in which nothing is said"),
        _scaled(1, "non_speech", "per_minute"),
    ),
    (Column("disagrees %", "word differences from the compared system"), _rate("agreement", "wer")),
    (Column("same %", "transcripts equal to the compared system's"), _scaled(100, "agreement", "same")),
]
SPEED: list[Figure] = [
    (Column("RTF", "processing time / audio time, end to end; least and most of the passes"),
     _spread("timing", "rtf")),
    (Column("RTFx", "how many times faster than real time"), _rtfx),
    (Column("speed", "times faster than the reference model, pass by pass"),
     _spread("timing", "speed", suffix="×")),
    (Column("model s/h", "seconds that the model alone takes per hour of audio"),
     _spread("timing", "model_rtf", factor=3600)),
    (Column("features s/h", "the same for features"), _scaled(3600, "timing", "features_rtf", "median")),
    (Column("decoding s/h", "the same for CTC decoding"), _scaled(3600, "timing", "decoding_rtf", "median")),
    (Column("p50 ms", "half of the utterances took less"), _scaled(1e3, "timing", "latency", "p50")),
    (Column("p90 ms", "nine in ten took less"), _scaled(1e3, "timing", "latency", "p90")),
    (Column("p99 ms", "99 in 100 took less"), _scaled(1e3, "timing", "latency", "p99")),
    (Column("first result ms", "opening the model and hearing the first utterance, nothing warmed up"),
     _scaled(1e3, "timing", "first_result_seconds")),
    (Column("load ms", "opening the model"), _scaled(1e3, "timing", "load_seconds")),
    (Column("CPU s/h", "CPU seconds per hour of audio"), _scaled(1, "timing", "cpu_seconds_per_hour")),
    (Column("cores busy", "CPU time / wall time"), _scaled(1, "timing", "cores_busy")),
]  # fmt: skip
SIZE: list[Figure] = [
    (Column("MB", "what must be shipped"), _scaled(1e-6, "bytes")),
    (Column("parameters, M", "weights in millions"), _scaled(1e-6, "parameters")),
    (Column("peak memory, MB", "most that a process of its own held"),
     _scaled(1e-6, "memory", "peak_rss_bytes")),
    (Column("model memory, MB", "what loading the model added"), _scaled(1e-6, "memory", "model_rss_bytes")),
    (Column("GPU memory, MB", "on the device"), _scaled(1e-6, "memory", "gpu_bytes")),
]  # fmt: skip
RUNTIME: list[Figure] = [
    (Column("runtime", numeric=False), _text("facts", "runtime")),
    (Column("on", "the device", numeric=False), _text("facts", "provider")),
    (Column("threads"), _whole("facts", "threads")),
    (Column("precision", numeric=False), _text("facts", "precision")),
    (Column("nodes", "operators that each execution provider ran", numeric=False), _pairs("facts", "nodes")),
    (Column("session options", numeric=False), _pairs("facts", "options")),
]
