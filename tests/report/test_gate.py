"""What the gate stops, what it lets pass, and when it says that it cannot tell."""

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from kdcompress.errors import BenchError
from kdcompress.report.gate import Limits, judge
from kdcompress.report.record import parse_report
from kdcompress.report.scored import Verdict
from kdcompress.report.scoring import score_report

WORDS = 8
MACHINE = {"cpu": "one", "usable_cores": 2, "system": "any"}


def texts(errors: Sequence[int]) -> dict[str, str]:
    """A hypothesis for each utterance of WORDS words, of which the first `errors` are wrong."""
    return {f"u{n}": " ".join(["x"] * wrong + ["a"] * (WORDS - wrong)) for n, wrong in enumerate(errors)}


def spread(median: float, part: float = 0.01, repeats: int = 5) -> dict[str, Any]:
    return {"median": median, "low": median * (1 - part), "high": median * (1 + part), "repeats": repeats}


def timed(result: dict[str, Any], seconds: float, reference: float | None, **more: Any) -> None:
    """Give a result of schema 1 its times."""
    speed = None if reference is None else spread(reference / seconds, **more)
    result["timing"] = {"rtf": spread(seconds, **more), "speed": speed}
    result["facts"] = {"runtime": "r", "provider": "cpu", "threads": 1, "notes": []}
    result["bytes"] = 100


def report(
    candidates: Mapping[str, Sequence[int]], seconds: Mapping[str, float] | None = None, **more: Any
) -> dict[str, Any]:
    """A report of schema 1 with these word errors per utterance, the first candidate being the reference."""
    count = len(next(iter(candidates.values())))
    first = next(iter(candidates))
    results = [
        {"name": name, "failed": None, "hypotheses": texts(errors)} for name, errors in candidates.items()
    ]
    for result in results if seconds else ():
        name = str(result["name"])
        timed(result, seconds[name], None if name == first else seconds[first], **more)
    return {
        "schema": 1,
        "kind": "kdcompress-bench",
        "machine": MACHINE,
        "settings": {"normalizer": "basic", "reference": first, "repeats": 5, "seed": 0},
        "utterances": [
            {"id": f"u{n}", "duration": 2.0, "reference": " ".join(["a"] * WORDS)} for n in range(count)
        ],
        "results": results,
    }


def held(new: Mapping[str, Any], old: Mapping[str, Any], **limits: float) -> Verdict:
    return judge(parse_report(new, "new"), parse_report(old, "old"), Limits(**limits))


rng = np.random.default_rng(0)
STUDENT = rng.binomial(WORDS, 0.1, 100)
TEACHER = rng.binomial(WORDS, 0.05, 100)
WORSE = np.minimum(STUDENT + (np.arange(100) % 4 == 0), WORDS)
BASE = {"teacher": TEACHER, "student": STUDENT}
TIMES = {"teacher": 1.0, "student": 0.25}


def test_an_unchanged_candidate_passes() -> None:
    verdict = held(report(BASE, TIMES), report(BASE, TIMES), wer_increase=0.0, rtf_ratio=1.0)
    assert not verdict.broken
    assert [(f.candidate, f.measure, f.value) for f in verdict.findings] == [
        ("teacher", "wer", 0.0),
        ("student", "wer", 0.0),
        ("student", "rtf", pytest.approx(1)),
    ]
    assert verdict.notes == (
        "times are relative to teacher, which is taken not to have changed",
        "the time of teacher is not judged: it is what the others are compared with",
    )


def test_a_planted_loss_of_accuracy_breaks_it_with_figures() -> None:
    new = report({"teacher": TEACHER, "student": WORSE})
    verdict = held(new, report(BASE), wer_increase=0.2)
    assert verdict.broken
    fine, broken = verdict.findings
    assert not fine.broken
    assert broken.broken
    points = 100 * (WORSE.sum() - STUDENT.sum()) / (100 * WORDS)
    assert broken.value == pytest.approx(points)
    assert broken.low is not None
    assert 0.2 < broken.low < points
    before, after = (STUDENT.sum() / WORDS, WORSE.sum() / WORDS)
    assert broken.sentence == (
        f"student: WER {before:.2f} % in the baseline, {after:.2f} % here: {points:+.2f} points "
        f"[{broken.low:+.2f}, {broken.high:+.2f}], at most +0.20 points allowed"
    )
    # What is allowed is allowed: the interval must lie beyond the limit, not beyond zero.
    assert not held(new, report(BASE), wer_increase=points).broken
    assert not held(new, report(BASE)).broken


def test_a_loss_that_chance_explains_passes_and_is_told() -> None:
    unlucky = STUDENT.copy()
    unlucky[0] += 1
    unlucky[1] = max(unlucky[1] - 1, 0)
    unlucky[2] += 1
    (finding,) = held(report({"s": unlucky}), report({"s": STUDENT}), wer_increase=0.0).findings
    assert finding.value is not None
    assert finding.value > 0
    assert not finding.broken
    assert finding.sentence.endswith("; above it, but chance may explain that")


