"""Run a teacher once over a recipe's audio and keep its posteriors, so that training needs no teacher."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import partial
from pathlib import Path

from kdcompress.audio.manifest import BadFile
from kdcompress.config.cache import CacheStorage
from kdcompress.config.recipe import Recipe
from kdcompress.config.selection import SelectAll, Selection
from kdcompress.distill.budget import duration
from kdcompress.distill.data.fingerprint import audio_list
from kdcompress.distill.data.training_data import TrainingData, load_training_data
from kdcompress.distill.distributed import processes, training_device
from kdcompress.distill.observer import StageObserver
from kdcompress.distill.posteriors.cache import RECORD, CacheRecord, read_record
from kdcompress.distill.posteriors.cache_compatibility import serves
from kdcompress.distill.posteriors.plan import SHARD_SECONDS, PlannedShard, estimate, plan_shards
from kdcompress.distill.posteriors.shard_worker import ShardWorker
from kdcompress.distill.posteriors.shards import ShardEntry, finished_shard
from kdcompress.distill.posteriors.teacher_labeller import TeacherLabeller
from kdcompress.distill.run import Run
from kdcompress.errors import CacheError, ConfigError
from kdcompress.files import is_unfinished, remove_leftovers, write_file
from kdcompress.teachers.open import open_teacher
from kdcompress.teachers.teacher import Teacher


@dataclass(frozen=True)
class CacheSummary:
    """A finished cache, or how far it is.

    Attributes:
        shards: of the whole cache.
        bytes: of all shards that there are, and of cache.json.
        estimated: what was foreseen; None where nothing was left to label.
        reused: shards that were finished before.
        labelled: shards that this process made.
        missing: shards that others have, or nobody yet; 0 once the cache can be used.
    """

    folder: Path
    shards: int
    bytes: int
    estimated: int | None
    reused: int
    labelled: int = 0
    missing: int = 0


def write_cache(
    recipe: Recipe,
    out: Path,
    storage: CacheStorage,
    observer: StageObserver,
    *,
    teacher: Teacher | None = None,
    shard_seconds: float = SHARD_SECONDS,
    share: tuple[int, int] | None = None,
) -> CacheSummary:
    """Label the recipe's training and held-out audio at each of its speeds; shards that are there are kept.

    Any number of processes and machines may do so at once: each shard is labelled by the one that claims it
    first, and by another if that one is killed. The last one sums up.

    Args:
        teacher: any object with the Teacher protocol, instead of the recipe's.
        shard_seconds: audio per shard [s].
        share: (I, N) labels only every Nth shard, from the Ith on, counted from 1.

    Raises:
        CacheError: `out` holds something else, or cannot be written.
        KdcompressError: bad input or a bad teacher; see `kdcompress.errors`.
    """
    device, ranks = training_device(), processes()
    if recipe.data.audio is None:
        raise ConfigError("the recipe names no audio: add --audio DIR or --audio MANIFEST.jsonl")
    selection: Selection = SelectAll() if storage.frames == "all" else recipe.objective.selection
    _check_vacant(out)
    if teacher is None:
        if recipe.teacher is None:
            raise ConfigError("no teacher to run: name one by --teacher")
        teacher = open_teacher(recipe.teacher, device)
    if not serves(selection, selection, teacher.frame_shift):
        raise ConfigError(f"the frames of {selection.kind} cannot be known beforehand: use --frames all")

    run = Run(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
        progress = partial(observer.stage, "Reading audio")
        data = load_training_data(recipe, teacher.vocabulary, run, progress, with_texts=False)
        if data.cut:
            observer.say(data.cut)
        record = _record(recipe, storage, selection, teacher, data)
        parts = plan_shards(data, recipe.data.speed, shard_seconds)
        finished = _finished(out, record, parts)
        reused = len(finished)
        labeller = TeacherLabeller(teacher, selection, storage.top_k, device)
        first, every = share or (ranks.process_index + 1, ranks.num_processes)
        own = parts[first - 1 :: every]
        todo = [part for part in own if part.file not in finished]
        foreseen = None
        if todo and ranks.is_main_process:
            foreseen = _announce(todo, parts, record, labeller, recipe.data.batch_seconds, out, observer)
        if todo and not (out / RECORD).is_file():
            write_file(out / RECORD, record.to_json())
        listed, files = dict(run.bad), len(data.training) + len(data.held_out) + len(run.bad)
        planned = sum(part.seconds for part in todo)
        worker = ShardWorker(
            out,
            record.identity,
            labeller,
            recipe.data.batch_seconds,
            finished,
            lambda bad: run.skip(bad, files, recipe.data.max_bad_share),
        )
        # Its own first, then what is left of the others', whose machines may be slow or gone.
        further = [] if share else [part for number, part in enumerate(parts) if (number + 1 - first) % every]
        worker.run(
            [*own, *further],
            lambda done: observer.stage(
                "Labelling (seconds of audio)", round(done), round(max(planned, done))
            ),
            wait=ranks.num_processes > 1 and ranks.is_main_process,
        )
        missing = [part for part in parts if part.file not in finished]
        finished |= _finished(out, record, missing)
        entries = tuple(finished[part.file] for part in parts if part.file in finished)
        if len(entries) == len(parts):
            # Not this process's list: others may have met other files.
            Run(out, listed).skip(_unreadable(parts, finished), files, recipe.data.max_bad_share)
            for path in set(out.glob("shard-*")) - {out / part.file for part in parts}:
                path.unlink(missing_ok=True)
            listed_ones = tuple(entry for part, entry in zip(parts, entries, strict=True) if not part.packed)
            packed = sum(part.packed for part in parts) or None
            done = record.model_copy(update={"shards": listed_ones, "packed": packed})
            write_file(out / RECORD, done.to_json())
            worker.claims.remove()
    except OSError as error:
        raise CacheError(
            f"cannot write to {out} ({error.strerror or error}): finished shards are kept; make room, or "
            "access, and run the same command again"
        ) from error
    size = sum((out / name).stat().st_size for name in (RECORD, *finished) if (out / name).is_file())
    left = len(parts) - len(entries)
    return CacheSummary(out, len(parts), size, foreseen, reused, len(worker.labelled), left)


def _unreadable(parts: Sequence[PlannedShard], finished: Mapping[str, ShardEntry]) -> list[BadFile]:
    """Return the files that could not be decoded, whichever process met them."""
    return [
        BadFile(utterance.audio, finished[part.file].unreadable[utterance.id])
        for part in parts
        if finished[part.file].unreadable
        for utterance in part.utterances
        if utterance.id in finished[part.file].unreadable
    ]


def _check_vacant(out: Path) -> None:
    if not out.exists():
        return
    remove_leftovers(out)
    foreign = not out.is_dir()
    if not foreign:
        # One look: another process may begin the cache meanwhile. What it is writing is nobody else's.
        names = {path.name for path in out.iterdir() if not is_unfinished(path.name)}
        ours = RECORD in names or any(fnmatch(name, "shard-*.safetensors") for name in names)
        # By a labelling that ended before its first shard.
        left = {"data", "claims", "skipped.jsonl", "out_of_range.jsonl"}
        foreign = not ours and bool(names - left)
    if foreign:
        raise CacheError(f"{out} exists and is no cache: choose another --out")


def _record(
    recipe: Recipe, storage: CacheStorage, selection: Selection, teacher: Teacher, data: TrainingData
) -> CacheRecord:
    named = recipe.teacher
    return CacheRecord(
        teacher=teacher.fingerprint,
        teacher_name=type(teacher).__name__ if named is None else str(getattr(named, "path", named.kind)),
        vocabulary=teacher.vocabulary.to_json(),
        frame_shift=teacher.frame_shift,
        selection=selection,
        storage=storage,
        speeds=recipe.data.speed,
        seed=recipe.seed,
        data=recipe.data,
        training=data.described(recipe.seed),
        held_out=audio_list(data.held_out, 0, recipe.seed),
    )


def _finished(out: Path, record: CacheRecord, parts: Sequence[PlannedShard]) -> dict[str, ShardEntry]:
    """Return the shards that need not be made again, by file.

    Raises:
        CacheError: the folder holds another cache.
    """
    if (out / RECORD).is_file():
        try:
            there = read_record(out)
        except CacheError:
            there = record  # a damaged record is written anew: each shard names its cache
        if there.identity != record.identity:
            raise CacheError(
                f"{out} is a cache of other {', '.join(there.differences(record))}: choose another --out, or "
                "delete it"
            )
    found: dict[str, ShardEntry] = {}
    for part in parts:
        entry = finished_shard(out / part.file, record.identity, listed=not part.packed)
        if entry is not None and part.is_entry(entry):
            found[part.file] = entry.without_list() if part.packed else entry
    return found


def _announce(
    todo: Sequence[PlannedShard],
    parts: Sequence[PlannedShard],
    record: CacheRecord,
    labeller: TeacherLabeller,
    batch_seconds: float,
    out: Path,
    observer: StageObserver,
) -> int:
    """Announce the work, and return the bytes of the whole cache.

    Raises:
        CacheError: the disk has no room for it.
    """
    foreseen, pace = estimate(parts, record, labeller, batch_seconds)
    hours = sum(part.seconds for part in todo) / 3600
    expected = duration(hours * 3600 * pace)
    observer.say(
        f"{len(todo)} of {len(parts)} shards to label: {hours:.2f} h of audio in about "
        f"{expected}; the cache will take about {foreseen / 1e6:.1f} MB"
    )
    share = sum(part.seconds for part in todo) / max(1e-9, sum(part.seconds for part in parts))
    free = shutil.disk_usage(out).free
    if foreseen * share > free:
        raise CacheError(
            f"{out} needs about {foreseen * share / 1e6:.0f} MB and its disk has {free / 1e6:.0f} MB "
            "left: make room, choose another --out, or keep less with --frames selected or --top-k"
        )
    return foreseen
