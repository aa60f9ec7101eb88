"""English numbers in words become digits; a number in digits may be what a magnitude word multiplies."""

from collections.abc import Sequence
from typing import NamedTuple

_UNITS_IN_ORDER = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen"
)
_TENS_IN_ORDER = "twenty thirty forty fifty sixty seventy eighty ninety"
_UNITS = {word: value for value, word in enumerate(_UNITS_IN_ORDER.split())}
_TENS = {word: 10 * value for value, word in enumerate(_TENS_IN_ORDER.split(), 2)}
_SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_IRREGULAR = {
    "first": "one",
    "second": "two",
    "third": "three",
    "fifth": "five",
    "eighth": "eight",
    "ninth": "nine",
    "twelfth": "twelve",
}
_CARDINALS = {**_UNITS, **_TENS, "hundred": 100, **_SCALES}
_ORDINALS = {
    **{word: _CARDINALS[base] for word, base in _IRREGULAR.items()},
    **{
        (word[:-1] + "ieth" if word.endswith("y") else word + "th"): value
        for word, value in _CARDINALS.items()
        if word not in {"zero", *_IRREGULAR.values()}
    },
}
_DIGIT_WORDS = {**_UNITS, "oh": 0}
_DIGITS = 15  # of a number in digits that a magnitude word may still multiply


class _Number(NamedTuple):
    """A number that was read.

    Attributes:
        end: index of the first word after it.
    """

    value: int
    end: int
    ordinal: bool = False


def numbers_to_digits(words: Sequence[str]) -> list[str]:
    """Write the numbers among lower-case words in digits.

    `two hundred and five` is 205, `twenty first` 21st, `three point one four` 3 point 14,
    `2 point 5 million` 2500000. Two numbers that no other stands beside, 10 to 20 and then 10 to 99 or `oh`
    and a digit, are a year or a time: `nineteen ninety nine` is 1999. Other numbers in a row stay apart:
    `one two three` is 1 2 3.
    """
    found: list[str] = []
    at = 0
    while at < len(words):
        written, at = _year(words, at) or _decimal(words, at) or _integer(words, at) or ([words[at]], at + 1)
        found += written
    return found


_Found = tuple[list[str], int]


def _year(words: Sequence[str], at: int) -> _Found | None:
    first = _small(words, at)
    if first is None or first.ordinal or not 10 <= first.value <= 20 or (at and _numeric(words[at - 1])):
        return None
    end = first.end
    if _word(words, end) == "oh":
        second = _small(words, end + 1)
        fits = second is not None and 1 <= second.value <= 9
    else:
        second = _small(words, end)
        fits = second is not None and second.value >= 10
    if second is None or not fits or second.ordinal or _numeric(_word(words, second.end)):
        return None
    return [str(100 * first.value + second.value)], second.end


def _decimal(words: Sequence[str], at: int) -> _Found | None:
    """Read an integer, `point` and single digits, or digits in one word; a magnitude may follow."""
    if words[at].isdecimal():
        whole, point = words[at], at + 1
    else:
        number = _cardinal(words, at)
        if number is None or number.ordinal:
            return None
        whole, point = str(number.value), number.end
    if _word(words, point) != "point":
        return None
    end = point + 1
    if _word(words, end).isdecimal():
        fraction, end = words[end], end + 1
    else:
        fraction = ""
        while (digit := _DIGIT_WORDS.get(_word(words, end), 10)) < 10:
            fraction, end = fraction + str(digit), end + 1
    scale = _SCALES.get(_word(words, end))
    if not fraction:
        return None
    if scale is None or len(whole + fraction) > _DIGITS:
        return [whole, "point", fraction], end
    shift = 10 ** len(fraction)
    quotient, remainder = divmod(int(whole + fraction) * scale, shift)
    rest = str(remainder).zfill(len(fraction)).rstrip("0")
    return [str(quotient), *(["point", rest] if rest else [])], end + 1


def _integer(words: Sequence[str], at: int) -> _Found | None:
    if words[at].isdecimal():
        return _multiplied(words, at)
    number = _cardinal(words, at)
    if number is None:
        return None
    return [f"{number.value}{_ending(number.value) if number.ordinal else ''}"], number.end


def _multiplied(words: Sequence[str], at: int) -> _Found:
    """Read a number in digits with the magnitudes behind it: `5 hundred thousand`."""
    end = at + 1
    if len(words[at]) > _DIGITS or not words[at].isascii():
        return [words[at]], end
    value, last = int(words[at]), 1
    while (scale := {"hundred": 100, **_SCALES}.get(_word(words, end), 0)) > last:
        value, last, end = value * scale, scale, end + 1
    return [words[at] if end == at + 1 else str(value)], end


def _cardinal(words: Sequence[str], at: int) -> _Number | None:
    """Read the longest number in words that begins here; an ordinal ends it."""
    total, last, end = 0, 10**15, at
    while True:
        start = end + 1 if total and _word(words, end) == "and" else end
        scale = _scale(words, start)
        group = _Number(1, start) if scale and not total and end == at else _hundreds(words, start)
        if group is None:
            return _Number(total, end) if end > at else None
        scale = _scale(words, group.end)
        multiplied = scale is not None and not group.ordinal and 1 <= group.value <= 999
        if total and (
            not group.value or group.value >= last or (multiplied and scale and scale.value >= last)
        ):
            return _Number(total, end)
        if scale is None or not multiplied:
            return _Number(total + group.value, group.end, group.ordinal)
        total, last, end = total + group.value * scale.value, scale.value, scale.end
        if scale.ordinal:
            return _Number(total, end, ordinal=True)


def _hundreds(words: Sequence[str], at: int) -> _Number | None:
    """Read a number with at most one `hundred` in it, up to 9999."""
    word = _word(words, at)
    if word in {"hundred", "hundredth"}:
        number, hundred = _Number(1, at), word
    else:
        read = _small(words, at)
        if read is None or read.ordinal or not read.value:
            return read
        number, hundred = read, _word(words, read.end)
    if hundred not in {"hundred", "hundredth"}:
        return number
    value, end = 100 * number.value, number.end + 1
    if hundred == "hundredth":
        return _Number(value, end, ordinal=True)
    rest = _small(words, end + 1 if _word(words, end) == "and" else end)
    return _Number(value + rest.value, rest.end, rest.ordinal) if rest and rest.value else _Number(value, end)


def _small(words: Sequence[str], at: int) -> _Number | None:
    """Read a number below a hundred."""
    word = _word(words, at)
    value, ordinal = _CARDINALS.get(word), False
    if value is None:
        value, ordinal = _ORDINALS.get(word), True
    if value is None or value >= 100:
        return None
    if word in _TENS:
        following = _word(words, at + 1)
        unit = _CARDINALS.get(following) or _ORDINALS.get(following, 0)
        if 1 <= unit <= 9:
            return _Number(value + unit, at + 2, following in _ORDINALS)
    return _Number(value, at + 1, ordinal)


def _scale(words: Sequence[str], at: int) -> _Number | None:
    word = _word(words, at)
    if word in _SCALES:
        return _Number(_SCALES[word], at + 1)
    value = _ORDINALS.get(word, 0)
    return _Number(value, at + 1, ordinal=True) if value >= 1000 else None


def _word(words: Sequence[str], at: int) -> str:
    return words[at] if at < len(words) else ""


def _numeric(word: str) -> bool:
    return word in _CARDINALS or word in _ORDINALS or word[:1].isdecimal()


def _ending(value: int) -> str:
    if value % 100 in {11, 12, 13}:
        return "th"
    return {1: "st", 2: "nd", 3: "rd"}.get(value % 10, "th")