@pytest.mark.slow
def test_chance_alone_seldom_breaks_it() -> None:
    draws = np.random.default_rng(8)
    trials, broken = 80, 0
    for _ in range(trials):
        difficulty = draws.beta(1, 9, 60)
        old, new = draws.binomial(WORDS, difficulty), draws.binomial(WORDS, difficulty)
        broken += held(report({"s": new}), report({"s": old}), wer_increase=0.0).broken
    # 2.5 % of 80 are 2; 7 or more would happen once in two hundred such tests.
    assert broken <= 6


def test_a_planted_loss_of_speed_breaks_it() -> None:
    slow = report(BASE, {"teacher": 1.0, "student": 0.35})
    verdict = held(slow, report(BASE, TIMES), rtf_ratio=1.1)
    (broken,) = [finding for finding in verdict.findings if finding.broken]
    assert (broken.candidate, broken.measure) == ("student", "rtf")
    assert broken.value == pytest.approx(1.4)
    # Two runs with 1 % each way.
    assert broken.low == pytest.approx(1.4 * math.exp(-math.hypot(math.log(1.01), math.log(1 / 0.99))), 1e-3)
    assert "1.400 times the baseline's time [1." in broken.sentence
    assert broken.sentence.endswith("at most 1.10 allowed")
    # Faster in some passes there: its high speed is a low time, and widens the change upwards only.
    lucky = report(BASE, TIMES)
    lucky["results"][1]["timing"]["speed"]["high"] *= 2
    wide = held(slow, lucky, rtf_ratio=1.1).findings[-1]
    assert wide.low == broken.low
    assert wide.high is not None
    assert wide.high > 2.7
    unsure = held(
        report(BASE, {"teacher": 1.0, "student": 0.35}, part=0.3),
        report(BASE, TIMES, part=0.3),
        rtf_ratio=1.1,
    )
    assert not unsure.broken


def test_a_machine_that_is_slower_as_a_whole_does_not_break_it() -> None:
    elsewhere = report(BASE, {name: 3 * seconds for name, seconds in TIMES.items()})
    elsewhere["machine"] = {"cpu": "another", "usable_cores": 64}
    verdict = held(elsewhere, report(BASE, TIMES), rtf_ratio=1.1)
    assert not verdict.broken
    assert "the machines differ, and the relation of two times may differ with them" in verdict.notes


def test_the_bootstrap_of_schema_2_is_preferred() -> None:
    new, old = report(BASE, TIMES), report(BASE, TIMES)
    for one, value in ((new, 0.5), (old, 0.25)):
        one["schema"] = 2
        one["differences"] = [
            {
                "candidate": "student",
                "baseline": "teacher",
                "measure": "rtf",
                "value": value,
                "low": value / 1.1,
                "high": value * 1.1,
                "p": 0.1,
            }
        ]
    *_, finding = held(new, old, rtf_ratio=1.1).findings
    assert finding.value == pytest.approx(2)
    assert finding.high == pytest.approx(2 * 1.1 ** math.sqrt(2))
    assert finding.broken


def test_alone_on_the_same_machine_seconds_are_compared_with_a_warning() -> None:
    new, old = report({"s": STUDENT}, {"s": 1.5}), report({"s": STUDENT}, {"s": 1.0})
    verdict = held(new, old, rtf_ratio=1.1)
    assert verdict.broken
    assert "compared in seconds, since there is no reference candidate beside it" in verdict.notes[0]
    new["machine"] = {"cpu": "another", "usable_cores": 2}
    with pytest.raises(
        BenchError, match=r"--max-rtf-ratio cannot be judged: .*the machines differ, and there is"
    ):
        held(new, old, rtf_ratio=1.1)


def changed(new: dict[str, Any], key: str) -> dict[str, Any]:
    teacher = new["results"][0]
    if key == "bytes":
        teacher["bytes"] = 101
    elif key == "threads":
        teacher["facts"]["threads"] = 2
    else:
        new["settings"]["reference"] = "student"
    new["machine"] = {"cpu": "another", "usable_cores": 2}
    return new


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("bytes", "teacher has bytes 101 here, 100 in the baseline"),
        ("threads", "teacher has threads 2 here, 1 in the baseline"),
        ("reference", "the reference candidate is 'student' here, 'teacher' in the baseline"),
    ],
)
def test_a_reference_that_changed_is_no_measure(key: str, reason: str) -> None:
    with pytest.raises(BenchError, match="cannot be judged") as refused:
        held(changed(report(BASE, TIMES), key), report(BASE, TIMES), rtf_ratio=1.1)
    assert f"the machines differ, and {reason}" in str(refused.value)


