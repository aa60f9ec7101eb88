"""What a student writes: characters or pieces of words."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from kdcompress.config.base import Frozen


class Characters(Frozen):
    """Output units of supervised training: one per character, a word boundary and the blank."""

    kind: Literal["characters"] = "characters"
    alphabet: str = Field("'abcdefghijklmnopqrstuvwxyz", min_length=1)


class SentencePiece(Frozen):
    """Pieces of words, learned before training starts; kept in the run as tokenizer.model.

    They are learned from the teacher's transcripts of `data.audio`, or, with λ < 1, from its references.

    Attributes:
        size: number of output units, blank included.
        model: how pieces are found: byte-pair encoding (Sennrich et al. 2016, arXiv 1508.07909) or a unigram
            language model (Kudo 2018, arXiv 1804.10959).
    """

    kind: Literal["sentencepiece"]
    size: int = Field(ge=4)
    model: Literal["bpe", "unigram"] = "bpe"


def _kind(value: Any) -> str:
    found = value.get("kind", "characters") if isinstance(value, dict) else getattr(value, "kind", None)
    return str(found)


# `kind` may be left out for characters, which a plain discriminator would not allow.
VocabularyConfig = Annotated[
    Annotated[Characters, Tag("characters")] | Annotated[SentencePiece, Tag("sentencepiece")],
    Discriminator(_kind),
]
