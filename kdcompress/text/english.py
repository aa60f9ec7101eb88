"""The normaliser `english`, version 1: two ways to write the same English speech become one.

In this order:

1. `[…]` and `<…>` go with what is in them: annotations of noise, tokens like `<unk>`.
2. Symbols that are read out become words: `$5` is `5 dollars` (£ and €, too, and with magnitudes:
   `$5 million`), `5 %` is `5 percent`, `&` is `and`, `-5` is `minus 5`, `3.14` is `3 point 14`; `1,000` is
   `1000`, `10:30` is `1030`.
3. What `basic` does: NFKC, lower case, punctuation to spaces. Accents on Latin letters go: `café` is `cafe`.
4. Contractions are written in full: n't, 'll, 're, 've, `i'm`, and 's after pronouns and question words, as
   `is`. Elsewhere 's may possess, and 'd is had or would: both stay. Also `dont` and `gonna` and their likes.
5. Hesitations (`uh`, `um`, `er`, `hmm` and their spellings) go.
6. British spellings become American, and a few abbreviations what is said: `mr` is `mister`.
7. Numbers in words become digits; ordinals, decimals, years and times (see `english_numbers`).

What is forgiven is spelling and style. What sounds different stays different, with four exceptions that
follow from the above: contracted and full forms, hesitations, `and` within a number, and a year against a
number (`nineteen ninety nine`, `one thousand nine hundred ninety nine`). A number of several words is one
word afterwards, so there may be fewer reference words than with `basic`.
"""

import re
import unicodedata

from kdcompress.text.english_numbers import numbers_to_digits
from kdcompress.text.english_words import FILLERS, SUFFIXES, contractions, spellings

_ANNOTATION = re.compile(r"\[[^][]*\]|<[^<>]*>")
_THOUSANDS = re.compile(r"(?<![0-9.,])([0-9]{1,3}(?:,[0-9]{3})+)(?![0-9])")
_CLOCK = re.compile(r"(?<![0-9:])([0-9]{1,2}):([0-9]{2})(?![0-9:])")
_MONEY = re.compile(r"([$£€]) ?([0-9]+(?:\.[0-9]+)?)((?: (?:hundred|thousand|million|billion|trillion))*)\b")
_MINUS = re.compile(r"(?<!\S)[-−](?=[0-9])")
_DECIMAL = re.compile(r"(?<![\w.])([0-9]+)\.([0-9]+)(?!\w|\.[0-9])")
_CURRENCIES = {"$": "dollar", "£": "pound", "€": "euro"}


def read_symbols(text: str) -> str:
    """Do steps 1 and 2 on lower-case text in NFKC; what is left of the punctuation has no sound."""
    text = _ANNOTATION.sub(" ", text)
    text = _THOUSANDS.sub(lambda match: match[1].replace(",", ""), text)
    text = _CLOCK.sub(r"\1\2", text)
    text = _MONEY.sub(_money, text)
    text = _MINUS.sub("minus ", text)
    text = _DECIMAL.sub(r"\1 point \2", text)
    return text.replace("%", " percent ").replace("&", " and ")


def without_accents(text: str) -> str:
    """Take the marks off Latin letters; other scripts keep theirs."""
    kept: list[str] = []
    latin = False
    for character in unicodedata.normalize("NFD", text):
        if unicodedata.category(character) != "Mn":
            latin = character.isascii()
        elif latin:
            continue
        kept.append(character)
    return unicodedata.normalize("NFC", "".join(kept))


def rewrite_words(words: list[str]) -> list[str]:
    """Do steps 4 to 7 on words that have been through the others."""
    full = [part for word in words for part in _in_full(word)]
    spoken = [word for word in full if word not in FILLERS]
    table = spellings()
    spelled = " ".join(table.get(word, word) for word in spoken)
    return numbers_to_digits(re.sub(r"\bper cent\b", "percent", spelled).split())


def _money(match: re.Match[str]) -> str:
    symbol, amount, magnitude = match.groups()
    plural = "" if (amount, magnitude) == ("1", "") else "s"
    return f" {amount}{magnitude} {_CURRENCIES[symbol]}{plural} "


def _in_full(word: str) -> list[str]:
    if word in contractions():
        return contractions()[word].split()
    for suffix, meaning in SUFFIXES.items():
        if word.endswith(suffix):
            return [*_in_full(word.removesuffix(suffix)), meaning]
    return [word]
