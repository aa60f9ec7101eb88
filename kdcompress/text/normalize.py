"""Make transcripts comparable before they are scored. Every reported error rate names the normaliser."""

import re
import unicodedata
from typing import Literal, TypeAlias

from kdcompress.errors import ConfigError

NormalizerName: TypeAlias = Literal["none", "basic"]
NORMALIZERS: tuple[NormalizerName, ...] = ("none", "basic")

NORMALIZER_VERSION = 1
"""Raised with every change that may alter a score; rates of different versions are not comparable."""

# Typographic and typed apostrophes: right and left quotes, prime, modifier letter, acute, grave.
_APOSTROPHES = str.maketrans(dict.fromkeys("‘’‛′ʼ´`＇", "'"))
_REPEATED = re.compile("'+")


def normalize(text: str, name: str = "basic") -> str:
    """Normalise a transcript.

    Args:
        text: in any language.
        name: `none` changes nothing; `basic` is NFKC, lower case, punctuation and symbols to spaces except
            apostrophes within words, single spaces.

    Raises:
        ConfigError: there is no normaliser of that name.
    """
    if name == "none":
        return text
    if name == "basic":
        return _basic(text)
    raise ConfigError(f"no text normaliser named {name!r}; there are {', '.join(NORMALIZERS)}")


def _basic(text: str) -> str:
    # Apostrophes first: NFKC would turn the acute accent into a space and a combining mark.
    text = unicodedata.normalize("NFKC", text.translate(_APOSTROPHES)).lower().translate(_APOSTROPHES)
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
