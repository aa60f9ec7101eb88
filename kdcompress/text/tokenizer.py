"""Text becomes the ids that a student is trained on."""

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from typing_extensions import Self

from kdcompress.errors import ConfigError, VocabularyError
from kdcompress.text.vocabulary import Vocabulary

BLANK = "<blk>"
BOUNDARY = "▁"


class Tokenizer(Protocol):
    """A vocabulary, and how text is cut into its tokens."""

    @property
    def vocabulary(self) -> Vocabulary: ...

    def encode(self, text: str) -> list[int]:
        """Map text to ids.

        Raises:
            VocabularyError: a stretch of the text is in no token.
        """
        ...


@dataclass(frozen=True)
class LongestMatch:
    """Cut at the longest token that fits: exact for characters."""

    vocabulary: Vocabulary

    def encode(self, text: str) -> list[int]:
        """Map text to ids; see `Tokenizer.encode`."""
        return self.vocabulary.encode(text)


@dataclass(frozen=True)
class SentencePieceTokenizer:
    """Cut by a sentencepiece model (Kudo and Richardson 2018, arXiv 1808.06226).

    Ids are the model's own, but 0, its unknown token, is the blank: text that needs it is refused.

    Attributes:
        model: content of tokenizer.model.

    Raises:
        VocabularyError: `model` is damaged, or its unknown token is not 0.
    """

    model: bytes = field(repr=False)
    vocabulary: Vocabulary = field(init=False)
    _processor: Any = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # On demand: only students with pieces of their own need it.
        from sentencepiece import SentencePieceProcessor

        processor = SentencePieceProcessor()
        try:
            processor.LoadFromSerializedProto(self.model)
        except RuntimeError as error:
            raise VocabularyError("tokenizer.model is damaged: no sentencepiece model; restore it") from error
        if processor.unk_id() != 0:
            raise VocabularyError(
                f"tokenizer.model has its unknown token at {processor.unk_id()}, expected at 0"
            )
        pieces = [processor.id_to_piece(index) for index in range(1, processor.get_piece_size())]
        object.__setattr__(self, "vocabulary", Vocabulary((BLANK, *pieces), 0, BOUNDARY))
        object.__setattr__(self, "_processor", processor)

    def encode(self, text: str) -> list[int]:
        """Map text to ids; see `Tokenizer.encode`."""
        ids: list[int] = self._processor.encode(text)
        if 0 in ids:
            pieces = self._processor.encode(text, out_type=str)
            raise VocabularyError(
                f"no token for {pieces[ids.index(0)]!r} of {text!r} in the vocabulary "
                f"({len(self.vocabulary)} tokens): it was learned from texts without it"
            )
        return ids

    @classmethod
    def learn(
        cls,
        texts: Iterable[str],
        size: int,
        kind: Literal["bpe", "unigram"],
        alphabet: Sequence[str] = (),
    ) -> Self:
        """Learn the pieces of texts; the same texts give the same pieces.

        Args:
            size: of the vocabulary, blank included.
            alphabet: characters that must be there though no text may have them.

        Raises:
            ConfigError: there is no text, or it does not give so many, or so few, pieces.
        """
        from sentencepiece import SentencePieceTrainer

        spoken = [text for text in texts if text]
        if not spoken:
            raise ConfigError("no text to learn the vocabulary from: all transcripts are empty")
        model = io.BytesIO()
        try:
            SentencePieceTrainer.train(
                sentence_iterator=iter(spoken),
                model_writer=model,
                vocab_size=size,
                model_type=kind,
                required_chars="".join(alphabet),
                # The texts are what will be printed: nothing is to be rewritten or left out.
                character_coverage=1.0,
                normalization_rule_name="identity",
                unk_id=0,
                bos_id=-1,
                eos_id=-1,
                pad_id=-1,
                num_threads=1,
                minloglevel=2,
            )
        except (RuntimeError, OSError) as error:
            # Its last sentence is about flags of its own command line.
            reason = str(error).strip().rpartition("] ")[2].partition(" Increase")[0]
            raise ConfigError(
                f"vocabulary.size={size} does not suit {len(spoken)} transcripts (sentencepiece: {reason})"
            ) from error
        return cls(model.getvalue())
