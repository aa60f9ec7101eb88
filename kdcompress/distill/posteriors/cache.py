"""Posteriors of a teacher on disk, and the source that reads them: training opens no teacher.

cache/NAME/  cache.json  shard-00000.safetensors …  data/noise/  skipped.jsonl

House letters: B batch, T frames, V vocabulary.
"""

import hashlib
import json
from collections.abc import Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import ConfigDict, Field, ValidationError
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from kdcompress.aliases import StageProgress
from kdcompress.config.base import Frozen, describe_faults
from kdcompress.config.cache import CacheStorage
from kdcompress.config.data import DataConfig
from kdcompress.config.recipe import Recipe
from kdcompress.config.selection import SelectAll, Selection
from kdcompress.digests import sealed, unsealed
from kdcompress.distill.data.audio_batch import Batch
from kdcompress.distill.data.fingerprint import AudioList, audio_list
from kdcompress.distill.data.noise import CLIP
from kdcompress.distill.data.training_data import TrainingData
from kdcompress.distill.posteriors.cache_compatibility import serves
from kdcompress.distill.posteriors.packing import unpack
from kdcompress.distill.posteriors.shards import Shard, ShardEntry, finished_shard, packed_file
from kdcompress.errors import CacheError, VocabularyError
from kdcompress.teachers.teacher import Posteriors
from kdcompress.text.vocabulary import Vocabulary

SCHEMA = 1
RECORD = "cache.json"
_OPEN = 256  # shards at a time: each is a memory map, of which a process may have some 65,000


class CacheRecord(Frozen):
    """The content of cache.json.

    Attributes:
        teacher: its fingerprint.
        teacher_name: what it was called by, for people.
        vocabulary: as `Vocabulary.to_json` gives it.
        frame_shift: of the teacher [s].
        selection: the frames kept of training audio; all unless storage says otherwise.
        speeds: factors that the training audio was played at; held-out audio was at 1.
        seed: of the clips of noise.
        data: the recipe's, so that a cache alone is enough to train on.
        training: the audio that the teacher was run on, by id.
        held_out: the same of what is kept for validation.
        shards: the files, once all are written.
        packed: how many files more there are, of shards of a packed corpus, which are found by their names.
        digest: of all else, in the file; none in those of earlier versions.
    """

    model_config = ConfigDict(populate_by_name=True)

    kind: Literal["kdcompress-cache"] = "kdcompress-cache"
    schema_number: int = Field(SCHEMA, alias="schema")
    teacher: str
    teacher_name: str
    vocabulary: dict[str, Any]
    frame_shift: float
    selection: Selection
    storage: CacheStorage
    speeds: tuple[float, ...]
    seed: int
    data: DataConfig
    training: AudioList
    held_out: AudioList
    shards: tuple[ShardEntry, ...] | None = None
    packed: int | None = None
    digest: str | None = None

    def identity_fields(self) -> dict[str, Any]:
        """Return what two caches must share to be one."""
        return {
            "schema": self.schema_number,
            "teacher": self.teacher,
            "vocabulary": self.vocabulary,
            "frame shift": self.frame_shift,
            "selection": self.selection.model_dump(mode="json"),
            "storage": self.storage.model_dump(mode="json"),
            "speeds": list(self.speeds),
            "training audio": self.training,
            "held-out audio": self.held_out,
        }

    @cached_property
    def identity(self) -> str:
        """Twelve hex digits that change with anything that matters."""
        return hashlib.sha256(json.dumps(self.identity_fields(), sort_keys=True).encode()).hexdigest()[:12]

    def differences(self, other: "CacheRecord") -> list[str]:
        """Name what another cache does not share."""
        theirs = other.identity_fields()
        return [name for name, value in self.identity_fields().items() if value != theirs[name]]

    def to_json(self) -> str:
        """Return the content of cache.json."""
        return json.dumps(sealed(self.model_dump(mode="json", by_alias=True, exclude={"digest"}))) + "\n"


def read_record(folder: Path) -> CacheRecord:
    """Read cache.json, whether or not all shards are there.

    Raises:
        CacheError: it is missing, damaged, or of another schema.
    """
    path = folder / RECORD
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(data, dict) and data.get("schema") != SCHEMA:
            raise CacheError(
                f"{path} has schema {data.get('schema')}, this kdcompress reads {SCHEMA}: make the cache anew"
            )
        return CacheRecord.model_validate(unsealed(data))
    except FileNotFoundError as error:
        raise CacheError(
            f"{folder} is no cache: it has no {RECORD}; make one with kdcompress cache"
        ) from error
    except CacheError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        if isinstance(error, ValidationError):
            reason = describe_faults(error, CacheRecord, data)
        raise CacheError(
            f"{path} is damaged ({reason}): run the same kdcompress cache command again; finished "
            "shards are kept"
        ) from error


