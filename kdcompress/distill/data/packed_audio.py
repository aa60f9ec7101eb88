"""The audio of a packed corpus: read shard by shard, so that no list of its utterances is ever made."""

import hashlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import overload

from kdcompress.audio.corpus.index import DESCRIPTION, IndexedShard, indexed_shards, read_index
from kdcompress.audio.manifest import BadFile
from kdcompress.audio.utterance import SAMPLE_RATE, Utterance
from kdcompress.config.data import DataConfig
from kdcompress.distill.data.fingerprint import AudioList, hashed_number
from kdcompress.distill.data.long_recordings import fit

SAMPLED_SHARDS = 16
"""That stand for the corpus where its durations, its held-out share or a few of its waveforms are wanted."""

MOST_CLIPS = 200
"""Files of noise; a corpus that asks for more takes each more than once."""


@dataclass(frozen=True, slots=True)
class Unit:
    """Every `parts`-th utterance of a shard from the `part`-th on, and its number among all units."""

    number: int
    shard: int
    part: int
    parts: int


class PackedAudio(Collection[Utterance]):
    """The training utterances of a packed corpus, in its order.

    Attributes:
        held_out: utterances that are left out.
        clips: of noise, of which each unit gets its share.
        clip_count: how many an epoch has in all.
    """

    def __init__(self, folder: Path, data: DataConfig) -> None:
        """Read which shards there are.

        Raises:
            AudioError: the corpus is unfinished, or of another version.
        """
        self.folder, self.data = folder, data
        self.shards: list[IndexedShard] = indexed_shards(folder)
        self.held_out: frozenset[str] = frozenset()
        self.clips: Sequence[Utterance] = ()
        self.clip_count = 0

    def __len__(self) -> int:
        return sum(one.count for one in self.shards) - len(self.held_out) + self.clip_count

    def __iter__(self) -> Iterator[Utterance]:
        for unit in self.units(1):
            yield from self.read(unit)[0]

    def __contains__(self, item: object) -> bool:
        return any(item == one for one in self)

    @property
    def seconds(self) -> float:
        """Audio of the whole corpus [s]."""
        return sum(one.samples for one in self.shards) / SAMPLE_RATE

    @cached_property
    def sample(self) -> list[Utterance]:
        """Utterances of the shards that stand for the corpus, in its order; noise is not among them."""
        ranked = sorted(range(len(self.shards)), key=lambda at: hashed_number(self.shards[at].name))
        chosen = sorted(ranked[:SAMPLED_SHARDS])
        found = map(self.whole, chosen)
        return [one for utterances in found for one in utterances]

    @cached_property
    def description(self) -> AudioList:
        """What makes the corpus the same: corpus.json, which has a digest of each index, and the limits."""
        data = self.data
        limits = f"{data.min_seconds} {data.max_seconds} {data.longer}"
        content = (self.folder / DESCRIPTION).read_bytes() + limits.encode()
        digest = hashlib.sha256(content).hexdigest()[:12]
        return {"packed": (0.0, round(self.seconds, 4), digest)}

    def units(self, at_least: int) -> list[Unit]:
        """Divide the shards that have utterances, into as many parts as make so many units where they can."""
        parts = -(-at_least // max(1, len(self.shards)))
        found: list[Unit] = []
        for shard, one in enumerate(self.shards):
            own = min(parts, one.count)
            found += [Unit(len(found) + part, shard, part, own) for part in range(own)]
        return found

    def read(self, unit: Unit, units: int | None = None) -> tuple[list[Utterance], list[BadFile]]:
        """Return a unit's utterances that are to be trained on, and the files that could not be cut.

        Args:
            units: their number, which the noise is shared out among; None: as many as there are shards.

        Raises:
            AudioError: the index cannot be read, or the audio is not what was packed.
        """
        fitting, bad = self._fitting(unit)
        kept = [one for one in fitting if one.id not in self.held_out]
        units = units or len(self.shards)
        first, end = (self.clip_count * at // units for at in (unit.number, unit.number + 1))
        return kept + [self.clips[number % len(self.clips)] for number in range(first, end)], bad

    def whole(self, shard: int) -> list[Utterance]:
        """Return the utterances of a shard that are as long as they may be, those held out too."""
        return self._fitting(Unit(0, shard, 0, 1))[0]

    def _fitting(self, unit: Unit) -> tuple[list[Utterance], list[BadFile]]:
        lines = read_index(self.folder, self.shards[unit.shard].name)
        found = [
            Utterance(line.id, line.audio, 0.0, line.duration or 0.0)
            for row, line in enumerate(lines)
            if row % unit.parts == unit.part
        ]
        kept, _, bad = fit(found, self.data)
        return kept, bad


class ShardUtterances(Sequence[Utterance]):
    """All utterances of a shard, those held out too: read when they are looked at, and forgotten soon."""

    def __init__(self, audio: PackedAudio, shard: int) -> None:
        self.audio, self.shard = audio, shard

    def __len__(self) -> int:
        return len(self._read())

    @overload
    def __getitem__(self, index: int) -> Utterance: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Utterance]: ...
    def __getitem__(self, index: int | slice) -> Utterance | Sequence[Utterance]:
        return self._read()[index]

    def _read(self) -> Sequence[Utterance]:
        return _whole_shard(self.audio, self.shard)


@lru_cache(maxsize=4)
def _whole_shard(audio: PackedAudio, shard: int) -> Sequence[Utterance]:
    return audio.whole(shard)


def shard_name(audio: Path) -> str:
    """Return the name of the shard that a file of a packed corpus is in; empty for any other file."""
    tar = audio.parent.parent.name
    return tar[len("recording.") : -len(".tar")] if tar.startswith("recording.") else ""
