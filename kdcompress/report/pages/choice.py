"""Which model to take: nearly as accurate as the best one, as fast and as small as possible.

N utterances.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from kdcompress.report.measured import Estimate
from kdcompress.report.pages.alignment import Alignments
from kdcompress.report.record import CandidateResult, Report

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

    best: CandidateResult | None
    candidate: CandidateResult | None
    fastest: CandidateResult | None
    smallest: CandidateResult | None
    pick: CandidateResult | None


def choose(report: Report, alignments: Alignments) -> Choice:
    """Find the most accurate, the fastest, the smallest, and the one to take."""
    light = [result for result in report.measured if not needs_torch(result)] or report.measured
    candidate = _lowest(light, lambda result: _value(error_estimate(report, result)))
    free = len(report.measured) > 1 and not report.stand_in
    return Choice(
        best=_lowest(report.measured, lambda result: _value(error_estimate(report, result))),
        candidate=candidate,
        fastest=_lowest(report.measured, lambda result: _value(result.rtf)),
        smallest=_lowest(report.measured, lambda result: result.bytes),
        pick=_pick(report, alignments, light, candidate) if free and candidate is not None else None,
    )


def needs_torch(result: CandidateResult) -> bool:
    """Whether a candidate ran in PyTorch."""
    runtime = (result.facts.runtime_name or result.facts.runtime) if result.facts else ""
    return runtime.split(" ")[0] in {"torch", "pytorch", "transformers", "torchaudio"}


def increase(alignments: Alignments, result: CandidateResult, over: CandidateResult) -> Estimate | None:
    """Return how many more errors per word one candidate makes than another, paired over utterances.

    The interval is the normal approximation for a ratio of two sums over N utterances, linearised (Cochran,
    Sampling Techniques, 1977, section 2.11): good enough for a choice, and instant.
    """
    ours, theirs = alignments.of.get(result.name), alignments.of.get(over.name)
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


def error_estimate(report: Report, result: CandidateResult) -> Estimate | None:
    """Return a candidate's error rate, against references or what stands in for them."""
    rate = report.error(result)
    return rate.estimate if rate else None


def _value(found: Estimate | None) -> float | None:
    return None if found is None else found.value


def _lowest(
    results: Sequence[CandidateResult], figure: Callable[[CandidateResult], float | None]
) -> CandidateResult | None:
    known = [
        (value, at, result) for at, result in enumerate(results) if (value := figure(result)) is not None
    ]
    return min(known, key=lambda one: one[:2])[2] if known else None


def _pick(
    report: Report, alignments: Alignments, among: Sequence[CandidateResult], best: CandidateResult
) -> CandidateResult:
    close = [result for result in among if result is best or _close(report, alignments, result, best)]
    known = [(result.rtf, result) for result in close]
    timed = [(rtf, result) for rtf, result in known if rtf is not None]
    if not timed:
        return _lowest(close, lambda result: result.bytes) or best
    quickest = min((rtf for rtf, _ in timed), key=lambda rtf: rtf.value)
    slowest = quickest.value if quickest.high is None else quickest.high
    level = [result for rtf, result in timed if (rtf.value if rtf.low is None else rtf.low) <= slowest]
    return min(level, key=lambda result: (result.bytes or math.inf, _value(result.rtf) or 0.0))


def _close(report: Report, alignments: Alignments, result: CandidateResult, best: CandidateResult) -> bool:
    error, least = error_estimate(report, result), error_estimate(report, best)
    more = increase(alignments, result, best)
    if error is None or least is None or more is None or more.low is None:
        return False
    return more.low <= 0 and error.value - least.value <= max(_CLOSE_SHARE * least.value, _CLOSE)
