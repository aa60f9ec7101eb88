"""Greedy decoding against the definition of CTC, written as a loop."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdcompress.errors import NumericsError, VocabularyError
from kdcompress.text.decode import Hypothesis, Span, collapse, greedy
from kdcompress.text.vocabulary import Vocabulary

LETTERS = Vocabulary(("<blk>", "|", "a", "b", "c", "<unk>"), 0, "|", frozenset({5}))
PIECES = Vocabulary(("▁the", "▁", "re", "▁cat", "s", "<blk>"), 5, "▁")

paths = st.lists(st.integers(0, 5), max_size=30)


def one_hot(path: list[int], size: int = 6) -> npt.NDArray[np.float32]:
    log_probs = np.full((len(path), size), -9.0, np.float32)
    log_probs[np.arange(len(path)), path] = -0.5
    return log_probs


def by_definition(path: list[int], blank: int) -> list[tuple[int, int, int]]:
    tokens: list[list[int]] = []
    previous = None
    for frame, token in enumerate(path):
        if token != blank:
            if token == previous:
                tokens[-1][2] = frame + 1
            else:
                tokens.append([token, frame, frame + 1])
        previous = token
    return [(token, start, end) for token, start, end in tokens]


@given(paths, st.integers(0, 5))
def test_greedy_is_the_definition(path: list[int], blank: int) -> None:
    vocabulary = Vocabulary(LETTERS.tokens, blank, "|")
    hypothesis = greedy(one_hot(path), vocabulary)
    expected = by_definition(path, blank)
    assert list(zip(hypothesis.ids, hypothesis.starts, hypothesis.ends, strict=True)) == expected
    assert collapse(path, blank) == [token for token, _, _ in expected]
    assert hypothesis.log_prob == pytest.approx(-0.5 * len(path))


@given(paths, st.sampled_from([LETTERS, PIECES]))
def test_words_and_tokens_spell_the_text(path: list[int], vocabulary: Vocabulary) -> None:
    hypothesis = greedy(one_hot(path), vocabulary)
    text = hypothesis.text(vocabulary)
    words = hypothesis.words(vocabulary, 0.04)
    assert " ".join(word.text for word in words) == text
    spelled = "".join(token.text for token in hypothesis.tokens(vocabulary, 0.04))
    assert " ".join(spelled.split()) == text
    times = [time for word in words for time in (word.start, word.end)]
    assert times == sorted(times)
    assert all(word.end > word.start for word in words)


def test_words_of_letters() -> None:
    # a a _ a | | b <unk> c _
    hypothesis = greedy(one_hot([2, 2, 0, 2, 1, 1, 3, 5, 4, 0]), LETTERS)
    assert hypothesis == Hypothesis((2, 2, 1, 3, 5, 4), (0, 3, 4, 6, 7, 8), (2, 4, 6, 7, 8, 9), -5.0)
    assert hypothesis.text(LETTERS) == "aa bc"
    assert hypothesis.words(LETTERS, 1.0) == [Span("aa", 0.0, 4.0), Span("bc", 6.0, 9.0)]
    assert [token.text for token in hypothesis.tokens(LETTERS, 1.0)] == ["a", "a", " ", "b", "c"]


def test_words_of_pieces() -> None:
    hypothesis = greedy(one_hot([0, 2, 5, 1, 4, 3, 3]), PIECES)
    assert hypothesis.text(PIECES) == "there s cat"
    assert hypothesis.words(PIECES, 0.5) == [
        Span("there", 0.0, 1.0),
        Span("s", 2.0, 2.5),
        Span("cat", 2.5, 3.5),
    ]


def test_equal_letters_need_a_blank_between() -> None:
    assert greedy(one_hot([2, 2]), LETTERS).text(LETTERS) == "a"
    assert greedy(one_hot([2, 0, 2]), LETTERS).text(LETTERS) == "aa"


def test_no_frames() -> None:
    assert greedy(np.zeros((0, 6), np.float32), LETTERS) == Hypothesis((), (), (), 0.0)


def test_another_vocabulary_is_refused() -> None:
    with pytest.raises(VocabularyError, match=r"expected log-probabilities \[T, 6\] .* found shape \[4, 7\]"):
        greedy(np.zeros((4, 7), np.float32), LETTERS)
    with pytest.raises(VocabularyError, match=r"found shape \[1, 4, 6\]"):
        greedy(np.zeros((1, 4, 6), np.float32), LETTERS)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nonsense_is_refused(value: float) -> None:
    log_probs = one_hot([1, 2, 3])
    log_probs[1] = value
    with pytest.raises(NumericsError, match="NaN or infinity"):
        greedy(log_probs, LETTERS)
