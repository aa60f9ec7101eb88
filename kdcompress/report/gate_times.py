"""How far the time of a candidate may be compared between two runs."""

import math
from dataclasses import dataclass, field

from kdcompress.report.measured import Spread
from kdcompress.report.record import CandidateResult, Report

FEWEST_REPEATS = 5
"""Timed passes below which an interval says nothing: the extremes of 5 cover the median 15 times of 16."""


@dataclass(frozen=True)
class TimeChange:
    """Time here / time in the baseline, with its interval."""

    value: float
    low: float
    high: float


@dataclass
class TimeComparison:
    """The rules under which times of two runs may be compared.

    Seconds of two runs are not comparable: machines differ, and the same machine differs from one hour to
    the next. What is compared is the time of a candidate relative to the reference candidate of its own run,
    measured in the same passes. That is sound if the reference candidate is the same in both runs (name,
    bytes, provider, threads), and shows a change of the candidate if nothing changed the reference: a library
    that slows both goes unseen. So let the reference be one that does not run through what is tested, such as
    the teacher or a foreign runtime. The reference itself is then not judged. On another kind of machine
    (CPU, usable cores, GPU) the relation itself may be another one: a note tells.

    Where there is no such reference, seconds are compared, if both runs had the same kind of machine. The
    interval then covers the scatter within the runs, not that between them: a note says so. On machines of
    different kinds nothing is judged then.

    The interval of the change joins the intervals of both runs on the logarithmic scale. Source: Zou and
    Donner, Construction of confidence limits about effect measures (2008): MOVER for two independent
    estimates. Within a run it is the paired bootstrap; for reports of schema 1, which do not have it, and for
    seconds, the extremes of the passes.

    Attributes:
        names: candidates that neither report lacks.
        notes: how to read the changes.
    """

    report: Report
    baseline: Report
    names: list[str]
    notes: list[str] = field(default_factory=list)
    _reference: str | None = None
    _unlike: str = ""

    def __post_init__(self) -> None:
        report, baseline = self.report, self.baseline
        if not any(_timed(report, name) and _timed(baseline, name) for name in self.names):
            return
        reference, other = report.settings.reference, baseline.settings.reference
        alike = _alike(report, baseline)
        if reference != other:
            self._unlike = f"the reference candidate is {reference!r} here, {other!r} in the baseline"
        elif reference not in self.names:
            self._unlike = f"the reference candidate {reference!r} is not in both reports"
        elif len(self.names) == 1:
            self._unlike = "there is no reference candidate beside it"
        else:
            self._unlike = _unlike(report.result(reference), baseline.result(reference), model=True)
        if not self._unlike:
            self._reference = reference
            self.notes.append(f"times are relative to {reference}, which is taken not to have changed")
            if not alike:
                self.notes.append("the machines differ, and the relation of two times may differ with them")
        elif alike:
            self.notes.append(
                f"times are compared in seconds, since {self._unlike}: the interval leaves out that the same "
                "machine is faster in one run than in another"
            )

    def change(self, name: str) -> TimeChange | str:
        """Return the change of a candidate's time, or why it cannot be told."""
        new, old = self.report.result(name), self.baseline.result(name)
        if new is None or old is None or new.timing is None or old.timing is None:
            return "one of the reports has no times"
        fewest = min(new.timing.rtf.repeats, old.timing.rtf.repeats)
        if fewest < FEWEST_REPEATS:
            return f"{fewest} timed passes give no interval; measure with --repeats {FEWEST_REPEATS} or more"
        if name == self._reference:
            return "it is what the others are compared with"
        if difference := _unlike(new, old, model=False):
            return difference
        if self._reference is not None:
            pair = _relative(self.report, new), _relative(self.baseline, old)
        elif not _alike(self.report, self.baseline):
            return f"the machines differ, and {self._unlike}"
        else:
            pair = _seconds(new), _seconds(old)
        now, before = pair
        if now is None or before is None:
            return "it was not timed against the reference candidate"
        return _joined(now, before)


def _alike(report: Report, baseline: Report) -> bool:
    ours, theirs = report.machine, baseline.machine
    return ours is not None and theirs is not None and ours.is_like(theirs)


def _timed(report: Report, name: str) -> bool:
    result = report.result(name)
    return result is not None and result.timing is not None


def _unlike(new: CandidateResult | None, old: CandidateResult | None, *, model: bool) -> str:
    """Say in what respect a candidate is not the same in both runs; empty where it is."""
    if new is None or old is None or new.facts is None or old.facts is None:
        return "nothing is known about where it ran"
    pairs = {
        "provider": (new.facts.provider, old.facts.provider),
        "threads": (new.facts.threads, old.facts.threads),
    }
    if model:
        pairs["bytes"] = (new.bytes, old.bytes)
    for what, (here, there) in pairs.items():
        if here != there:
            return f"{new.name} has {what} {here} here, {there} in the baseline"
    return ""


def _relative(report: Report, result: CandidateResult) -> TimeChange | None:
    """Return the time of a candidate over that of its run's reference."""
    for one in report.differences:
        if (one.candidate, one.baseline, one.measure) == (result.name, report.settings.reference, "rtf"):
            return TimeChange(one.value, one.low, one.high)
    speed = result.timing.speed if result.timing else None
    return _change(speed.inverse()) if speed else None


def _seconds(result: CandidateResult) -> TimeChange | None:
    return _change(result.timing.rtf) if result.timing else None


def _change(spread: Spread) -> TimeChange:
    return TimeChange(spread.median, spread.low, spread.high)


def _joined(now: TimeChange, before: TimeChange) -> TimeChange:
    """Divide two independent estimates."""
    (n, n_low, n_high), (b, b_low, b_high) = (
        tuple(map(math.log, (one.value, one.low, one.high))) for one in (now, before)
    )
    change = n - b
    below = math.hypot(n - n_low, b_high - b)
    above = math.hypot(n_high - n, b - b_low)
    return TimeChange(math.exp(change), math.exp(change - below), math.exp(change + above))
