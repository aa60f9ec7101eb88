"""The tokens of a CTC model: which id is the blank, which token separates words."""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from kdcompress.errors import VocabularyError

if TYPE_CHECKING:
    from typing_extensions import Self

_IPA = re.compile("[\u0250-\u02af]")


@dataclass(frozen=True)
class Vocabulary:
    """The output units of a CTC model, in the order of its output dimension V.

    Attributes:
        tokens: one string per output id; the blank has one too (its name is never printed).
        blank: id of the CTC blank; explicit, since toolkits disagree (0, V - 1, `<pad>`).
        word_boundary: the string that stands for a space inside tokens ("|", "▁", " "), or None.
        silent: ids other than the blank that print nothing (`<s>`, `</s>`, `<unk>`).
        spaced: whether there are spaces around every token, though none is in it: phones, whole words.

    Raises:
        VocabularyError: a token occurs twice or is empty, or an id is out of range.
    """

    tokens: tuple[str, ...]
    blank: int
    word_boundary: str | None = None
    silent: frozenset[int] = frozenset()
    spaced: bool = False

    def __post_init__(self) -> None:
        if len(set(self.tokens)) != len(self.tokens):
            twice = sorted(token for token, count in Counter(self.tokens).items() if count > 1)
            raise VocabularyError(
                f"vocabulary has tokens that occur twice: {twice[:5]}; each id needs its own"
            )
        if "" in self.tokens:
            raise VocabularyError(f"vocabulary has an empty token at id {self.tokens.index('')}")
        ids = {self.blank, *self.silent}
        if not ids <= set(range(len(self.tokens))):
            raise VocabularyError(
                f"blank {self.blank} or silent ids {sorted(self.silent)} are outside 0…{len(self.tokens) - 1}"
            )

    def __len__(self) -> int:
        return len(self.tokens)

    def __repr__(self) -> str:
        return f"Vocabulary({len(self)} tokens, blank={self.blank}, fingerprint={self.fingerprint})"

    @cached_property
    def fingerprint(self) -> str:
        """Twelve hex digits that change when any token, the blank or the word boundary does."""
        # Without `spaced` where that is not so: what was written before it was known is still the same.
        identity = [self.tokens, self.blank, self.word_boundary, sorted(self.silent), *([True] * self.spaced)]
        text = json.dumps(identity)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @cached_property
    def printed(self) -> tuple[str | None, ...]:
        """What each id prints, word boundaries as spaces; None for the blank and the silent ids."""
        nothing = {self.blank, *self.silent}
        boundary = " " if self.word_boundary is None else self.word_boundary
        before = " " if self.spaced else ""
        return tuple(
            None if i in nothing else before + t.replace(boundary, " ") for i, t in enumerate(self.tokens)
        )

    @property
    def characters(self) -> list[str]:
        """The characters that its tokens can print, sorted, spaces left out."""
        return sorted(set("".join(text or "" for text in self.printed)) - set(" "))

    def text(self, ids: Sequence[int]) -> str:
        """Join collapsed label ids into text; the blank and silent ids print nothing."""
        printed = self.printed
        return " ".join("".join(printed[i] or "" for i in ids).split())

    def separated(self, ids: Sequence[int]) -> str:
        """Join collapsed label ids with a space between tokens; word boundaries are left out."""
        texts = ((self.printed[i] or "").strip() for i in ids)
        return " ".join(text for text in texts if text)

    @cached_property
    def phonetic(self) -> bool:
        """Whether tokens are phones in IPA: one in four has one of its letters, more than any alphabet."""
        printing = [text for text in self.printed if text is not None and text.strip()]
        return 4 * sum(_IPA.search(text) is not None for text in printing) >= max(1, len(printing))

    def in_its_case(self, text: str) -> str:
        """Return text in capitals where the tokens have no small letters, and the other way round."""
        return text.upper() if self._capitals else text.lower() if self._small else text

    def encode(self, text: str) -> list[int]:
        """Map text to ids by longest match (exact for character vocabularies), or token by token if `spaced`.

        A vocabulary of capitals alone takes text in either case.

        Raises:
            VocabularyError: a stretch of the text is in no token.
        """
        cased = text.upper() if self._capitals else text
        if self.spaced:
            return [self._id_of(token, text) for token in cased.split()]
        boundary = self.word_boundary or " "
        rest = boundary.join(cased.split())
        if boundary == "▁":
            rest = boundary + rest
        ids: list[int] = []
        while rest:
            for size in range(min(self._longest, len(rest)), 0, -1):
                found = self._ids.get(rest[:size])
                if found is not None:
                    ids.append(found)
                    rest = rest[size:]
                    break
            else:
                raise self._no_token(rest[0], text)
        return ids

    def _id_of(self, token: str, text: str) -> int:
        if token not in self._ids:
            raise self._no_token(token, text)
        return self._ids[token]

    def _no_token(self, stretch: str, text: str) -> VocabularyError:
        return VocabularyError(
            f"no token for {stretch!r} of {text!r} in the vocabulary ({len(self)} tokens): "
            "normalise the transcripts or choose the vocabulary that they were written for"
        )

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {t: i for i, t in enumerate(self.tokens) if i != self.blank and i not in self.silent}

    @cached_property
    def _capitals(self) -> bool:
        characters = "".join(self.characters)
        return characters != characters.lower() and characters == characters.upper()

    @cached_property
    def _small(self) -> bool:
        characters = "".join(self.characters)
        return characters != characters.upper() and characters == characters.lower()

    @cached_property
    def _longest(self) -> int:
        return max((len(t) for t in self._ids), default=0)

    def to_json(self) -> dict[str, Any]:
        """Return plain data for vocabulary.json and bundle.json."""
        return {
            "tokens": list(self.tokens),
            "blank": self.blank,
            "word_boundary": self.word_boundary,
            "silent": sorted(self.silent),
            **({"spaced": True} if self.spaced else {}),
        }

    @classmethod
    def from_json(cls, data: Any) -> "Self":
        """Rebuild what `to_json` wrote.

        Raises:
            VocabularyError: the data do not have that form.
        """
        try:
            tokens = tuple(str(t) for t in data["tokens"])
            boundary = data.get("word_boundary")
            vocabulary = cls(
                tokens,
                int(data["blank"]),
                boundary,
                frozenset(map(int, data.get("silent", []))),
                bool(data.get("spaced", False)),
            )
        except (KeyError, TypeError, AttributeError, OverflowError) as error:
            raise VocabularyError(f"not a vocabulary: {error!r}; expected keys tokens, blank") from error
        if boundary is not None and (not isinstance(boundary, str) or not boundary):
            raise VocabularyError(f"word_boundary is {boundary!r}, expected null or what stands for a space")
        try:
            "".join(tokens).encode()
        except UnicodeEncodeError as error:  # half a surrogate pair: JSON can write it, nobody can print it
            raise VocabularyError(f"a token holds {error.object[error.start]!r}, which is no text") from error
        return vocabulary
