"""Before the first step: read the audio lists, hold some out, and settle the vocabulary."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from kdcompress.audio.manifest import BadFile, read_references, read_texts, read_utterances
from kdcompress.audio.utterance import Utterance
from kdcompress.config.data import DataConfig
from kdcompress.config.recipe import Recipe
from kdcompress.config.vocabulary import Characters
from kdcompress.distill.data.batches import hold_out
from kdcompress.distill.data.noise import write_noise
from kdcompress.distill.run import Run
from kdcompress.errors import AudioError, ConfigError, VocabularyError
from kdcompress.text.normalize import normalize
from kdcompress.text.tokenizer import Tokenizer
from kdcompress.text.vocabulary import Vocabulary


@dataclass(frozen=True)
class TrainingData:
    """What a run trains on and is judged by.

    Attributes:
        training: utterances to train on.
        held_out: utterances to validate on.
        labels: target ids of the training utterances, when λ < 1.
        references: texts of the held-out utterances, when the user named some or λ < 1.
        clips: how many of the last training utterances are noise made here.
    """

    training: list[Utterance]
    held_out: list[Utterance]
    labels: dict[str, list[int]] | None
    references: dict[str, str] | None
    clips: int = 0


def load_training_data(
    recipe: Recipe,
    tokenizer: Tokenizer | Vocabulary,
    run: Run,
    on_progress: Callable[[int, int], None] | None = None,
) -> TrainingData:
    """Read the lists of audio that the recipe names; texts only where λ < 1 or references ask for them.

    Raises:
        ConfigError: the recipe names no audio.
        AudioError: nothing usable is left.
        TooManyBadFiles: more unusable files than allowed.
        ManifestError: a manifest line is malformed or lacks a needed text.
        VocabularyError: a transcript cannot be written in the vocabulary.
    """
    data = recipe.data
    if data.audio is None:
        raise ConfigError("the recipe names no audio: set data.audio to a folder or a manifest")
    found, bad = read_utterances(data.audio, on_progress=on_progress)
    training = _usable(found, bad, data, run)
    if not training:
        raise AudioError(
            f"{data.audio}: none of {len(found) + len(bad)} files is usable "
            f"(between {data.min_seconds} s and {data.max_seconds} s, readable); see {run.skipped}"
        )
    texts = None
    if recipe.objective.kd_weight < 1:
        # Not read_references: an unusable file is skipped here, not an error.
        texts = {id_: normalize(text, "basic") for id_, text in read_texts(data.audio).items()}
    if data.validation.references is not None:
        named = read_references(data.validation.references)
        held_out = [r.utterance for r in named]
        references: dict[str, str] | None = {r.utterance.id: r.text for r in named}
    elif data.validation.audio is not None:
        held_out, unusable = read_utterances(data.validation.audio)
        held_out = _usable(held_out, unusable, data, run)
        references = None
    else:
        training, held_out = hold_out(training, data.validation.share, data.validation.max_seconds)
        references = texts
    if not training or not held_out:
        raise AudioError(
            f"{data.audio}: too few usable files to train and to validate; at least two are needed"
        )
    held_out, references = _own_ids(held_out, references, {u.id for u in training})
    labels = None if texts is None else {u.id: tokenizer.encode(texts[u.id]) for u in training}
    clips = 0
    if data.noise_share:
        noise = write_noise(
            run.folder / "data" / "noise", round(data.noise_share * len(training)), recipe.seed
        )
        training = [*training, *noise]
        if labels is not None:
            labels |= {clip.id: [] for clip in noise}
        clips = len(noise)
    return TrainingData(training, held_out, labels, references, clips)


def _own_ids(
    held_out: list[Utterance], references: dict[str, str] | None, taken: set[str]
) -> tuple[list[Utterance], dict[str, str] | None]:
    """Rename held-out utterances that share an id with a training one: answers are remembered by id."""
    names = {u.id: f"held out/{u.id}" if u.id in taken else u.id for u in held_out}
    renamed = None if references is None else {names.get(id_, id_): text for id_, text in references.items()}
    return [replace(u, id=names[u.id]) for u in held_out], renamed


def _usable(found: list[Utterance], bad: list[BadFile], data: DataConfig, run: Run) -> list[Utterance]:
    # A length that the user ruled out is a wish, not a fault of the file: listed, but not held against it.
    kept = [u for u in found if data.min_seconds <= u.duration <= data.max_seconds]
    empty = [BadFile(u.audio, "no audio in it") for u in found if u.duration <= 0]
    run.skip([*bad, *empty], len(found) + len(bad), data.max_bad_share)
    run.note_out_of_range(
        [u for u in found if u.duration > 0 and not data.min_seconds <= u.duration <= data.max_seconds]
    )
    return kept


def resolve_vocabulary(recipe: Recipe, teacher: Vocabulary | None) -> Vocabulary:
    """Return the teacher's vocabulary, or where no frames are compared the one that the recipe asks for.

    Raises:
        VocabularyError: the recipe insists on others than the teacher's, or they cannot write what it says.
    """
    asked = None if recipe.vocabulary is None and teacher is not None else _characters(recipe)
    if teacher is None:
        if asked is None:
            raise ConfigError("neither a teacher nor a vocabulary: give one of them")
        return asked
    if asked is not None and not recipe.objective.compares_frames:
        if unwritten := sorted(set(teacher.characters) - set(asked.tokens)):
            raise VocabularyError(
                f"the teacher says {unwritten[:5]}, which the recipe's vocabulary ({len(asked)} tokens) "
                "lacks: add them to vocabulary.alphabet"
            )
        return asked
    if asked is not None and set(asked.tokens) - set(teacher.tokens):
        missing = sorted(set(asked.tokens) - set(teacher.tokens))
        raise VocabularyError(
            f"the recipe's vocabulary has {missing[:5]}, which the teacher's "
            f"({len(teacher)} tokens) lacks; a student distilled frame by frame has its teacher's "
            "units: leave `vocabulary` out"
        )
    return teacher


def _characters(recipe: Recipe) -> Vocabulary:
    asked = recipe.vocabulary if isinstance(recipe.vocabulary, Characters) else Characters()
    return Vocabulary(("<blk>", "|", *asked.alphabet), blank=0, word_boundary="|")