def test_too_few_passes_are_no_interval() -> None:
    new = report(BASE, TIMES, repeats=4)
    with pytest.raises(BenchError, match="4 timed passes give no interval; measure with --repeats 5 or more"):
        held(new, report(BASE, TIMES), rtf_ratio=1.1)
    with pytest.raises(BenchError, match="one of the reports has no times"):
        held(report(BASE), report(BASE, TIMES), rtf_ratio=1.1)
    assert not held(report(BASE), report(BASE, TIMES), wer_increase=0.1).broken


def test_who_is_missing_or_failed_breaks_it() -> None:
    gone = report({"teacher": TEACHER})
    verdict = held(gone, report(BASE), wer_increase=0.2)
    assert [f.sentence for f in verdict.findings if f.broken] == [
        "student is in the baseline, but not in this report, which has teacher"
    ]
    fallen = report(BASE)
    fallen["results"][1].update(failed="u3: ValueError", hypotheses={})
    verdict = held(fallen, report(BASE))
    assert [f.sentence for f in verdict.findings if f.broken] == ["student failed: u3: ValueError"]
    # The other way round there is nothing to hold it against.
    verdict = held(report(BASE), fallen, wer_increase=0.2)
    assert not verdict.broken
    assert "student failed in the baseline: there is nothing to compare it with" in verdict.notes
    assert held(report({"other": TEACHER}), report(BASE), wer_increase=0.2, rtf_ratio=1.1).broken
    assert held(report(BASE), gone, wer_increase=0.2).notes == ("student is not in the baseline",)


def test_utterances_are_paired_by_id_and_length() -> None:
    new, old = report({"s": WORSE}), report({"s": STUDENT})
    old["utterances"].reverse()
    straight = held(new, report({"s": STUDENT})).findings
    assert held(new, old).findings == straight
    for utterance in old["utterances"][:30]:
        utterance["duration"] += 1
    verdict = held(new, old, wer_increase=0.2)
    assert verdict.notes == ("word errors are compared on the 70 utterances that both reports have",)
    for utterance in old["utterances"][30:60]:
        utterance["duration"] += 1
    with pytest.raises(BenchError, match="share 40 of 100 and 100 utterances"):
        held(new, old, wer_increase=0.2)


def test_normaliser_and_references_of_the_new_report_count_for_both() -> None:
    new, old = report({"s": STUDENT}), report({"s": STUDENT})
    old["settings"]["normalizer"] = "none"
    for utterance in old["utterances"]:
        utterance["reference"] = "A " * WORDS
    verdict = held(new, old, wer_increase=0.0)
    assert not verdict.broken
    assert verdict.findings[0].value == 0
    assert len(verdict.notes) == 2


def test_without_references_word_errors_cannot_be_judged() -> None:
    silent, old = report({"s": STUDENT}), report({"s": STUDENT})
    empty = copy.deepcopy(silent)
    for utterance in silent["utterances"]:
        utterance["reference"] = None
    for utterance in empty["utterances"]:
        utterance["reference"] = "..."
    for one, reason in ((silent, "without references"), (empty, "hold no words")):
        with pytest.raises(BenchError, match=f"--max-wer-increase cannot be judged: .*{reason}"):
            held(one, old, wer_increase=0.2)
        assert not held(one, old).broken


def test_a_rescored_report_can_be_judged() -> None:
    new = score_report(parse_report(report({"teacher": TEACHER, "student": WORSE}), "new"), "english")
    assert held(new.to_json(), report(BASE), wer_increase=0.2).broken


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "else"}, "x is not a report written by bench --json"),
        ({"schema": 3}, "x is a report of schema 3; this version of kdcompress reads 1 and 2"),
        ({"utterances": []}, "x is a damaged report: utterances"),
        ({"settings": {}}, r"x is a damaged report: settings\.normalizer: field required"),
    ],
)
def test_what_is_no_report_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(BenchError, match=message):
        parse_report({**report(BASE), **change}, "x")


def test_a_report_that_contradicts_itself_is_refused() -> None:
    with pytest.raises(BenchError, match="is not a report"):
        parse_report([], "x")
    short = report(BASE)
    del short["results"][1]["hypotheses"]["u7"]
    with pytest.raises(BenchError, match="student did not fail, but lacks hypotheses"):
        parse_report(short, "x")
    twice = report(BASE)
    twice["results"][1]["name"] = "teacher"
    with pytest.raises(BenchError, match="have one name"):
        parse_report(twice, "x")
    stopped = report(BASE, TIMES)
    stopped["results"][1]["timing"]["rtf"]["low"] = 0.0
    with pytest.raises(BenchError, match="times and speeds are above zero"):
        parse_report(stopped, "x")
