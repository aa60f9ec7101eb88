"""Training batches of a packed corpus: each process and loader worker reads shards of its own.

An epoch's shards are shuffled and dealt to lanes, as many as there are batches in a step times loader
workers. A lane takes its shards some at a time, a block; a block's utterances are shuffled, put in duration
buckets by lhotse and become batches. So a batch costs the same whatever the number of processes, and a place
is (epoch, block, batch) for each lane, which is found again by reading one block. Two processes have the
lanes, and so the batches, that one with twice the batches in a step has.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice
from typing import TypeAlias

import torch
from lhotse import MonoCut
from lhotse.dataset.sampling.dynamic_bucketing import DynamicBucketer, estimate_duration_buckets
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from kdcompress.audio.manifest import BadFile
from kdcompress.audio.utterance import Utterance
from kdcompress.config.data import DataConfig
from kdcompress.distill.checkpoint import LoopState
from kdcompress.distill.data.audio_batch import AudioMemory, Batch, draw_speed, read_batch
from kdcompress.distill.data.packed_audio import PackedAudio, Unit
from kdcompress.errors import ConfigError, KdcompressError

BLOCK = 10_000  # utterances that are shuffled and sorted into buckets together
_UNITS = 4  # for a lane at least: fewer would always meet the same utterances

Place: TypeAlias = tuple[int, int, int]
"""Epoch, block of the epoch, and batches done of the block."""


@dataclass(frozen=True)
class _Taken:
    """A batch, its lane among those of this process, and the lane's place behind it; or what went wrong."""

    batch: Batch | KdcompressError
    lane: int = 0
    place: Place = (0, 0, 0)


