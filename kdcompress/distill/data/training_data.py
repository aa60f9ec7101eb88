"""List the audio that a recipe names, and hold some of it out for validation."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from kdcompress.aliases import Progress
from kdcompress.audio.corpus.index import is_packed
from kdcompress.audio.manifest import BadFile, read_references, read_texts, read_utterances
from kdcompress.audio.utterance import Utterance
from kdcompress.config.data import DataConfig
from kdcompress.config.recipe import Recipe
from kdcompress.distill.data.audio_batch import AudioMemory
from kdcompress.distill.data.fingerprint import AudioList, audio_list, hashed_number
from kdcompress.distill.data.long_recordings import fit
from kdcompress.distill.data.noise import write_noise
from kdcompress.distill.data.packed_audio import MOST_CLIPS, SAMPLED_SHARDS, PackedAudio
from kdcompress.distill.run import Run
from kdcompress.errors import AudioError, ConfigError, VocabularyError
from kdcompress.text.normalize import normalize
from kdcompress.text.tokenizer import Tokenizer
from kdcompress.text.vocabulary import Vocabulary


@dataclass(frozen=True)
class TrainingData:
    """What a run trains on and is validated on.

    Attributes:
        training: utterances to train on: a list, or a packed corpus, which is read shard by shard.
        held_out: utterances to validate on.
        labels: target ids of the training utterances, when texts were read.
        references: texts of the held-out utterances, when texts were read or the user named some.
        clips: how many of the last training utterances are noise made here; of a packed corpus, how many
            files of noise there are.
        cut: one line on the long recordings that were cut, if any.
        memory: of what was decoded, for all that reads it.
    """

    training: list[Utterance] | PackedAudio
    held_out: list[Utterance]
    labels: dict[str, list[int]] | None
    references: dict[str, str] | None
    clips: int = 0
    cut: str = ""
    memory: AudioMemory = field(default_factory=lambda: AudioMemory(0))

    @property
    def sample(self) -> list[Utterance]:
        """Training utterances that stand for all: all of them, or those of some shards."""
        return self.training.sample if isinstance(self.training, PackedAudio) else self.training

    @property
    def speech(self) -> list[Utterance]:
        """The same without noise."""
        if isinstance(self.training, PackedAudio):
            return self.training.sample
        return self.training[: len(self.training) - self.clips]

    @property
    def seconds(self) -> float:
        """Training audio [s]."""
        if isinstance(self.training, PackedAudio):
            return self.training.seconds
        return sum(u.duration for u in self.training)

    def described(self, seed: int, on_progress: Progress | None = None) -> AudioList:
        """Return what makes training audio the same: of each file, or of a packed corpus as a whole."""
        if isinstance(self.training, PackedAudio):
            return self.training.description
        return audio_list(self.training, self.clips, seed, on_progress)

    @property
    def label_rate(self) -> float:
        """Labels that a second of speech has; 0 where no texts were read."""
        if self.labels is None:
            return 0.0
        spoken = [u for u in self.sample if self.labels[u.id]]
        labels = sum(len(self.labels[u.id]) for u in spoken)
        return labels / max(1e-9, sum(u.duration for u in spoken))


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
    if with_texts and data.channels == "split":
        raise ConfigError(
            "data.channels: split does not know whose words a transcript has: give each channel a line of "
            'its own in the manifest, with "channel_selector"'
        )
    if not with_texts and data.channels == "mix" and data.audio.is_dir() and is_packed(data.audio):
        return _packed(recipe, data.audio, run)
    found, bad = read_utterances(data.audio, channels=data.channels, on_progress=on_progress)
    begin = time.perf_counter()
    training, outside = _usable(found, bad, data, run, cut=not with_texts, on_progress=on_progress)
    cut = _cut_line(found, training, data, time.perf_counter() - begin)
    if not training:
        raise AudioError(_nothing_left(data, run, len(bad), outside))
    texts = None
    if with_texts:
        # Not read_references: an unusable file is skipped here, not an error.
        texts = {id_: normalize(text, "basic") for id_, text in read_texts(data.audio).items()}
    if (named := _named_validation(data, run)) is not None:
        held_out, references = named
    else:
        training, held_out = hold_out(training, data.validation.share, data.validation.max_seconds)
        references = texts
    if not training or not held_out:
        raise AudioError(
            f"{data.audio}: too few usable files to train and to validate; at least two are needed"
        )
    held_out, references = _own_ids(held_out, references, {u.id for u in training})
    labels = None if texts is None else _labels(recipe, tokenizer, training, texts)
    clips = 0
    if data.noise_share:
        noise = write_noise(
            run.folder / "data" / "noise", round(data.noise_share * len(training)), recipe.seed
        )
        training = [*training, *noise]
        if labels is not None:
            labels |= {clip.id: [] for clip in noise}
        clips = len(noise)
    memory = AudioMemory(data.memory_mb)
    return TrainingData(training, held_out, labels, references, clips, cut, memory)


def _packed(recipe: Recipe, folder: Path, run: Run) -> TrainingData:
    """Take a packed corpus as it is, without a list of what is in it."""
    data, audio = recipe.data, PackedAudio(folder, recipe.data)
    sample = audio.sample
    if not sample:
        raise AudioError(
            f"{folder}: nothing in {SAMPLED_SHARDS} shards is between data.min_seconds {data.min_seconds:g} "
            f"and data.max_seconds {data.max_seconds:g}: widen them"
        )
    named = _named_validation(data, run)
    if named is None:
        rest, held_out = hold_out(sample, data.validation.share, data.validation.max_seconds)
        references = None
        if not rest:
            raise AudioError(
                f"{folder}: too few usable files to train and to validate; at least two are needed"
            )
        audio.held_out = frozenset(u.id for u in held_out)
    else:
        held_out, references = named
        held_out, references = _own_ids(held_out, references, {u.id for u in sample})
    if data.noise_share:
        audio.clip_count = round(data.noise_share * len(audio))
        clips = min(audio.clip_count, MOST_CLIPS)
        audio.clips = write_noise(run.folder / "data" / "noise", clips, recipe.seed)
    return TrainingData(audio, held_out, None, references, len(audio.clips))


def _named_validation(data: DataConfig, run: Run) -> tuple[list[Utterance], dict[str, str] | None] | None:
    """Return the audio that the recipe names to validate on, with its texts if any; None: it names none."""
    if data.validation.references is not None:
        named = read_references(data.validation.references)
        return [r.utterance for r in named], {r.utterance.id: r.text for r in named}
    if data.validation.audio is not None:
        held_out, unusable = read_utterances(data.validation.audio, channels=data.channels)
        return _usable(held_out, unusable, data, run)[0], None
    return None


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


def _labels(
    recipe: Recipe, tokenizer: Tokenizer | Vocabulary, training: Sequence[Utterance], texts: Mapping[str, str]
) -> dict[str, list[int]]:
    try:
        return {u.id: tokenizer.encode(texts[u.id]) for u in training}
    except VocabularyError as error:
        characters = sorted(set("".join(texts[u.id] for u in training)) - {" "})
        missing = [character for character in characters if not _writes(tokenizer, character)]
        if not missing:  # a stretch, not a character
            raise
        if recipe.objective.compares_frames:
            remedy = "normalise them: a student distilled frame by frame has its teacher's units"
        elif recipe.vocabulary is None and recipe.training.start_from is not None:
            remedy = "normalise them, for the units are those of training.start_from, or begin without it"
        else:
            remedy = "set vocabulary.alphabet to all characters that are to be written, or normalise them"
        first = next(u for u in training if set(missing) & set(texts[u.id]))
        raise VocabularyError(
            f"the transcripts have {', '.join(map(repr, missing[:20]))}, which no token writes (first in "
            f"{first.id}: {texts[first.id][:60]!r}): {remedy}"
        ) from error


def _writes(tokenizer: Tokenizer | Vocabulary, character: str) -> bool:
    try:
        return bool(tokenizer.encode(character))
    except VocabularyError:
        return False


def _own_ids(
    held_out: list[Utterance], references: dict[str, str] | None, taken: set[str]
) -> tuple[list[Utterance], dict[str, str] | None]:
    """Rename held-out utterances that share an id with a training one: posteriors are remembered by id."""
    names = {u.id: f"held out/{u.id}" if u.id in taken else u.id for u in held_out}
    renamed = None if references is None else {names.get(id_, id_): text for id_, text in references.items()}
    return [replace(u, id=names[u.id]) for u in held_out], renamed


def _usable(
    found: list[Utterance],
    bad: list[BadFile],
    data: DataConfig,
    run: Run,
    *,
    cut: bool = True,
    on_progress: Progress | None = None,
) -> tuple[list[Utterance], list[Utterance]]:
    """Return the utterances to use, and those that the recipe's limits leave out."""
    # A length that the recipe rules out is no fault of the file: listed, but not counted as bad.
    readable = [u for u in found if u.duration > 0]
    kept, outside, damaged = fit(readable, data, cut=cut, on_progress=on_progress)
    empty = [BadFile(u.audio, "no audio in it") for u in found if u.duration <= 0]
    run.skip([*bad, *empty, *damaged], len(found) + len(bad), data.max_bad_share)
    run.note_out_of_range(outside)
    return kept, outside


