"""What the normaliser `english` takes for the same, and what it does not."""

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdcompress.text.english_numbers import _CARDINALS, _ORDINALS, numbers_to_digits
from kdcompress.text.english_words import FILLERS, contractions, spellings
from kdcompress.text.normalize import normalize

_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
)
ONES = [*_ONES.split(), "seventeen", "eighteen", "nineteen"]
TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]


def spoken(number: int) -> str:
    """The number as an American reads it out: the other direction, written on its own."""
    if number < 20:
        return ONES[number]
    if number < 100:
        return TENS[number // 10 - 2] + (f" {ONES[number % 10]}" if number % 10 else "")
    for value, name in ((10**9, "billion"), (10**6, "million"), (1000, "thousand"), (100, "hundred")):
        if number >= value:
            rest = number % value
            return f"{spoken(number // value)} {name}" + (f" {spoken(rest)}" if rest else "")
    raise AssertionError


def english(text: str) -> str:
    return normalize(text, "english")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("I don't know, it's late", "i do not know it is late"),
        ("They’re here; we've won. You'll see!", "they are here we have won you will see"),
        ("couldn't've can't cannot won't", "could not have can not can not will not"),
        ("dont isnt youre", "do not is not you are"),
        ("gonna wanna", "going to want to"),
        ("The colour of the grey centre, organised", "the color of the gray center organized"),
        ("travelled favourites neighbourhood catalogue", "traveled favorites neighborhood catalog"),
        ("Mr. and Mrs. Smith vs. Dr. Jones, OK?", "mister and missus smith versus doctor jones okay"),
        ("Um, well, er, yes - uh - hmm", "well yes"),
        ("Café naïve", "cafe naive"),
        ("[noise] so <unk> there", "so there"),
        ("twenty-one", "21"),
        ("one hundred and five", "105"),
        ("one hundred five", "105"),
        ("two thousand and one", "2001"),
        ("fifteen hundred", "1500"),
        ("one hundred and two thousand", "102,000"),
        ("three million four hundred thousand and six", "3,400,006"),
        ("nineteen ninety nine", "1999"),
        ("nineteen oh five", "1905"),
        ("twenty twenty two", "2022"),
        ("at ten thirty", "at 10:30"),
        ("one two three", "1 2 3"),
        ("the twenty first of may", "the 21st of May"),
        ("first second third twelfth", "1st 2nd 3rd 12th"),
        ("one hundred and eleventh", "111th"),
        ("the thousandth", "the 1000th"),
        ("three point one four", "3.14"),
        ("two point five million", "2.5 million"),
        ("2,500,000", "2.5 million"),
        ("five dollars", "$5"),
        ("one pound", "£1"),
        ("ten million euros", "€10 million"),
        ("fifty per cent", "50%"),
        ("minus five", "-5"),
        ("r & b", "r and b"),
        ("five thousand five thousand", "5000 5000"),
    ],
)
def test_the_same_speech_is_the_same_text(one: str, other: str) -> None:
    assert english(one) == english(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("four", "for"),
        ("one two three", "123"),  # else `two one` would be `twenty one`
        ("two one", "twenty one"),
        ("john's", "john is"),  # may possess
        ("he'd", "he would"),  # or had
        ("its", "it's"),
        ("well", "we'll"),
        ("were", "we're"),
        ("mum", "mom"),
        ("oh", "zero"),
        ("a hundred", "one hundred"),
        ("uh huh", "uh"),
        ("1.2.3", "1.2"),
        ("five mm", "five"),
        ("3.5", "35"),
    ],
)
def test_other_speech_stays_other(one: str, other: str) -> None:
    assert english(one) != english(other)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("um", ""),
        ("John's dog", "john's dog"),
        ("five and six", "5 and 6"),
        ("one hundred and then", "100 and then"),
        ("hundred thousand", "100000"),
        ("five ten fifteen twenty", "5 10 15 20"),
        ("eleven twelve", "1112"),
        ("five thirty", "5 30"),  # a time, but as often two numbers
        ("thirty ten", "30 10"),
        ("eleven twelve thirteen", "11 12 13"),
        ("two thousand five hundred thousand", "2000 500000"),
        ("zero hundred", "0 100"),
        ("three point", "3 point"),
        ("9" * 5000 + " million", "9" * 5000 + " 1000000"),
        ("1.25 thousand", "1250"),
        ("1.2345 thousand", "1234 point 5"),
        ("हिन्दी में", "हिन्दी में"),
        ("[unfinished", "unfinished"),
        ("12.30.45", "12 30 45"),
    ],
)
def test_what_it_makes_of(text: str, expected: str) -> None:
    assert english(text) == expected


@given(st.integers(0, 10**12 - 1))
def test_every_number_that_is_read_out_comes_back(number: int) -> None:
    assert english(spoken(number)) == str(number)
    assert english(f"{number:,}") == str(number)


@given(st.integers(0, 10**7), st.text("0123456789", min_size=1, max_size=4))
def test_decimals_are_read_digit_by_digit(whole: int, fraction: str) -> None:
    said = f"{spoken(whole)} point {' '.join(ONES[int(digit)] for digit in fraction)}"
    assert english(said) == english(f"{whole}.{fraction}")


_PIECES = [*_CARDINALS, *_ORDINALS, *contractions(), *FILLERS, "and", "point", "oh", "per", "cent", "mr"]
_PIECES += ["5", "30", "3.5", "1,000", "10:30", "$5", "%", "&", "-", "'s", "'ve", "'re", "x", "[", "]", "é"]


@settings(max_examples=500)
@given(st.one_of(st.text(), st.lists(st.sampled_from(_PIECES), max_size=12).map(" ".join)))
def test_it_is_idempotent_and_clean(text: str) -> None:
    once = english(text)
    assert english(once) == once
    assert normalize(once) == once  # of the same alphabet as `basic`
    assert {unicodedata.category(c)[0] for c in once.replace("'", "").replace(" ", "")} <= set("LMN")


@settings(max_examples=300)
@given(st.lists(st.sampled_from(_PIECES), max_size=6).map("".join))
def test_it_is_idempotent_where_words_run_together(text: str) -> None:
    assert english(english(text)) == english(text)


@given(st.text(alphabet="abc xyz'", max_size=20))
def test_it_forgives_what_basic_forgives(text: str) -> None:
    assert english(text.upper().replace(" ", ", ") + "!") == english(text)


def test_the_lists_lead_nowhere_but_to_their_ends() -> None:
    for table in (contractions(), spellings()):
        for written, meant in table.items():
            assert english(written) == english(meant) != ""
            assert not set(meant.split()) & {*contractions(), *spellings(), *FILLERS}, written
    assert all(english(filler) == "" for filler in FILLERS)
    assert not set(spellings()) & set(contractions())


def test_a_long_row_of_number_words_is_no_burden() -> None:
    for word in ("twenty", "hundred and", "thousand", "point one", "nineteen"):
        assert numbers_to_digits(f"{word} ".split() * 3000)
