"""Label the shards of a cache, beside other processes that do the same."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from kdcompress.audio.manifest import BadFile
from kdcompress.distill.data.audio_batch import audio_batches
from kdcompress.distill.posteriors.claims import Claims
from kdcompress.distill.posteriors.packing import Arrays
from kdcompress.distill.posteriors.plan import PlannedShard
from kdcompress.distill.posteriors.shards import ShardEntry, finished_shard, write_shard
from kdcompress.distill.posteriors.teacher_labeller import TeacherLabeller

_POLL = 1.0  # [s] between looks at what others are at


class ShardWorker:
    """One of the processes that fill a cache.

    Attributes:
        finished: what is known to be done, by file.
        labelled: seconds of audio of each shard that was made here, by file.
    """

    def __init__(
        self,
        cache: Path,
        identity: str,
        labeller: TeacherLabeller,
        batch_seconds: float,
        finished: dict[str, ShardEntry],
        on_bad: Callable[[Sequence[BadFile]], None],
    ) -> None:
        self.cache, self.identity, self.labeller = cache, identity, labeller
        self.batch_seconds, self.finished, self.on_bad = batch_seconds, finished, on_bad
        self.claims = Claims(cache)
        self.labelled: dict[str, float] = {}

    def run(self, parts: Sequence[PlannedShard], on_seconds: Callable[[float], None], wait: bool) -> None:
        """Label the shards that nobody has finished and nobody has.

        Args:
            on_seconds: called with the seconds of audio done here.
            wait: for those that others have, to take them over if these are killed.

        Raises:
            CacheError: a shard is there that belongs to another cache.
            OSError: the folder cannot be written.
        """
        while missing := [part for part in parts if part.file not in self.finished]:
            ours = [self._label(part, on_seconds) for part in missing]
            if not any(ours):
                if not wait:
                    return
                time.sleep(_POLL)

    def _label(self, part: PlannedShard, on_seconds: Callable[[float], None]) -> bool:
        """See to one shard; return False where another process has it."""
        with self.claims.claim(part.file) as held:
            if not held:
                return False
            entry = finished_shard(self.cache / part.file, self.identity, listed=not part.packed)
            if entry is None or not part.is_entry(entry):
                before = sum(self.labelled.values())
                entry, arrays, bad = self._posteriors(part, lambda seconds: on_seconds(before + seconds))
                self.on_bad(bad)
                entry = write_shard(self.cache, entry, arrays, self.identity)
                self.labelled[part.file] = part.seconds
            self.finished[part.file] = entry.without_list() if part.packed else entry
        return True

    def _posteriors(
        self, part: PlannedShard, on_seconds: Callable[[float], None]
    ) -> tuple[ShardEntry, list[Arrays], list[BadFile]]:
        """Return a shard's entry, what is stored in it, and the files that could not be decoded."""
        ids: list[str] = []
        arrays = [self.labeller.nothing(part.whole)]
        bad: list[BadFile] = []

        def progress(done: int, _: int) -> None:
            on_seconds(sum(u.duration for u in part.utterances[:done]) / part.speed)

        batches = audio_batches(
            part.utterances, self.batch_seconds, progress, speed=part.speed, on_bad=bad.extend
        )
        for batch in batches:
            ids += batch.ids
            arrays += self.labeller(batch, part.whole)
        reasons, there = {entry.path: entry.reason for entry in bad}, set(ids)
        entry = part.entry(
            ids,
            [len(row["kept"]) for row in arrays[1:]],
            [int(row["kept"].sum()) for row in arrays[1:]],
            {u.id: reasons[u.audio] for u in part.utterances if u.id not in there},
        )
        return entry, arrays, bad
