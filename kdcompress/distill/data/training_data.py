"""List the audio that a recipe names, and hold some of it out for validation."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from kdcompress.aliases import Progress
from kdcompress.audio.manifest import BadFile, read_references, read_texts, read_utterances
from kdcompress.audio.utterance import Utterance
from kdcompress.config.data import DataConfig
from kdcompress.config.recipe import Recipe
from kdcompress.distill.data.fingerprint import hashed_number
from kdcompress.distill.data.noise import write_noise
from kdcompress.distill.run import Run
from kdcompress.errors import AudioError, ConfigError
from kdcompress.text.normalize import normalize
from kdcompress.text.tokenizer import Tokenizer
from kdcompress.text.vocabulary import Vocabulary


@dataclass(frozen=True)
class TrainingData:
    """What a run trains on and is validated on.

    Attributes:
        training: utterances to train on.
        held_out: utterances to validate on.
        labels: target ids of the training utterances, when texts were read.
        references: texts of the held-out utterances, when texts were read or the user named some.
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
    on_progress: Progress | None = None,
    *,
    with_texts: bool,
) -> TrainingData:
    """Read the lists of audio that the recipe names.

    Args:
        run: that lists what is left out.
        with_texts: read the transcripts of the training audio, for labels; those of the named references are
            read in any case.

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
    if with_texts:
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


def hold_out(
    utterances: Sequence[Utterance], share: float, max_seconds: float
) -> tuple[list[Utterance], list[Utterance]]:
    """Split into (training, held out) by a hash of the ids, so that new files do not move old ones.

    At least one utterance is held out, and at most `max_seconds` of audio; the rest of the share is
    given back to training.
    """
    ranked = sorted(utterances, key=lambda u: hashed_number(f"hold out/{u.id}"))
    held: list[Utterance] = []
    seconds = 0.0
    for utterance in ranked[: max(1, round(share * len(ranked)))]:
        if held and seconds + utterance.duration > max_seconds:
            break
        held.append(utterance)
        seconds += utterance.duration
    chosen = {u.id for u in held}
    return [u for u in utterances if u.id not in chosen], held


def _own_ids(
    held_out: list[Utterance], references: dict[str, str] | None, taken: set[str]
) -> tuple[list[Utterance], dict[str, str] | None]:
    """Rename held-out utterances that share an id with a training one: posteriors are remembered by id."""
    names = {u.id: f"held out/{u.id}" if u.id in taken else u.id for u in held_out}
    renamed = None if references is None else {names.get(id_, id_): text for id_, text in references.items()}
    return [replace(u, id=names[u.id]) for u in held_out], renamed


def _usable(found: list[Utterance], bad: list[BadFile], data: DataConfig, run: Run) -> list[Utterance]:
    # A length that the recipe rules out is no fault of the file: listed, but not counted as bad.
    kept = [u for u in found if data.min_seconds <= u.duration <= data.max_seconds]
    empty = [BadFile(u.audio, "no audio in it") for u in found if u.duration <= 0]
    run.skip([*bad, *empty], len(found) + len(bad), data.max_bad_share)
    run.note_out_of_range(
        [u for u in found if u.duration > 0 and not data.min_seconds <= u.duration <= data.max_seconds]
    )
    return kept
