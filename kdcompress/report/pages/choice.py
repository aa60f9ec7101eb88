"""Which model to take: nearly as accurate as the best one, as fast and as small as possible.

N utterances.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from kdcompress.report.pages.alignment import Alignments
from kdcompress.report.pages.view import Entry, Estimate, ReportView, text

_Z = 1.96  # of a 95 % interval
# A small test set cannot tell a bad model from a good one: beyond this none is "about as accurate", whatever
# its interval says. Share of the best one's errors, and errors per word.
_CLOSE_SHARE, _CLOSE = 0.10, 0.005

RULE = (
    "The pick is the fastest of the models that are about as accurate as the best one: their errors exceed "
    "its own by no more than chance explains (paired over utterances, 95 %), and by no more than a tenth or "
    "half an error in 100 words. Of models that are equally fast it is the smallest. Models that need "
    "PyTorch are picked only where there are no others."
)


@dataclass(frozen=True)
class Choice:
    """The models that stand out; None where no figure tells.

    Attributes:
        best: with the fewest errors of all.
        candidate: with the fewest errors of those that can be picked; often the best one itself.
        pick: the one to take; None where there is no choice.
    """

    best: Entry | None
    candidate: Entry | None
    fastest: Entry | None
    smallest: Entry | None
    pick: Entry | None


def choose(report: ReportView, alignments: Alignments) -> Choice:
    """Find the most accurate, the fastest, the smallest, and the one to take."""
    light = [entry for entry in report.measured if not needs_torch(entry)] or report.measured
    candidate = _lowest(light, lambda entry: _value(report.error(entry)))
    free = len(report.measured) > 1 and not report.agreement_with
    return Choice(
        best=_lowest(report.measured, lambda entry: _value(report.error(entry))),
        candidate=candidate,
        fastest=_lowest(report.measured, lambda entry: _value(entry.rtf)),
        smallest=_lowest(report.measured, lambda entry: entry.bytes),
        pick=_pick(report, alignments, light, candidate) if free and candidate is not None else None,
    )


def needs_torch(entry: Entry) -> bool:
    """Whether a candidate ran in PyTorch."""
    runtime = text(entry.data, "facts", "runtime_name") or text(entry.data, "facts", "runtime")
    return runtime.split(" ")[0] in {"torch", "pytorch", "transformers", "torchaudio"}


def increase(alignments: Alignments, entry: Entry, over: Entry) -> Estimate | None:
    """Return how many more errors per word one candidate makes than another, paired over utterances.

    The interval is the normal approximation for a ratio of two sums over N utterances, linearised (Cochran,
    Sampling Techniques, 1977, section 2.11): good enough for a choice, and instant.
    """
    ours, theirs = alignments.of.get(entry.index), alignments.of.get(over.index)
    shared = [id_ for id_ in ours if id_ in theirs] if ours and theirs else []
    if not ours or not theirs or not shared:
        return None
    more = np.array([ours[id_].errors - theirs[id_].errors for id_ in shared], np.float64)
    words = np.array([ours[id_].said for id_ in shared], np.float64)
    total = float(words.sum())
    if not total:
        return None
    value = float(more.sum()) / total
    error = math.sqrt(len(shared) * float(np.var(more - value * words))) / total
    return Estimate(value, value - _Z * error, value + _Z * error)


def _value(found: Estimate | None) -> float | None:
    return None if found is None else found.value


def _lowest(entries: Sequence[Entry], figure: Callable[[Entry], float | None]) -> Entry | None:
    known = [(value, entry.index, entry) for entry in entries if (value := figure(entry)) is not None]
    return min(known)[2] if known else None


def _pick(report: ReportView, alignments: Alignments, among: Sequence[Entry], best: Entry) -> Entry:
    close = [entry for entry in among if entry is best or _close(report, alignments, entry, best)]
    known = [(entry.rtf, entry) for entry in close]
    timed = [(rtf, entry) for rtf, entry in known if rtf is not None]
    if not timed:
        return _lowest(close, lambda entry: entry.bytes) or best
    quickest = min((rtf for rtf, _ in timed), key=lambda rtf: rtf.value)
    slowest = quickest.value if quickest.high is None else quickest.high
    level = [entry for rtf, entry in timed if (rtf.value if rtf.low is None else rtf.low) <= slowest]
    return min(level, key=lambda entry: (entry.bytes or math.inf, _value(entry.rtf) or 0.0, entry.index))


def _close(report: ReportView, alignments: Alignments, entry: Entry, best: Entry) -> bool:
    error, least = report.error(entry), report.error(best)
    more = increase(alignments, entry, best)
    if error is None or least is None or more is None or more.low is None:
        return False
    return more.low <= 0 and error.value - least.value <= max(_CLOSE_SHARE * least.value, _CLOSE)
