"""A report's JSON as its renderers see it: what is missing, or is not what it should be, is None.

Reports of schema 1 and 2 are read, whole or edited by hand; nothing here raises for a key that is not there.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from kdcompress.errors import BenchError

KIND = "kdcompress-bench"
NEWEST = 2
"""The newest schema that the renderers know all keys of."""


def read_json(path: Path) -> Any:
    """Read the JSON of a report.

    Raises:
        BenchError: there is no such file, or it is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BenchError(f"cannot read the report {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise BenchError(f"{path} is not JSON: expected what `kdcompress bench --json` writes") from error


@dataclass(frozen=True)
class Estimate:
    """A figure with what it may have been: a bootstrap interval, or the extremes over the repeats."""

    value: float
    low: float | None = None
    high: float | None = None

    def scaled(self, factor: float) -> "Estimate":
        """Return it in another unit."""
        low, high = (None if bound is None else bound * factor for bound in (self.low, self.high))
        return Estimate(self.value * factor, low, high)


def lookup(data: object, *keys: str) -> Any:
    """Follow keys into nested objects; None where one is missing."""
    for key in keys:
        if not isinstance(data, Mapping):
            return None
        data = data.get(key)
    return data


def number(data: object, *keys: str) -> float | None:
    """Return a finite number, or None."""
    found = lookup(data, *keys)
    if isinstance(found, bool) or not isinstance(found, int | float) or not math.isfinite(found):
        return None
    return float(found)


def text(data: object, *keys: str) -> str:
    """Return a string; "" for what is missing, and what else there is as Python writes it."""
    found = lookup(data, *keys)
    return "" if found is None else str(found)


def records(data: object, *keys: str) -> Sequence[Mapping[str, Any]]:
    """Return the objects of a list; none where there is no list."""
    found = lookup(data, *keys)
    return [item for item in found if isinstance(item, Mapping)] if isinstance(found, list | tuple) else []


def mapping(data: object, *keys: str) -> Mapping[str, Any]:
    """Return an object; an empty one where there is none."""
    found = lookup(data, *keys)
    return found if isinstance(found, Mapping) else {}


def estimate(data: object, *keys: str) -> Estimate | None:
    """Return an error rate (`rate`), a spread (`median`) or a difference (`value`) with its bounds."""
    found = lookup(data, *keys)
    for name in ("rate", "median", "value"):
        if (value := number(found, name)) is not None:
            return Estimate(value, number(found, "low"), number(found, "high"))
    return None


@dataclass(frozen=True, eq=False)
class Entry:
    """One candidate.

    Attributes:
        index: its place in the report, which is also its colour and its mark on every plot.
        data: its JSON.
    """

    index: int
    name: str
    data: Mapping[str, Any]

    @property
    def failed(self) -> str:
        """Why it was not timed; "" where all went well."""
        return text(self.data, "failed")

    @property
    def wer(self) -> Estimate | None:
        """Word errors per reference word; None where it failed or nothing was said in the references."""
        return estimate(self.data, "accuracy", "wer")

    @property
    def rtf(self) -> Estimate | None:
        """Processing time / audio time, end to end."""
        return estimate(self.data, "timing", "rtf")

    @property
    def bytes(self) -> float | None:
        """Size on disk."""
        return number(self.data, "bytes")

    @property
    def hypotheses(self) -> Mapping[str, str]:
        """Raw text by utterance id."""
        return {id_: str(said) for id_, said in mapping(self.data, "hypotheses").items()}

    @property
    def notes(self) -> list[str]:
        """What makes its figures doubtful."""
        notes = lookup(self.data, "facts", "notes")
        found = [str(note) for note in notes] if isinstance(notes, list | tuple) else []
        bimodal = text(self.data, "timing", "bimodal")
        return [*found, bimodal] if bimodal else found


class ReportView:
    """A whole report."""

    def __init__(self, data: object) -> None:
        """Look at a report's JSON.

        Raises:
            BenchError: it is no report of `kdcompress bench`, or holds no candidates.
        """
        if text(data, "kind") != KIND or not isinstance(data, Mapping):
            raise BenchError(
                f"not a report: expected what `kdcompress bench --json` writes, with kind {KIND!r}"
            )
        self.data: Mapping[str, Any] = data
        self.entries = tuple(
            Entry(index, text(found, "name") or f"candidate {index + 1}", found)
            for index, found in enumerate(records(data, "results"))
        )
        if not self.entries:
            raise BenchError("the report has no results: measure something first")

    @property
    def measured(self) -> list[Entry]:
        """The candidates that did not fail."""
        return [entry for entry in self.entries if not entry.failed]

    @property
    def failed(self) -> list[Entry]:
        """The candidates that did."""
        return [entry for entry in self.entries if entry.failed]

    @property
    def reference(self) -> str:
        """The candidate that others are compared with."""
        return text(self.data, "settings", "reference")

    @property
    def source(self) -> str:
        """The manifest, as it was named."""
        return text(self.data, "settings", "source")

    @property
    def newer(self) -> bool:
        """Whether it may hold what is not rendered."""
        return (number(self.data, "schema") or 0) > NEWEST

    @cached_property
    def utterances(self) -> Mapping[str, Mapping[str, Any]]:
        """What was to be heard, by id."""
        return {text(found, "id"): found for found in records(self.data, "utterances")}

    @cached_property
    def agreement_with(self) -> str:
        """The candidate whose transcripts stand in for references; "" where there are references."""
        if any(entry.wer for entry in self.entries):
            return ""
        named = [text(entry.data, "agreement", "reference") for entry in self.measured]
        return next((name for name in named if name), "")

    def plot_name(self, entry: Entry) -> str:
        """Return a candidate's name without the words that all names begin with: plots are narrow."""
        return " ".join(entry.name.split()[self._shared :])

    @cached_property
    def _shared(self) -> int:
        words = [entry.name.split() for entry in self.measured]
        if len(words) < 2:
            return 0
        # At least one word of each stays.
        columns = list(zip(*(name[:-1] for name in words), strict=False))
        return next((at for at, column in enumerate(columns) if len(set(column)) > 1), len(columns))

    def error(self, entry: Entry) -> Estimate | None:
        """Return the word error rate or, without references, the rate against the chosen system."""
        return estimate(entry.data, "agreement", "wer") if self.agreement_with else entry.wer

    def differences(self) -> Iterator[tuple[str, str, str, Estimate, float | None]]:
        """Yield candidate, baseline, measure, the paired difference, and its p-value."""
        for found in records(self.data, "differences"):
            if (value := estimate(found)) is not None:
                names = (text(found, key) for key in ("candidate", "baseline", "measure"))
                candidate, baseline, measure = names
                yield candidate, baseline, measure, value, number(found, "p")