class CachedPosteriors:
    """A PosteriorSource that reads a cache.

    Attributes:
        top_k: K, when only so many tokens of each frame are the teacher's own; else None.
    """

    def __init__(self, folder: Path, record: CacheRecord, device: torch.device) -> None:
        self.folder, self.record, self.device = folder, record, device
        self.vocabulary = Vocabulary.from_json(record.vocabulary)
        self.frame_shift, self.fingerprint = record.frame_shift, record.teacher
        self.identity = record.identity
        top_k = record.storage.top_k
        self.top_k = top_k if top_k is not None and top_k < len(self.vocabulary) else None
        shards = [Shard(folder / e.file, e, record.identity) for e in record.shards or ()]
        self._places = {
            (id_, shard.entry.speed): (shard, position)
            for shard in shards
            for position, id_ in enumerate(shard.entry.ids)
        }
        self._open: dict[Path, Shard] = {}  # the one that was read last at the end
        self._unreadable = {id_ for shard in shards for id_ in shard.entry.unreadable}

    def check(self, selection: Selection, student_shift: float) -> None:
        """Refuse a selection whose frames were not all kept.

        Raises:
            CacheError: the cache keeps too few frames, or not on the grid that the student needs.
        """
        kept = self.record.selection
        if not serves(kept, selection, self.frame_shift):
            raise CacheError(
                f"{self.folder} keeps the frames of {_named(kept)} only, objective.selection asks for "
                f"{_named(selection)}: choose one within it, or make a cache with --frames all"
            )
        if not isinstance(kept, SelectAll) and round(student_shift * 1e4) != round(self.frame_shift * 1e4):
            raise CacheError(
                f"{self.folder} keeps selected frames of {self.frame_shift * 1000:.0f} ms, the student has "
                f"{student_shift * 1000:.0f} ms and selects its own: make a cache with --frames all"
            )

    def prefetch(self, data: TrainingData, recipe: Recipe, on_stage: StageProgress) -> None:
        """Refuse audio that is not that of the cache; nothing is read ahead.

        Raises:
            CacheError: the lists of audio, their durations, files or speeds are not those of the cache.
        """
        record = self.record
        missing = [speed for speed in recipe.data.speed if speed not in record.speeds]
        if missing:
            raise CacheError(
                f"{self.folder} has the speeds {list(record.speeds)}, data.speed asks for {missing}: choose "
                "among them, or make the cache anew"
            )
        progress = partial(on_stage, "Comparing audio with the cache")
        training = data.described(recipe.seed, progress)
        for name, asked, kept in (
            ("training", training, record.training),
            ("held-out", audio_list(data.held_out, 0, recipe.seed), record.held_out),
        ):
            strange = [id_ for id_, stretch in asked.items() if kept.get(id_) != stretch]
            clips = [id_ for id_ in strange if id_.startswith(CLIP)]
            if strange and len(clips) == len(strange) and not set(clips) & set(kept):
                raise CacheError(
                    f"{self.folder} was made with data.noise_share={record.data.noise_share:g}, the recipe "
                    f"has {recipe.data.noise_share:g}: set the cache's, or make the cache anew"
                )
            if strange:
                how = "changed since" if strange[0] in kept else "is not in it"
                raise CacheError(
                    f"{self.folder} is of other audio: {len(strange)} of {len(asked)} {name} utterances "
                    f"differ, first {strange[0]} ({how}): use its audio, data settings and seed, or make the "
                    "cache anew"
                )

    def __call__(self, batch: Batch) -> Posteriors:
        """Return the posteriors of a batch, in the host's memory.

        Raises:
            CacheError: a shard is missing or damaged.
        """
        shards = batch.shards or ("",) * len(batch.ids)
        rows = [self._read(*row) for row in zip(batch.ids, batch.speeds, shards, strict=True)]
        lengths = torch.tensor([len(row) for row in rows], dtype=torch.int64)
        return Posteriors(pad_sequence(rows, batch_first=True), lengths, self.frame_shift)

    def _read(self, id_: str, speed: float, source: str) -> Tensor:
        place = self._places.get((id_, speed))
        if place is None and self.record.packed is not None:
            place = self._packed(id_, speed, source)
        if place is None:
            why = "could not be decoded when it was made" if id_ in self._unreadable else "is not in it"
            raise CacheError(f"{self.folder}: {id_} at speed {speed} {why}: make the cache anew")
        shard, position = place
        self._open.pop(shard.path, None)
        self._open[shard.path] = shard
        if len(self._open) > _OPEN:
            self._open.pop(next(iter(self._open))).close()
        return unpack(shard.read(position), len(self.vocabulary), self.vocabulary.blank)

    def _packed(self, id_: str, speed: float, source: str) -> tuple[Shard, int] | None:
        """Return where an utterance from a shard of a packed corpus is."""
        path = self.folder / packed_file(source, speed)
        shard = self._open.get(path)
        if shard is None:
            entry = finished_shard(path, self.identity, listed=False)
            if entry is None:
                raise CacheError(
                    f"{path} is missing or damaged: run the same kdcompress cache command again, which makes "
                    "what is missing"
                )
            shard = Shard(path, entry, self.identity)
            self._unreadable |= set(entry.unreadable)
        position = shard.positions.get(id_)
        return None if position is None else (shard, position)


def open_cache(folder: Path, device: torch.device) -> CachedPosteriors:
    """Open a finished cache.

    Raises:
        CacheError: it is unfinished, damaged, of another schema, or shards are missing.
    """
    record = read_record(folder)
    if record.shards is None:
        raise CacheError(
            f"{folder} is unfinished: run the same kdcompress cache command again, which goes "
            "on with what is missing"
        )
    missing = [entry.file for entry in record.shards if not (folder / entry.file).is_file()]
    if missing:
        raise CacheError(
            f"{folder} lacks {len(missing)} of {len(record.shards)} shards, first {missing[0]}: run the same "
            "kdcompress cache command again, it makes those only"
        )
    try:
        return CachedPosteriors(folder, record, device)
    except VocabularyError as error:
        raise CacheError(f"{folder / RECORD} is damaged ({error}): make the cache anew") from error


def _named(selection: Selection) -> str:
    values: Mapping[str, Any] = selection.model_dump(exclude={"kind"}, exclude_defaults=True)
    return selection.kind + "".join(f" {name}={value}" for name, value in values.items())
