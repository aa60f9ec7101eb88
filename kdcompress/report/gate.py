"""Hold a report against an earlier one: what a pipeline lets pass, and what it stops.

A limit is broken only where the 95 % interval of the change lies beyond it altogether: chance alone stops
at most one candidate in forty of those that lose just what is allowed, and far fewer that lose nothing. The
price: a small test set, or a noisy machine, lets a small loss through. The interval in each sentence says how
small a change could have been seen.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from kdcompress.errors import BenchError
from kdcompress.report.accuracy import word_errors
from kdcompress.report.differences import paired_errors
from kdcompress.report.gate_times import TimeChange, TimeComparison
from kdcompress.report.live import Streaming, delay_change
from kdcompress.report.record import CandidateResult, ReferenceText, Report
from kdcompress.report.scored import Finding, Verdict
from kdcompress.text.normalize import normalize

_SAME_LENGTH = 0.05  # [s] decoders differ in the last milliseconds of lossy formats
_ALLOWED = {
    "wer": "at most {:+.2f} points allowed",
    "rtf": "at most {:.2f} allowed",
    "delay": "at most {:+.3f} s allowed",
}
_LEAST_SHARED = 0.5  # of either report's utterances


@dataclass(frozen=True)
class Limits:
    """What a candidate may lose; None does not look.

    Attributes:
        wer_increase: points of word error rate: 0.2 lets 5.0 % become 5.2 %.
        rtf_ratio: times as long as the baseline.
        delay_increase: of words, while somebody speaks [s].
    """

    wer_increase: float | None = None
    rtf_ratio: float | None = None
    delay_increase: float | None = None


def judge(report: Report, baseline: Report, limits: Limits) -> Verdict:
    """Compare the candidates of two reports that have the same names.

    A candidate of the baseline that is missing from the report, or failed there, breaks the gate.

    Word errors are counted anew from the raw hypotheses of both reports, with the normaliser and the
    references of the first, and compared pair by pair on the utterances that both have (same id and length).
    Times are compared as `TimeComparison` says.

    Raises:
        BenchError: a limit was set and there is no candidate that it could be judged for.
    """
    findings, notes, both = _presence(report, baseline)
    measures: tuple[tuple[_Compare, float | None, str], ...] = (
        (_word_errors, limits.wer_increase, "--max-wer-increase"),
        (_times, limits.rtf_ratio, "--max-rtf-ratio"),
        (_delays, limits.delay_increase, "--max-delay-increase"),
    )
    for compare, limit, option in measures:
        found, remarks = compare(report, baseline, both, limit)
        if not found and limit is None:
            continue  # why something cannot be told interests only who asked for it
        findings, notes = findings + found, notes + remarks
        if limit is not None and not found and not any(finding.broken for finding in findings):
            reason = "; ".join(remarks) or "no candidate is in both reports"
            raise BenchError(f"{option} cannot be judged: {reason}")
    broken = any(finding.broken for finding in findings)
    return Verdict(broken=broken, findings=tuple(findings), notes=tuple(notes))


_Findings: TypeAlias = tuple[list[Finding], list[str]]
_Compare: TypeAlias = Callable[[Report, Report, list[str], float | None], _Findings]


def _presence(report: Report, baseline: Report) -> tuple[list[Finding], list[str], list[str]]:
    """Find who can be compared; third, their names."""
    broken, notes, both = [], [], []
    for old in baseline.results:
        new = report.result(old.name)
        if new is None:
            there = ", ".join(result.name for result in report.results) or "none"
            broken.append(_absent(old, f"is in the baseline, but not in this report, which has {there}"))
        elif new.failed:
            broken.append(_absent(old, f"failed: {new.failed}"))
        elif old.failed:
            notes.append(f"{old.name} failed in the baseline: there is nothing to compare it with")
        else:
            both.append(old.name)
    known = {old.name for old in baseline.results}
    notes += [f"{new.name} is not in the baseline" for new in report.results if new.name not in known]
    return broken, notes, both


def _absent(result: CandidateResult, what: str) -> Finding:
    return Finding(candidate=result.name, measure="presence", broken=True, sentence=f"{result.name} {what}")


def _word_errors(report: Report, baseline: Report, names: list[str], limit: float | None) -> _Findings:
    if not names:
        return [], []
    if all(utterance.reference is None for utterance in report.utterances):
        return [], ["without references there are no word errors to compare"]
    shared = list(_shared(report, baseline))
    ids = [utterance.id for utterance in shared]
    whole = min(len(report.utterances), len(baseline.utterances))
    if len(shared) < max(1, _LEAST_SHARED * whole):
        return [], [
            f"the reports share {len(shared)} of {len(report.utterances)} and {len(baseline.utterances)} "
            "utterances (same id and length), and word error rates of different speech cannot be compared"
        ]
    notes = []
    if len(shared) < max(len(report.utterances), len(baseline.utterances)):
        notes.append(f"word errors are compared on the {len(shared)} utterances that both reports have")
    normalizer, seed = report.settings.normalizer, report.settings.seed
    if normalizer != baseline.settings.normalizer:
        notes.append(f"word errors of both are counted with the normaliser {normalizer}, this report's")
    before_now = {utterance.id: utterance.reference for utterance in baseline.utterances}
    if any(before_now[utterance.id] != utterance.reference for utterance in shared):
        notes.append("some references were changed since: both are scored with those of this report")
    references = [normalize(utterance.reference or "", normalizer) for utterance in shared]
    if not any(text.split() for text in references):
        return [], ["the references that both reports have hold no words"]
    findings = []
    for name in names:
        new, old = (
            word_errors(references, [normalize(texts[id_], normalizer) for id_ in ids])
            for texts in (_hypotheses(report, name), _hypotheses(baseline, name))
        )
        change = paired_errors(new, old, seed=seed)
        value, low, high = (100 * part for part in (change.value, change.low, change.high))
        before, after = (100 * one.total.sum() / one.reference.sum() for one in (old, new))
        sentence = (
            f"{name}: WER {before:.2f} % in the baseline, {after:.2f} % here: {value:+.2f} points "
            f"[{low:+.2f}, {high:+.2f}]"
        )
        findings.append(_held(name, "wer", sentence, (value, low, high), limit))
    return findings, notes


def _shared(report: Report, baseline: Report) -> Iterator[ReferenceText]:
    lengths = {utterance.id: utterance.duration for utterance in baseline.utterances}
    for utterance in report.utterances:
        if abs(lengths.get(utterance.id, float("inf")) - utterance.duration) <= _SAME_LENGTH:
            yield utterance


def _times(report: Report, baseline: Report, names: list[str], limit: float | None) -> _Findings:
    comparison = TimeComparison(report, baseline, names)
    findings, notes = [], list(comparison.notes)
    for name in names:
        change = comparison.change(name)
        if isinstance(change, TimeChange):
            sentence = (
                f"{name}: {change.value:.3f} times the baseline's time [{change.low:.3f}, {change.high:.3f}]"
            )
            findings.append(_held(name, "rtf", sentence, (change.value, change.low, change.high), limit))
        else:
            notes.append(f"the time of {name} is not judged: {change}")
    return findings, notes


def _delays(report: Report, baseline: Report, names: list[str], limit: float | None) -> _Findings:
    findings, notes = [], []
    for name in names:
        new, old = (_streaming(one, name) for one in (report, baseline))
        change = delay_change(new, old, seed=report.settings.seed)
        if change is None:
            notes.append(f"the delay of {name} is not in both reports: measure with --streams")
            continue
        value, low, high = (1000 * part for part in (change.value, change.low, change.high))
        sentence = (
            f"{name}: words are shown {value:+.0f} ms later than in the baseline [{low:+.0f}, {high:+.0f}]"
        )
        findings.append(_held(name, "delay", sentence, (change.value, change.low, change.high), limit))
    return findings, notes


def _streaming(report: Report, name: str) -> Streaming | None:
    result = report.result(name)
    return result.streaming if result else None


def _hypotheses(report: Report, name: str) -> Mapping[str, str]:
    result = report.result(name)
    return result.hypotheses if result else {}


def _held(
    name: str,
    measure: Literal["wer", "rtf", "delay"],
    sentence: str,
    change: tuple[float, float, float],
    limit: float | None,
) -> Finding:
    value, low, high = change
    broken = limit is not None and low > limit
    if limit is not None:
        sentence += ", " + _ALLOWED[measure].format(limit)
        if value > limit and not broken:
            sentence += "; above it, but chance may explain that"
    return Finding(
        candidate=name,
        measure=measure,
        broken=broken,
        sentence=sentence,
        value=value,
        low=low,
        high=high,
        limit=limit,
    )
