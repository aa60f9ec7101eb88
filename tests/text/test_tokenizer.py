"""Pieces of words: learned, written, read back, and refused where they do not suit."""

from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdcompress.errors import ConfigError, VocabularyError
from kdcompress.text.tokenizer import LongestMatch, SentencePieceTokenizer
from kdcompress.text.vocabulary import Vocabulary

TEXTS = ["hello world", "the cat sat on the mat", "a cat and a dog", "the world of the dog"] * 3
PIECES = SentencePieceTokenizer.learn(TEXTS, 30, "bpe", "xyz")

Kind = Literal["bpe", "unigram"]


@pytest.mark.parametrize(("kind", "size"), [("bpe", 30), ("unigram", 22)])
def test_it_has_the_asked_size_and_is_the_same_each_time(kind: Kind, size: int) -> None:
    one, other = (SentencePieceTokenizer.learn(TEXTS, size, kind) for _ in range(2))
    assert len(one.vocabulary) == size
    assert one.model == other.model
    assert one.vocabulary == other.vocabulary
    assert (one.vocabulary.tokens[0], one.vocabulary.blank) == ("<blk>", 0)


@given(st.lists(st.text(alphabet="acdehlmnorstwxyz", min_size=1, max_size=6), max_size=5).map(" ".join))
def test_text_round_trips(text: str) -> None:
    ids = PIECES.encode(text)
    assert PIECES.vocabulary.blank not in ids
    assert PIECES.vocabulary.text(ids) == text


def test_frequent_words_are_few_pieces() -> None:
    assert [PIECES.vocabulary.tokens[i] for i in PIECES.encode("the")] == ["▁the"]


def test_a_model_read_back_is_the_same() -> None:
    again = SentencePieceTokenizer(PIECES.model)
    assert again == PIECES
    assert again.encode("the dog x") == PIECES.encode("the dog x")


def test_what_it_never_saw_is_refused() -> None:
    with pytest.raises(VocabularyError, match="no token for 'ü'"):
        PIECES.encode("the ü")


@pytest.mark.parametrize(
    ("texts", "size", "complaint"),
    [
        (["", ""], 30, "all transcripts are empty"),
        (TEXTS, 6, r"size=6 .*smaller than required_chars. 6 vs \d+"),
        (TEXTS, 5000, "size=5000 .*too high .* <= "),
    ],
)
def test_an_impossible_size_is_refused(texts: list[str], size: int, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        SentencePieceTokenizer.learn(texts, size, "bpe")


def test_a_damaged_model_is_refused() -> None:
    with pytest.raises(VocabularyError, match="damaged"):
        SentencePieceTokenizer(PIECES.model[: len(PIECES.model) // 2] + b"\xff\xff")


def test_longest_match_is_the_vocabularys_own() -> None:
    letters = LongestMatch(Vocabulary(("<blk>", "|", "a", "b"), 0, "|"))
    assert letters.encode("ab a") == letters.vocabulary.encode("ab a") == [2, 3, 1, 2]