def _cut_line(found: list[Utterance], kept: list[Utterance], data: DataConfig, seconds: float) -> str:
    long = [u for u in found if u.duration > data.max_seconds]
    whole = {u.id for u in found}
    stretches = [u for u in kept if u.id not in whole]
    if not stretches:
        return ""
    return (
        f"{len(long)} recordings are longer than data.max_seconds ({data.max_seconds:g} s) and were cut at "
        f"pauses: {len(stretches)} stretches, {sum(u.duration for u in stretches) / 3600:.2f} of "
        f"{sum(u.duration for u in long) / 3600:.2f} h; decoding them for that took {seconds:.0f} s"
    )


def _nothing_left(data: DataConfig, run: Run, bad: int, outside: Sequence[Utterance]) -> str:
    long = [u for u in outside if u.duration > data.max_seconds]
    parts = []
    if bad:
        parts.append(f"{bad} cannot be used, see {run.skipped}")
    if long:
        parts.append(
            f"{len(long)} are longer than data.max_seconds {data.max_seconds:g}, the longest has "
            f"{max(u.duration for u in long):.0f} s: raise it, or let them be cut at pauses (data.longer: "
            "cut, without transcripts)"
        )
    if len(outside) > len(long):
        parts.append(
            f"{len(outside) - len(long)} are shorter than data.min_seconds {data.min_seconds:g}: lower it"
        )
    listed = f"; all are in {run.out_of_range}" if outside else ""
    return f"{data.audio}: nothing is left to train on: {'; '.join(parts) or 'nobody speaks in it'}{listed}"