class ShardBatches:
    """The batches of all epochs, reproducible from the seed and the places of the lanes."""

    def __init__(
        self,
        audio: PackedAudio,
        config: DataConfig,
        seed: int,
        accumulate: int = 1,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        """Divide a corpus.

        Raises:
            AudioError: a shard cannot be read.
            ConfigError: there are fewer utterances than lanes.
        """
        self.audio, self.config, self.seed = audio, config, seed
        self.rank, self.world_size = rank, world_size
        self.lanes = accumulate * max(1, config.workers)
        everywhere = self.lanes * world_size
        self.units = audio.units(_UNITS * everywhere)
        if len(self.units) < everywhere:
            raise ConfigError(
                f"{audio.folder} has {len(audio)} utterances for {everywhere} batches at a time (processes × "
                "training.accumulate × data.workers): take fewer of these"
            )
        self.bins = self._bins(len(audio) / everywhere)
        self.memory = AudioMemory(0 if config.workers else config.memory_mb)

    def stream(self, state: LoopState) -> Iterator[Batch]:
        """Yield batches for ever, keeping the state at the place behind the batch just taken."""
        places: list[Place] = [(lane[0], lane[1], lane[2]) for lane in state.lanes or []]
        places = places or [(0, 0, 0)] * self.lanes
        state.lanes = [list(place) for place in places]
        loader = DataLoader(
            _Lanes(self, places, state.position),
            batch_size=None,
            num_workers=self.config.workers,
            # Its own, or the iterator would draw from the generator that dropout and masks use.
            generator=torch.Generator(),
            pin_memory=self.config.workers > 0 and torch.cuda.is_available(),
        )
        for taken in loader:
            if isinstance(taken.batch, KdcompressError):
                raise taken.batch
            state.lanes[taken.lane] = list(taken.place)
            state.position += 1
            state.epoch = state.lanes[0][0]
            yield taken.batch

    def lane(self, lane: int, place: Place) -> Iterator[tuple[Batch, Place]]:
        """Yield the batches of a lane of this process from a place on, each with the place behind it."""
        for cuts, bad, behind in self.sampled(lane, place):
            utterances = [cut.custom["utterance"] for cut in cuts]
            epoch = behind[0]
            speed = draw_speed(self.config, f"{self.seed}/{epoch}", utterances[0].id)
            yield read_batch(utterances, [speed] * len(utterances), None, epoch, self.memory, bad), behind

    def sampled(
        self, lane: int, place: Place = (0, 0, 0)
    ) -> Iterator[tuple[Sequence[MonoCut], Sequence[BadFile], Place]]:
        """Yield the utterances of the batches of a lane, without reading audio.

        Raises:
            AudioError: a shard cannot be read.
            ConfigError: nothing in the lane may be trained on.
        """
        epoch, first, done = place
        while True:
            empty = True
            for block, units in islice(enumerate(self.blocks(epoch, lane)), first, None):
                cuts, bad = self._cuts(units)
                batches = self._batches(cuts, f"{self.seed}/{epoch}/{self._everywhere(lane)}/{block}")
                for behind, batch in islice(enumerate(batches, 1), done, None):
                    empty = False
                    yield batch, bad, (epoch, block, behind)
                    bad = []
                done = 0
            if empty and not first and not place[2]:
                raise ConfigError(
                    f"a share of {self.audio.folder} has nothing that data.min_seconds and data.max_seconds "
                    "let pass: widen them, or take fewer processes or data.workers"
                )
            place = epoch, first, done = epoch + 1, 0, 0

    def blocks(self, epoch: int, lane: int) -> list[list[Unit]]:
        """Return the units of a lane of this process in an epoch, in blocks of about the same size."""
        order = list(range(len(self.units)))
        random.Random(f"{self.seed}/{epoch}").shuffle(order)
        own = [self.units[at] for at in order[self._everywhere(lane) :: self.lanes * self.world_size]]
        utterances = sum(self.audio.shards[unit.shard].count / unit.parts for unit in own)
        number = min(len(own), max(1, round(utterances / BLOCK)))
        return [own[len(own) * block // number : len(own) * (block + 1) // number] for block in range(number)]

    def _everywhere(self, lane: int) -> int:
        """Return the number of a lane of this process among those of all."""
        return lane * self.world_size + self.rank

    def _cuts(self, units: Sequence[Unit]) -> tuple[list[MonoCut], list[BadFile]]:
        found = [self.audio.read(unit, len(self.units)) for unit in units]
        cuts = [_cut(one) for utterances, _ in found for one in utterances]
        return cuts, [one for _, bad in found for one in bad]

    def _batches(self, cuts: Sequence[MonoCut], seed: str) -> Iterator[Sequence[MonoCut]]:
        # Not the sampler around it: that chooses buckets by the number of the loader worker.
        return iter(
            DynamicBucketer(
                cuts,
                duration_bins=self.bins,
                world_size=1,
                max_duration=self.config.batch_seconds,
                buffer_size=max(len(cuts), 2 * BLOCK),
                shuffle=True,
                rng=random.Random(seed),
                bucket_rng=random.Random(f"bucket/{seed}"),
            )
        )

    def _bins(self, lane: float) -> list[float]:
        """Return where buckets begin [s], in a lane of so many utterances."""
        sample = self.audio.sample
        block = min(lane, BLOCK)
        seconds = sum(one.duration for one in sample) / max(1, len(sample))
        # At the end of a block each bucket leaves a batch that is not full.
        full = int(block * seconds / self.config.batch_seconds / 4)
        buckets = min(self.config.buckets, len(sample) // 4, full)
        if buckets < 2:
            return [1.0 + self.config.max_seconds]  # beyond all
        return list(map(float, estimate_duration_buckets(map(_cut, sample), buckets)))


def _cut(utterance: Utterance) -> MonoCut:
    custom = {"utterance": utterance}
    return MonoCut(utterance.id, utterance.start, utterance.duration, 0, custom=custom)


class _Lanes(IterableDataset[_Taken]):
    """The lanes of a process, of which each of its loader workers reads its own."""

    def __init__(self, batches: ShardBatches, places: Sequence[Place], position: int) -> None:
        self.batches, self.places, self.position = batches, places, position

    def __iter__(self) -> Iterator[_Taken]:
        worker = get_worker_info()
        number, workers = (0, 1) if worker is None else (worker.id, worker.num_workers)
        lanes: dict[int, Iterator[tuple[Batch, Place]]] = {}
        # The loader asks its workers in turn, beginning with the first; lanes are a multiple of them.
        for position in count(self.position + number, workers):
            lane = position % self.batches.lanes
            if lane not in lanes:
                lanes[lane] = self.batches.lane(lane, self.places[lane])
            try:
                batch, place = next(lanes[lane])
            except KdcompressError as error:  # raised here, it would bring the worker's traceback with it
                yield _Taken(error)
                return
            yield _Taken(batch, lane, place)
