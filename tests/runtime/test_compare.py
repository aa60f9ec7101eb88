import numpy as np
import pytest

from kdcompress.aliases import FloatArray
from kdcompress.runtime.compare import TextDifference, _log_softmax, text_difference
from kdcompress.text.vocabulary import Vocabulary

VOCABULARY = Vocabulary(("<blk>", "|", "a", "b"), blank=0, word_boundary="|")


def spoken(text: str) -> FloatArray:
    """Return log-probabilities [T', V] whose greedy transcript is the text, a blank after each token."""
    rows = np.full((2 * len(text) + 1, 4), -9.0, np.float32)
    rows[:, 0] = -0.1
    for at, token in enumerate(text.replace(" ", "|")):
        rows[2 * at + 1, VOCABULARY.tokens.index(token)] = 0.0
    return rows


@pytest.mark.parametrize(
    ("heard", "expected"),
    [
        (("a b ab", "ba"), TextDifference(4, 0, 0, 0)),
        (("a ab", "ba"), TextDifference(4, 0, 1, 0)),
        (("a b ab", "ba a"), TextDifference(4, 0, 0, 1)),
        (("a b bb", ""), TextDifference(4, 1, 1, 0)),
    ],
)
def test_words_are_counted_as_if_the_reference_were_right(
    heard: tuple[str, str], expected: TextDifference
) -> None:
    reference = [spoken("a b ab"), spoken("ba")]
    found = text_difference(reference, [spoken(text) for text in heard], VOCABULARY)
    assert found == expected
    errors = expected.substitutions + expected.deletions + expected.insertions
    assert found.disagreement == errors / 4
    assert found.to_json()["deletions"] == expected.deletions


def test_a_reference_that_heard_nothing_is_no_division_by_zero() -> None:
    found = text_difference([spoken("")], [spoken("a")], VOCABULARY)
    assert (found.words, found.insertions, found.disagreement) == (0, 1, 1.0)


def test_logits_are_normalised_and_log_probabilities_stay() -> None:
    logits = np.random.default_rng(0).normal(0, 30, (5, 4)).astype(np.float32)
    log_probs = _log_softmax(logits)
    np.testing.assert_allclose(np.exp(log_probs.astype(np.float64)).sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(_log_softmax(log_probs), log_probs, atol=1e-5)
    np.testing.assert_allclose(np.diff(log_probs, axis=1), np.diff(logits, axis=1), atol=1e-4)
