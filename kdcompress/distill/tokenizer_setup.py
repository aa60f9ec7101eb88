"""Resolve the student's units before anything else: the teacher's, given characters, or learned pieces."""

from pathlib import Path

from kdcompress.aliases import Progress
from kdcompress.audio.manifest import read_texts, read_utterances
from kdcompress.config.recipe import Recipe
from kdcompress.config.vocabulary import Characters, SentencePiece
from kdcompress.distill.data.long_recordings import fit
from kdcompress.distill.objective.pseudo_labels import transcribe
from kdcompress.distill.posteriors.source import PosteriorSource
from kdcompress.errors import ConfigError, VocabularyError
from kdcompress.files import write_file
from kdcompress.text.normalize import normalize
from kdcompress.text.tokenizer import LongestMatch, SentencePieceTokenizer, Tokenizer
from kdcompress.text.vocabulary import Vocabulary

FILE_NAME = "tokenizer.model"


def resolve_tokenizer(
    recipe: Recipe,
    source: PosteriorSource | None,
    run: Path | None,
    on_progress: Progress | None = None,
    origin: Vocabulary | None = None,
) -> Tokenizer:
    """Return the run's tokenizer.

    Pieces are learned from the references of `data.audio` where λ < 1 asks for references, else from the
    teacher's transcripts of it; what is held out for validation is among it.

    Args:
        run: one that is taken up again: what it has learned is not learned anew.
        origin: the units of a student whose weights are taken over.

    Raises:
        VocabularyError: the units do not suit the teacher, or tokenizer.model is damaged.
        ConfigError: the texts do not give a vocabulary of that size.
    """
    asked = recipe.vocabulary
    if asked is None and source is None:
        return LongestMatch(supervised_vocabulary(recipe, origin))
    if not isinstance(asked, SentencePiece):
        return LongestMatch(resolve_vocabulary(recipe, None if source is None else source.vocabulary))
    if run is not None and (run / FILE_NAME).is_file():
        tokenizer = SentencePieceTokenizer((run / FILE_NAME).read_bytes())
        if len(tokenizer.vocabulary) != asked.size:
            raise VocabularyError(
                f"{run / FILE_NAME} has {len(tokenizer.vocabulary)} units, the recipe asks for {asked.size}; "
                "restore the run's own"
            )
        return tokenizer
    alphabet = [] if source is None else source.vocabulary.characters
    return SentencePieceTokenizer.learn(
        _texts(recipe, source, on_progress), asked.size, asked.model, alphabet
    )


def keep_tokenizer(tokenizer: Tokenizer, run: Path) -> None:
    """Write the tokenizer of a run into it, where there is one to write."""
    if isinstance(tokenizer, SentencePieceTokenizer):
        write_file(run / FILE_NAME, tokenizer.model)


def _texts(recipe: Recipe, source: PosteriorSource | None, on_progress: Progress | None) -> list[str]:
    data = recipe.data
    if data.audio is None:
        raise ConfigError("the recipe names no audio: set data.audio to a folder or a manifest")
    if recipe.objective.kd_weight < 1:
        return [normalize(text, "basic") for text in read_texts(data.audio).values()]
    if source is None:
        raise ConfigError("no teacher to learn the vocabulary from: name one, or train on transcripts")
    found, _ = read_utterances(data.audio, channels=data.channels)
    usable, _, _ = fit(found, data)
    confidence = recipe.objective.pseudo_label.min_confidence
    return transcribe(usable, source, confidence, data.batch_seconds, on_progress)


def supervised_vocabulary(recipe: Recipe, origin: Vocabulary | None) -> Vocabulary:
    """Return the units of a student without teacher whose recipe asks for none.

    Args:
        origin: of a student whose weights are taken over; None takes the default characters, or where the
            transcripts have others theirs.
    """
    if origin is not None:
        return origin
    default = resolve_vocabulary(recipe, None)
    found = sorted(set("".join(_texts(recipe, None, None))) - {" "})
    if set(found) <= set(default.characters):
        return default
    return Vocabulary((default.tokens[0], "|", *found), blank=0, word_boundary="|")


def resolve_vocabulary(recipe: Recipe, teacher: Vocabulary | None) -> Vocabulary:
    """Return the teacher's vocabulary, or where no frames are compared the one that the recipe asks for.

    Raises:
        VocabularyError: the recipe's are not all among the teacher's, or cannot write its transcripts.
    """
    if recipe.vocabulary is None and teacher is not None:
        return teacher
    characters = recipe.vocabulary if isinstance(recipe.vocabulary, Characters) else Characters()
    asked = Vocabulary(("<blk>", "|", *characters.alphabet), blank=0, word_boundary="|")
    if teacher is None:
        return asked
    if not recipe.objective.compares_frames:
        if unwritten := sorted(set(teacher.characters) - set(asked.tokens)):
            raise VocabularyError(
                f"the teacher has {unwritten[:5]}, which the recipe's vocabulary ({len(asked)} tokens) "
                "lacks: add them to vocabulary.alphabet"
            )
        return asked
    if missing := sorted(set(asked.tokens) - set(teacher.tokens)):
        raise VocabularyError(
            f"the recipe's vocabulary has {missing[:5]}, which the teacher's ({len(teacher)} tokens) lacks; "
            "a student distilled frame by frame has its teacher's units: leave `vocabulary` out"
        )
    return teacher
