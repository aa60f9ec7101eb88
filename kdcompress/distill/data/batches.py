"""The training batches: lazy cuts in duration buckets, in an order that a resumed run repeats."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from lhotse import CutSet
from lhotse.dataset.sampling import DynamicBucketingSampler, DynamicCutSampler
from torch.utils.data import DataLoader, Dataset

from kdcompress.audio.utterance import SAMPLE_RATE, Utterance
from kdcompress.config.data import DataConfig
from kdcompress.distill.checkpoint import LoopState
from kdcompress.distill.data.audio_batch import AudioMemory, Batch, draw_speed, read_batch
from kdcompress.errors import ConfigError


def write_cuts(utterances: Sequence[Utterance], path: Path) -> None:
    """Write utterances as lhotse cuts, one JSON line each, to be read lazily.

    The lines are those that lhotse's own writer would write, in a tenth of its time.
    """
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(_cut(one), ensure_ascii=False) + "\n" for one in utterances)


def _cut(utterance: Utterance) -> dict[str, Any]:
    end = utterance.start + utterance.duration
    path = str(utterance.audio.absolute())
    shown = path.encode("utf-8", "backslashreplace").decode()
    recording = {
        "id": utterance.id,
        "sources": [{"type": "file", "channels": [0], "source": shown}],
        "sampling_rate": SAMPLE_RATE,
        "num_samples": round(end * SAMPLE_RATE),
        "duration": end,
        "channel_ids": [0],
    }
    cut: dict[str, Any] = {
        "id": utterance.id,
        "start": utterance.start,
        "duration": utterance.duration,
        "channel": 0,
        "supervisions": [],
        "recording": recording,
    }
    custom: dict[str, Any] = {}
    if utterance.channel is not None:
        # lhotse's own channel cannot say that all of them are averaged.
        custom["channel_selector"] = utterance.channel
    if shown != path:
        # A name that is not UTF-8: JSON has no place for its bytes.
        custom["source_bytes"] = os.fsencode(path).hex()
    if custom:
        cut["custom"] = custom
    return {**cut, "type": "MonoCut"}


def _utterance(cut: Any) -> Utterance:
    custom = cut.custom or {}
    path = cut.recording.sources[0].source
    if "source_bytes" in custom:
        path = os.fsdecode(bytes.fromhex(custom["source_bytes"]))
    return Utterance(cut.id, Path(path), cut.start, cut.duration, custom.get("channel_selector"))


class Batches:
    """The training batches of every epoch, reproducible from (seed, epoch, position)."""

    def __init__(
        self,
        cuts: Path,
        count: int,
        config: DataConfig,
        seed: int,
        labels: Mapping[str, Sequence[int]] | None = None,
        rank: int = 0,
        world_size: int = 1,
        memory: AudioMemory | None = None,
    ) -> None:
        """Prepare to read `count` cuts lazily.

        Args:
            labels: target ids by utterance id; only when λ < 1.
            memory: of audio that others have decoded.
        """
        self.cuts, self.count, self.config, self.seed, self.labels = cuts, count, config, seed, labels
        self.rank, self.world_size = rank, world_size
        # A loader process has a copy of its own, which ends with the epoch.
        self.memory = AudioMemory(0) if config.workers else memory or AudioMemory(config.memory_mb)

    def stream(self, state: LoopState) -> Iterator[Batch]:
        """Yield batches for ever, keeping the state at the position behind the batch just taken."""
        while True:
            empty = True
            for batch in self.epoch(state.epoch, state.position):
                empty = False
                state.position += 1
                yield batch
            if empty and state.position == 0:
                raise ConfigError(
                    "no batch could be made: data.batch_seconds is shorter than every utterance"
                )
            state.epoch, state.position = state.epoch + 1, 0

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield an epoch's batches from position `start` on; skipped ones are not decoded."""
        loader = DataLoader(
            _Decoding(self, epoch),
            sampler=islice(iter(self._sampler(epoch)), start, None),
            batch_size=None,
            num_workers=self.config.workers,
            # Its own, or every new iterator would draw from the generator that dropout and masks use.
            generator=torch.Generator(),
        )
        yield from loader

    def _sampler(self, epoch: int) -> DynamicBucketingSampler | DynamicCutSampler:
        options = {
            "max_duration": self.config.batch_seconds,
            "shuffle": True,
            "seed": self.seed,
            "rank": self.rank,
            "world_size": self.world_size,
        }
        cuts = CutSet.from_jsonl_lazy(self.cuts)
        buckets = min(self.config.buckets, self.count // 4)
        sampler: DynamicBucketingSampler | DynamicCutSampler
        if buckets > 1:
            # Synchronised buckets even on one rank: without them lhotse 1.33 ends an epoch early, since it
            # takes emptied buckets for filled ones once only partial batches are left.
            sampler = DynamicBucketingSampler(cuts, num_buckets=buckets, sync_buckets=True, **options)
        else:
            sampler = DynamicCutSampler(cuts, **options)
        sampler.set_epoch(epoch)
        return sampler


class _Decoding(Dataset[Batch]):
    """Map a batch of cuts to decoded audio."""

    def __init__(self, batches: Batches, epoch: int) -> None:
        self.config, self.labels = batches.config, batches.labels
        self.epoch, self.draw = epoch, f"{batches.seed}/{epoch}"
        self.memory = batches.memory

    def __getitem__(self, cuts: CutSet) -> Batch:
        utterances = [_utterance(cut) for cut in cuts]
        speed = draw_speed(self.config, self.draw, utterances[0].id)
        return read_batch(utterances, [speed] * len(utterances), self.labels, self.epoch, self.memory)
