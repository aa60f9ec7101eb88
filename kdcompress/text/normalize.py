"""Make transcripts comparable before they are scored. Every reported error rate names the normaliser."""

import re
import unicodedata
from collections.abc import Mapping
from typing import Literal, TypeAlias

from kdcompress.errors import ConfigError

NormalizerName: TypeAlias = Literal["none", "basic", "english"]
NORMALIZERS: tuple[NormalizerName, ...] = ("none", "basic", "english")

NORMALIZER_VERSIONS: Mapping[str, int] = {"none": 1, "basic": 1, "english": 1}
"""Raised with every change that may alter a score; rates of different versions are not comparable."""

# Typographic and typed apostrophes: right and left quotes, prime, modifier letter, acute, grave.
_APOSTROPHES = str.maketrans(dict.fromkeys("‘’‛′ʼ´`＇", "'"))
_REPEATED = re.compile("'+")


def normalize(text: str, name: str = "basic") -> str:
    """Normalise a transcript.

    Args:
        text: in any language; `english` is for English.
        name: `none` changes nothing; `basic` is NFKC, lower case, punctuation and symbols to spaces except
            apostrophes within words, single spaces; `english` also lets one spelling stand for numbers,
            contractions, British and American forms, and drops hesitations (`kdcompress.text.english` says
            which).

    Raises:
        ConfigError: there is no normaliser of that name.
    """
    if name == "none":
        return text
    if name == "basic":
        return _basic(text)
    if name == "english":
        return _english(text)
    raise ConfigError(f"no text normaliser named {name!r}; there are {', '.join(NORMALIZERS)}")


def _basic(text: str) -> str:
    return _words(_folded(text))


def _english(text: str) -> str:
    # Its tables are built for those who ask for it.
    from kdcompress.text.english import read_symbols, rewrite_words, without_accents

    text = without_accents(_words(read_symbols(_folded(text))))
    return " ".join(rewrite_words(text.split()))


def _folded(text: str) -> str:
    # Apostrophes first: NFKC would turn the acute accent into a space and a combining mark.
    return unicodedata.normalize("NFKC", text.translate(_APOSTROPHES)).lower().translate(_APOSTROPHES)


def _words(text: str) -> str:
    # Composed again: lower case and the removal of format characters can leave letter and accent apart.
    text = unicodedata.normalize("NFKC", "".join(map(_kept, text)))
    words = (_REPEATED.sub("'", word).strip("'") for word in text.split())
    return " ".join(word for word in words if word)


def _kept(character: str) -> str:
    category = unicodedata.category(character)
    if category[0] in "LMN" or character == "'":
        return character
    # Format characters (soft hyphen, zero-width joiners) stand inside words and print nothing.
    return "" if category == "Cf" else " "
