"""What follows from texts alone: differences, agreement, words in non-speech, letter case."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from kdcompress.errors import BenchError, ConfigError
from kdcompress.report.accuracy import Errors, character_errors, score, word_errors
from kdcompress.report.differences import error_difference, median_seconds, paired_errors, time_difference
from kdcompress.report.record import CandidateResult, ReferenceText, Report, Settings
from kdcompress.report.scoring import CASE_NOTE, score_report

sentences = st.lists(st.sampled_from(["a", "b", "cc", "d'e", "five"]), max_size=6).map(" ".join)
corpora = st.lists(st.tuples(sentences, sentences, sentences), min_size=1, max_size=5)


def edits(reference: list[str], hypothesis: list[str]) -> int:
    """The edit distance, row by row: a scorer that shares nothing with the one under test."""
    above = list(range(len(hypothesis) + 1))
    for i, wanted in enumerate(reference, 1):
        row = [i]
        for j, found in enumerate(hypothesis, 1):
            row.append(min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (wanted != found)))
        above = row
    return above[-1]


def spoken(*references: str | None) -> list[ReferenceText]:
    return [ReferenceText(id=f"u{n}", duration=2.0, reference=text) for n, text in enumerate(references)]


def heard(*texts: str) -> dict[str, str]:
    return {f"u{n}": text for n, text in enumerate(texts)}


def scored(
    utterances: list[ReferenceText],
    texts: dict[str, dict[str, str]],
    *,
    normalizer: str = "basic",
    reference: str,
) -> Report:
    results = [CandidateResult(name=name, hypotheses=own) for name, own in texts.items()]
    if reference not in texts:
        results.append(CandidateResult(name=reference, hypotheses={}, failed="it did not run"))
    settings = Settings(normalizer="basic", reference=reference)
    report = Report(settings=settings, utterances=tuple(utterances), results=tuple(results))
    return score_report(report, normalizer)


def of(report: Report, name: str) -> CandidateResult:
    return next(result for result in report.results if result.name == name)


@given(corpora)
def test_every_utterance_has_the_errors_of_an_independent_scorer(corpus: list[tuple[str, str, str]]) -> None:
    references, hypotheses = [r for r, _, _ in corpus], [h for _, h, _ in corpus]
    for found, units in (
        (word_errors(references, hypotheses), str.split),
        (character_errors(references, hypotheses), list),
    ):
        pairs = [(units(r), units(h)) for r, h in zip(references, hypotheses, strict=True)]
        assert found.total.tolist() == [edits(r, h) for r, h in pairs]
        assert found.reference.tolist() == [len(r) for r, _ in pairs]
        substitutions, insertions, deletions = found.kinds.T
        # Whichever of several shortest alignments was taken, these hold of it.
        assert (insertions - deletions).tolist() == [len(h) - len(r) for r, h in pairs]
        assert (found.reference - substitutions - deletions >= 0).all()


@given(corpora)
def test_differences_are_those_of_the_rates(corpus: list[tuple[str, str, str]]) -> None:
    references, ours, theirs = ([row[n] for row in corpus] for n in range(3))
    texts = {"x": heard(*ours), "ref": heard(*theirs)}
    scores = scored(spoken(*references), texts, reference="ref")
    assert {one.candidate for one in scores.differences} <= {"x"}
    for one in scores.differences:
        new, old = (getattr(score(references, side), one.measure).rate for side in (ours, theirs))
        assert one.value == pytest.approx(new - old)
        assert one.low <= one.value + 1e-12
        assert one.high >= one.value - 1e-12
    assert len(scores.differences) == (2 if any(references) else 0)
    agreement = of(scores, "x").agreement
    assert agreement is not None
    assert agreement.same == sum(a == b for a, b in zip(ours, theirs, strict=True)) / len(ours)
    assert agreement.wer.errors == sum(edits(b.split(), a.split()) for a, b in zip(ours, theirs, strict=True))
    assert agreement.wer.reference == sum(len(text.split()) for text in theirs)
    assert of(scores, "ref").agreement is None


def test_the_paired_difference_covers_the_truth_at_the_stated_rate() -> None:
    rng = np.random.default_rng(6)
    covered, trials, rise = 0, 100, 0.03
    for trial in range(trials):
        words = rng.integers(3, 12, 80)
        difficulty = rng.beta(1.5, 8.5, 80)
        old, new = (rng.binomial(words, np.minimum(difficulty + more, 1)) for more in (0, rise))
        empty = np.zeros((80, 3), np.int64)
        before, after = (Errors(empty + [[count, 0, 0] for count in side], words) for side in (old, new))
        found = paired_errors(after, before, seed=trial)
        covered += found.low <= rise <= found.high
    # 95 of 100; 88 and 100 are more than two and a half standard deviations away.
    assert 88 <= covered <= 100


def walls(seconds_KN: npt.NDArray[np.float64]) -> dict[str, list[float]]:
    return {f"u{n}": column for n, column in enumerate(seconds_KN.T.tolist())}


def test_the_ratio_of_times_covers_the_truth() -> None:
    rng = np.random.default_rng(7)
    covered, trials = 0, 60
    for trial in range(trials):
        # Moods of the machine are shared by both candidates within a block; noise is each one's own.
        base = rng.uniform(0.5, 2, (1, 30)) * np.exp(rng.normal(0, 0.3, (5, 3))).repeat(10, axis=1)
        theirs, ours = (
            walls(factor * base * np.exp(rng.normal(0, 0.1, (5, 3))).repeat(10, axis=1))
            for factor in (1.0, 0.8)
        )
        found = time_difference(("x", "ref"), ours, theirs, 10, trial)
        covered += found.low <= 0.8 <= found.high
        assert (found.candidate, found.baseline, found.measure) == ("x", "ref", "rtf")
    assert covered >= 0.95 * trials - 3


def test_a_spell_that_one_candidate_met_does_not_move_the_ratio() -> None:
    steady = np.ones((9, 20))
    disturbed = 2 * steady
    disturbed[2, 10:] *= 10
    found = time_difference(("x", "ref"), walls(disturbed), walls(steady), 10, 0)
    assert (found.low, found.value, found.high) == (2, 2, 2)
    assert found.p < 0.001
    assert set(median_seconds(walls(disturbed)).values()) == {2.0}


def test_a_clock_that_stood_still_is_refused() -> None:
    with pytest.raises(BenchError, match="the clock did not move"):
        time_difference(("x", "ref"), {"u": [1.0, 0.0]}, {"u": [1.0, 1.0]}, 1, 0)


def test_words_where_nobody_spoke_are_counted() -> None:
    found = scored(
        spoken("a b", "", "..."),
        {"x": heard("a b", "", "uh oh"), "y": heard("a", "", "")},
        reference="x",
    )
    silent = of(found, "x").non_speech
    assert silent is not None
    assert silent.model_dump() == {
        "utterances": 2,
        "seconds": 4.0,
        "characters": 5,
        "words": 2,
        "per_minute": 30.0,
    }
    assert of(found, "y").non_speech is not None
    assert of(found, "y").non_speech.words == 0
    speech = scored(spoken("a"), {"x": heard("a")}, reference="x")
    assert of(speech, "x").non_speech is None


def test_without_references_there_is_agreement_only() -> None:
    texts = {"x": heard("a b", "c"), "ref": heard("a b", "d")}
    found = scored(spoken(None, None), texts, reference="ref")
    assert found.differences == ()
    assert of(found, "x").accuracy is None
    assert of(found, "x").non_speech is None
    agreement = of(found, "x").agreement
    assert agreement is not None
    assert (agreement.reference, agreement.same, agreement.wer.rate) == ("ref", 0.5, 1 / 3)


def test_where_the_reference_candidate_failed_nothing_is_compared() -> None:
    found = scored(spoken("a"), {"x": heard("a")}, reference="ref")
    assert of(found, "x").agreement is None
    assert found.differences == ()


@pytest.mark.parametrize(
    ("normalizer", "expected"),
    [
        ("none", (f"{CASE_NOTE}3 of 4 word errors: the normaliser basic does not count it",)),
        ("basic", ()),
        ("english", ()),
    ],
)
def test_references_in_another_case_are_noticed(normalizer: str, expected: tuple[str, ...]) -> None:
    texts = {"x": heard("one two", "free")}
    found = scored(spoken("ONE TWO x", "FREE"), texts, normalizer=normalizer, reference="x")
    assert of(found, "x").notes == expected


def test_honest_errors_are_not_taken_for_case() -> None:
    found = scored(spoken("a b"), {"x": heard("a c")}, normalizer="none", reference="x")
    assert of(found, "x").notes == ()


def test_the_normaliser_is_applied_to_both_sides() -> None:
    texts = {"x": heard("twenty one dollars")}
    rates = {}
    for normalizer in ("none", "basic", "english"):
        accuracy = of(scored(spoken("$21"), texts, normalizer=normalizer, reference="x"), "x").accuracy
        assert accuracy is not None
        rates[normalizer] = accuracy.wer.rate
    assert rates == {"none": 3.0, "basic": 3.0, "english": 0.0}


def test_what_is_incomplete_is_refused() -> None:
    with pytest.raises(BenchError, match="1 of 2 utterances have no reference text"):
        scored(spoken("a", None), {"x": heard("a", "b")}, reference="x")
    with pytest.raises(ValidationError, match="x did not fail, but lacks hypotheses"):
        scored(spoken("a", "b"), {"x": heard("a")}, reference="x")
    with pytest.raises(ConfigError, match="no text normaliser"):
        scored(spoken("a"), {"x": heard("a")}, normalizer="french", reference="x")
    words = word_errors([""], ["a"])
    assert error_difference(("x", "y"), "wer", words, words, 0) is None
