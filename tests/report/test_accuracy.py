from functools import cache

import jiwer
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdcompress.errors import BenchError
from kdcompress.report.accuracy import bootstrap_interval, score

sentences = st.lists(st.sampled_from(["a", "b", "cc", "d'e"]), max_size=6).map(" ".join)
corpora = st.lists(st.tuples(sentences, sentences), min_size=1, max_size=6)


def edits(reference: list[str], hypothesis: list[str]) -> int:
    """The Levenshtein distance as it is defined: an independent scorer."""

    @cache
    def distance(i: int, j: int) -> int:
        if not i or not j:
            return i + j
        same = reference[i - 1] == hypothesis[j - 1]
        return min(distance(i - 1, j) + 1, distance(i, j - 1) + 1, distance(i - 1, j - 1) + (not same))

    return distance(len(reference), len(hypothesis))


def test_errors_are_counted_by_kind() -> None:
    accuracy = score(["one two three four", "five six"], ["one too three", "and five six"])
    wer = accuracy.wer
    assert (wer.substitutions, wer.deletions, wer.insertions, wer.reference) == (1, 1, 1, 6)
    assert wer.rate == 3 / 6
    assert accuracy.cer.reference == len("one two three four") + len("five six")
    assert accuracy.cer.errors == 1 + len(" four") + len("and ")


@given(corpora)
def test_counts_agree_with_the_definition_and_rates_with_jiwer(corpus: list[tuple[str, str]]) -> None:
    references, hypotheses = [r for r, _ in corpus], [h for _, h in corpus]
    accuracy = score(references, hypotheses)
    assert accuracy.wer.errors == sum(edits(r.split(), h.split()) for r, h in corpus)
    assert accuracy.cer.errors == sum(edits(list(r), list(h)) for r, h in corpus)
    if any(references):
        assert accuracy.wer.rate == pytest.approx(jiwer.wer(references, hypotheses))
        assert accuracy.cer.rate == pytest.approx(jiwer.cer(references, hypotheses))
        assert accuracy.wer.low is not None
        assert accuracy.wer.high is not None
        assert 0 <= accuracy.wer.low <= accuracy.wer.high


def test_without_speech_there_is_no_rate_but_insertions_are_counted() -> None:
    wer = score(["", ""], ["", "two words"]).wer
    assert (wer.rate, wer.low, wer.high, wer.insertions) == (None, None, None, 2)


def test_the_same_seed_gives_the_same_interval() -> None:
    references = [f"a b {'c ' * n}" for n in range(30)]
    hypotheses = [f"a {'c ' * n}" for n in range(30)]
    one, two, other = (score(references, hypotheses, seed=seed).wer for seed in (1, 1, 2))
    assert one == two
    assert (one.low, one.high) != (other.low, other.high)


def test_equal_utterances_leave_no_doubt() -> None:
    assert bootstrap_interval(np.full(20, 1), np.full(20, 4)) == (0.25, 0.25)


def test_the_interval_covers_the_truth_at_the_stated_rate() -> None:
    rng = np.random.default_rng(5)
    # Each utterance has its own difficulty; the truth is the expected rate over such utterances.
    truth, covered, trials = 0.15, 0, 200
    for trial in range(trials):
        words = rng.integers(3, 12, 80)
        errors = rng.binomial(words, rng.beta(1.5, 8.5, 80))
        low, high = bootstrap_interval(errors, words, seed=trial)
        covered += low <= truth <= high
    # 95 % of 200 is 190; 180 and 199 are more than three standard deviations away.
    assert 180 <= covered <= 199


@pytest.mark.parametrize(("references", "hypotheses"), [([], []), (["a"], []), (["a"], ["a", "b"])])
def test_a_hypothesis_for_each_reference(references: list[str], hypotheses: list[str]) -> None:
    with pytest.raises(BenchError, match="expected one for each"):
        score(references, hypotheses)
