"""Tokens to text and back; malformed vocabularies are refused."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdcompress.errors import VocabularyError
from kdcompress.text.decode import Hypothesis
from kdcompress.text.vocabulary import Vocabulary

LETTERS = Vocabulary(("<pad>", "<unk>", "|", "a", "b", "c"), 0, "|", frozenset({1}))
PIECES = Vocabulary(("▁a", "▁ab", "b", "ba", "▁", "a", "<blk>"), 6, "▁")

texts = st.lists(st.text(alphabet="abc", min_size=1, max_size=5), max_size=5).map(" ".join)


@given(texts)
def test_characters_round_trip(text: str) -> None:
    ids = LETTERS.encode(text)
    assert LETTERS.text(ids) == text
    assert len(ids) == len(text)


@given(texts.map(lambda text: text.replace("c", "b")))
def test_pieces_round_trip(text: str) -> None:
    assert PIECES.text(PIECES.encode(text)) == text


def test_pieces_are_the_longest_that_fit() -> None:
    assert [PIECES.tokens[i] for i in PIECES.encode("abba a")] == ["▁ab", "ba", "▁a"]


def test_blank_and_silent_ids_print_nothing() -> None:
    assert LETTERS.text([0, 3, 1, 2, 2, 4, 0]) == "a b"


@given(st.lists(st.integers(0, 5), max_size=12))
def test_texts_have_single_spaces(ids: list[int]) -> None:
    text = LETTERS.text(ids)
    assert text == " ".join(text.split())


def test_text_outside_the_vocabulary_is_refused() -> None:
    with pytest.raises(VocabularyError, match="no token for 'D'"):
        LETTERS.encode("ab D")


def test_capitals_alone_take_text_in_either_case() -> None:
    capitals = Vocabulary(("<pad>", "|", "A", "B", "'", "Ä"), 0, "|")
    assert capitals.encode("ab ä'B") == capitals.encode("AB Ä'B") == [2, 3, 1, 5, 4, 3]
    both = Vocabulary(("<pad>", "|", "A", "b"), 0, "|")
    with pytest.raises(VocabularyError, match="no token for 'a'"):
        both.encode("ab")
    assert Vocabulary(("<pad>", "甚", "至"), 0).encode("甚至") == [1, 2]


def test_json_round_trip_keeps_the_fingerprint() -> None:
    again = Vocabulary.from_json(LETTERS.to_json())
    assert again == LETTERS
    assert again.fingerprint == LETTERS.fingerprint


@pytest.mark.parametrize(
    "other",
    [
        Vocabulary(("<pad>", "<unk>", "|", "b", "a", "c"), 0, "|", frozenset({1})),
        Vocabulary(LETTERS.tokens, 5, "|", frozenset({1})),
        Vocabulary(LETTERS.tokens, 0, None, frozenset({1})),
        Vocabulary(LETTERS.tokens, 0, "|"),
    ],
)
def test_every_part_is_in_the_fingerprint(other: Vocabulary) -> None:
    assert other.fingerprint != LETTERS.fingerprint


@pytest.mark.parametrize(
    ("tokens", "blank", "silent", "complaint"),
    [
        (("a", "b", "a"), 0, set(), r"occur twice: \['a'\]"),
        (("a", ""), 0, set(), "an empty token at id 1"),
        (("a", "b"), 2, set(), "blank 2"),
        (("a", "b"), 0, {5}, r"silent ids \[5\] are outside 0…1"),
    ],
)
def test_malformed_vocabularies_are_refused(
    tokens: tuple[str, ...], blank: int, silent: set[int], complaint: str
) -> None:
    with pytest.raises(VocabularyError, match=complaint):
        Vocabulary(tokens, blank, None, frozenset(silent))


@pytest.mark.parametrize("data", [None, [], {}, {"tokens": ["a"]}, {"tokens": ["a"], "blank": None}])
def test_other_json_is_refused(data: object) -> None:
    with pytest.raises(VocabularyError, match="not a vocabulary"):
        Vocabulary.from_json(data)


def test_spaced_tokens_are_words_of_their_own() -> None:
    plain = Vocabulary(("<pad>", "t", "s", "ts"), 0)
    phones = replace(plain, spaced=True)
    assert plain.text([1, 2, 3]) == "tsts"
    assert phones.text([1, 2, 3]) == "t s ts"
    assert phones.encode("t s ts") == [1, 2, 3]
    with pytest.raises(VocabularyError, match="no token for 'st' of 't st'"):
        phones.encode("t st")
    assert Vocabulary.from_json(phones.to_json()) == phones
    assert "spaced" not in plain.to_json()
    assert phones.fingerprint != plain.fingerprint == "f73655a07301"  # as it always was
    spoken = Hypothesis((1, 2, 3), (0, 2, 5), (1, 3, 6), 0.0)
    assert [word.text for word in spoken.words(phones, 0.02)] == ["t", "s", "ts"]


def test_phones_are_told_from_letters_and_counted_one_by_one() -> None:
    phones = Vocabulary(("<blk>", "▁", "ð", "ə", "k", "ɪ", "aɪ"), 0, "▁")
    assert phones.phonetic
    assert phones.text([2, 3, 1, 4, 6]) == "ðə kaɪ"
    assert phones.separated([2, 3, 1, 4, 6]) == "ð ə k aɪ"
    letters = ("<blk>", "|", *"abdefghiklmnoprstuvwxyz")
    assert not Vocabulary(letters, 0, "|").phonetic
    assert not Vocabulary((*letters, *"ɖɛɣɔʋ"), 0, "|").phonetic  # an orthography of IPA letters: Ewe
    assert not Vocabulary(("<blk>",), 0).phonetic
