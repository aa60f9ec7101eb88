"""What stress costs each model, against what it costs the reference candidate, and limits on that."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from kdcompress.errors import BenchError
from kdcompress.report.accuracy import Errors, word_errors
from kdcompress.report.bootstrap import Interval, difference
from kdcompress.report.measured import Estimate
from kdcompress.report.record import Report
from kdcompress.report.scored import Finding, Stressed, StressScore, Verdict
from kdcompress.text.normalize import normalize

Totals: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True)
class StressLimits:
    """What a candidate may lose under stress; None does not look.

    Attributes:
        ratio: times what the stress costs the reference candidate, in points of WER.
        characters: printed where nobody speaks, beyond those of the reference candidate.
    """

    ratio: float | None = None
    characters: int | None = None


@dataclass(frozen=True)
class _Costs:
    """Word errors of one candidate in each clip of a stress, and of the same utterances without it."""

    stressed: Errors
    plain: Totals

    @property
    def points(self) -> float:
        return float(100 * (self.stressed.total - self.plain).sum() / self.stressed.reference.sum())


def score_stresses(report: Report, references: Sequence[str], normalizer: str) -> tuple[Stressed, ...]:
    """Score the raw texts of every stress.

    Args:
        references: normalised, of all utterances.
    """
    return tuple(
        stressed.model_copy(
            update={
                "scores": tuple(
                    _scored(report, stressed, name, references, normalizer) for name in stressed.hypotheses
                )
            }
        )
        for stressed in report.stresses
    )


def judge_stress(report: Report, limits: StressLimits) -> Verdict:
    """Hold the candidates of a scored report against limits.

    A limit on costs is broken where the 95 % interval of what is beyond it lies above zero altogether. Where
    a stress costs the reference candidate nothing, a candidate may lose nothing either.

    Raises:
        BenchError: there is nothing that could be judged.
    """
    base = report.settings.reference
    others = [result.name for result in report.measured if result.name != base]
    if not report.stresses or not others:
        raise BenchError(
            "limits under stress need --stress and a candidate beside the reference, such as --teacher"
        )
    normalizer = report.settings.normalizer
    references = [normalize(utterance.reference or "", normalizer) for utterance in report.utterances]
    findings = []
    for stressed in report.stresses:
        theirs = stressed.score(base)
        for name in others:
            ours = stressed.score(name)
            if ours is None:
                text = f"{name} failed under the stress {stressed.name}"
                findings.append(Finding(candidate=name, measure="presence", broken=True, sentence=text))
            elif theirs is None:
                continue
            elif ours.characters is not None and limits.characters is not None:
                findings.append(_judge_characters(ours, theirs, limits.characters))
            elif ours.cost is not None and limits.ratio is not None:
                pair = [_costs(report, stressed, one, references, normalizer) for one in (name, base)]
                findings.append(
                    _judge_cost(stressed.name, (name, base), pair, limits.ratio, report.settings.seed)
                )
    return Verdict(broken=any(finding.broken for finding in findings), findings=tuple(findings))


def _judge_cost(
    stress: str, names: tuple[str, str], pair: Sequence[_Costs], ratio: float, seed: int
) -> Finding:
    ours, theirs = pair
    allowed = ratio if theirs.points > 0 else 0.0
    beyond = difference(
        (ours.stressed.total + allowed * theirs.plain)[None],
        (ours.plain + allowed * theirs.stressed.total)[None],
        ours.stressed.reference,
        seed=seed,
    )
    value, low, high = (100 * part for part in (beyond.value, beyond.low, beyond.high))
    sentence = (
        f"{names[0]}: {stress} costs {ours.points:+.2f} points of WER, {names[1]} {theirs.points:+.2f}; "
        f"at most {ratio:g} times that allowed, beyond it {value:+.2f} [{low:+.2f}, {high:+.2f}]"
    )
    if value > 0 >= low:
        sentence += "; chance may explain that"
    return Finding(
        candidate=names[0],
        measure="stress",
        broken=low > 0,
        sentence=sentence,
        value=value,
        low=low,
        high=high,
        limit=ratio,
    )


def _judge_characters(ours: StressScore, theirs: StressScore, limit: int) -> Finding:
    printed, base = ours.characters or 0, theirs.characters or 0
    return Finding(
        candidate=ours.candidate,
        measure="non-speech",
        broken=printed - base > limit,
        sentence=f"{ours.candidate}: {printed} characters where nobody speaks, {theirs.candidate} {base}; "
        f"at most {limit} more allowed",
        value=printed,
        limit=limit,
    )


def _scored(
    report: Report, stressed: Stressed, name: str, references: Sequence[str], normalizer: str
) -> StressScore:
    known = {utterance.id for utterance in report.utterances}
    if not all(id_ in known for group in stressed.groups for id_ in group):
        texts = [normalize(text, normalizer).strip() for text in stressed.hypotheses[name]]
        return StressScore(candidate=name, characters=sum(map(len, texts)))
    costs = _costs(report, stressed, name, references, normalizer)
    seed = report.settings.seed
    found: Interval | None = None
    if costs.stressed.reference.sum():
        found = difference(costs.stressed.total[None], costs.plain[None], costs.stressed.reference, seed=seed)
    cost = None if found is None else Estimate(found.value, found.low, found.high).scaled(100)
    return StressScore(candidate=name, wer=costs.stressed.rate(seed), cost=cost)


def _costs(
    report: Report, stressed: Stressed, name: str, references: Sequence[str], normalizer: str
) -> _Costs:
    result = report.result(name)
    hypotheses: Mapping[str, str] = result.hypotheses if result else {}
    said = {one.id: text for one, text in zip(report.utterances, references, strict=True)}
    ids = [id_ for group in stressed.groups for id_ in group]
    plain = word_errors([said[id_] for id_ in ids], [normalize(hypotheses[id_], normalizer) for id_ in ids])
    total = dict(zip(ids, plain.total.tolist(), strict=True))
    spoken = [" ".join(filter(None, (said[id_] for id_ in group))) for group in stressed.groups]
    texts = [normalize(text, normalizer) for text in stressed.hypotheses[name]]
    sums = [sum(total[id_] for id_ in group) for group in stressed.groups]
    return _Costs(word_errors(spoken, texts), np.array(sums, np.int64))
