"""Utterances become batches: lazy cuts in duration buckets, in an order that a resumed run repeats.

House letters: B batch, S samples, U labels.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
import soxr
import torch
from lhotse import AudioSource, CutSet, MonoCut, Recording
from lhotse.dataset.sampling import DynamicBucketingSampler, DynamicCutSampler
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from kdcompress.audio.decode import read_audio
from kdcompress.audio.manifest import BadFile
from kdcompress.audio.utterance import SAMPLE_RATE, Utterance
from kdcompress.config.data import DataConfig
from kdcompress.errors import AudioError


@dataclass(frozen=True)
class Batch:
    """Decoded audio. There is no text in it; labels are there when the CTC term asked for references.

    Attributes:
        ids: one per row.
        speeds: factor that each row was played at.
        waveforms: float32 [B, S] at 16 kHz, zeros after each end.
        lengths: int64 [B], samples.
        labels: int64 [B, U] with label_lengths [B], or None.
        bad: files that could not be decoded and are missing from the rows.
        epoch: the pass over the data that the batch belongs to, from 0.
    """

    ids: tuple[str, ...]
    speeds: tuple[float, ...]
    waveforms: Tensor
    lengths: Tensor
    labels: Tensor | None
    label_lengths: Tensor | None
    bad: tuple[BadFile, ...]
    epoch: int = 0

    @property
    def seconds(self) -> float:
        """Audio without padding [s]."""
        return float(self.lengths.sum()) / SAMPLE_RATE

    def to(self, device: torch.device) -> "Batch":
        """Return the batch with its tensors on a device."""
        if device.type == "cpu":
            return self
        moved = {
            name: None if value is None else value.to(device, non_blocking=True)
            for name in ("waveforms", "lengths", "labels", "label_lengths")
            for value in (getattr(self, name),)
        }
        return replace(self, **moved)  # type: ignore[arg-type]  # None only for labels


def write_cuts(utterances: Sequence[Utterance], path: Path) -> None:
    """Write utterances as lhotse cuts, one JSON line each, to be read lazily."""
    with CutSet.open_writer(path, overwrite=True) as writer:
        for utterance in utterances:
            writer.write(_cut(utterance))


def _cut(utterance: Utterance) -> MonoCut:
    end = utterance.start + utterance.duration
    recording = Recording(
        id=utterance.id,
        sources=[AudioSource("file", [0], str(utterance.audio.resolve()))],
        sampling_rate=SAMPLE_RATE,
        num_samples=round(end * SAMPLE_RATE),
        duration=end,
    )
    return MonoCut(
        id=utterance.id, start=utterance.start, duration=utterance.duration, channel=0, recording=recording
    )


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
    ) -> None:
        """Prepare to read `count` cuts lazily.

        Args:
            labels: target ids by utterance id; only when λ < 1.
        """
        self.cuts, self.count, self.config, self.seed, self.labels = cuts, count, config, seed, labels
        self.rank, self.world_size = rank, world_size
        # A loader process has a copy of its own, which ends with the epoch.
        self.memory = Memory(0 if config.workers else config.memory_mb)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield an epoch's batches from position `start` on; skipped ones are not decoded."""
        loader = DataLoader(
            _Decoding(self, epoch),
            sampler=_From(self._sampler(epoch), start),
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


class _From:
    """A sampler without its first batches."""

    def __init__(self, sampler: DynamicBucketingSampler | DynamicCutSampler, start: int) -> None:
        self.sampler, self.start = sampler, start

    def __iter__(self) -> Iterator[CutSet]:
        return islice(iter(self.sampler), self.start, None)


class _Decoding(Dataset[Batch]):
    """Map a batch of cuts to decoded audio."""

    def __init__(self, batches: Batches, epoch: int) -> None:
        self.speed, self.labels = batches.config.speed, batches.labels
        self.epoch, self.draw = epoch, f"{batches.seed}/{epoch}"
        self.memory = batches.memory

    def __getitem__(self, cuts: CutSet) -> Batch:
        utterances = [
            Utterance(cut.id, Path(cut.recording.sources[0].source), cut.start, cut.duration) for cut in cuts
        ]
        # One for the batch: rows of like duration stay so, and little of the batch is padding.
        speed = self.speed[_draw(f"{self.draw}/{utterances[0].id}") % len(self.speed)]
        return decode(utterances, [speed] * len(utterances), self.labels, self.epoch, self.memory)


class Memory:
    """Decoded audio by utterance. What came first stays: all comes again once an epoch, in another order."""

    def __init__(self, megabytes: float) -> None:
        self.room = megabytes * 1e6
        self.waveforms: dict[str, np.ndarray] = {}

    def read(self, utterance: Utterance) -> np.ndarray:
        """Return its audio, as `read_audio` does."""
        known = self.waveforms.get(utterance.id)
        if known is None:
            known = read_audio(utterance.audio, utterance.start, utterance.duration)
            if known.nbytes <= self.room:
                self.room -= known.nbytes
                self.waveforms[utterance.id] = known
        return known


def decode(
    utterances: Sequence[Utterance],
    speeds: Sequence[float] | None = None,
    labels: Mapping[str, Sequence[int]] | None = None,
    epoch: int = 0,
    memory: Memory | None = None,
) -> Batch:
    """Read a batch of audio; files that cannot be decoded are listed in `bad` and left out."""
    memory = memory or Memory(0)
    rows: list[np.ndarray] = []
    kept: list[tuple[str, float]] = []
    bad: list[BadFile] = []
    for utterance, speed in zip(utterances, speeds or [1.0] * len(utterances), strict=True):
        try:
            waveform = memory.read(utterance)
        except AudioError as error:
            bad.append(BadFile(utterance.audio, str(error)))
            continue
        if speed != 1.0:
            waveform = soxr.resample(waveform, SAMPLE_RATE * speed, SAMPLE_RATE)
        rows.append(waveform)
        kept.append((utterance.id, speed))
    ids = tuple(id_ for id_, _ in kept)
    targets = None if labels is None else [torch.tensor(labels[id_], dtype=torch.int64) for id_ in ids]
    return Batch(
        ids=ids,
        speeds=tuple(speed for _, speed in kept),
        waveforms=_pad([torch.from_numpy(row) for row in rows], torch.float32),
        lengths=torch.tensor([len(row) for row in rows], dtype=torch.int64),
        labels=None if targets is None else _pad(targets, torch.int64),
        label_lengths=None if targets is None else torch.tensor([len(t) for t in targets], dtype=torch.int64),
        bad=tuple(bad),
        epoch=epoch,
    )


def _pad(rows: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
    padded = torch.zeros(len(rows), max((len(row) for row in rows), default=0), dtype=dtype)
    for index, row in enumerate(rows):
        padded[index, : len(row)] = row
    return padded


def by_duration(utterances: Sequence[Utterance], batch_seconds: float) -> list[list[Utterance]]:
    """Group utterances of like duration into batches, padding included."""
    groups: list[list[Utterance]] = []
    for utterance in sorted(utterances, key=lambda u: (u.duration, u.id)):
        if groups and (len(groups[-1]) + 1) * utterance.duration <= batch_seconds:
            groups[-1].append(utterance)
        else:
            groups.append([utterance])
    return groups


def hold_out(
    utterances: Sequence[Utterance], share: float, max_seconds: float
) -> tuple[list[Utterance], list[Utterance]]:
    """Split into (training, held out) by a hash of the ids, so that new files do not move old ones.

    At least one utterance is held out, and at most `max_seconds` of audio; the rest of the share is
    given back to training.
    """
    ranked = sorted(utterances, key=lambda u: _draw(f"hold out/{u.id}"))
    held: list[Utterance] = []
    seconds = 0.0
    for utterance in ranked[: max(1, round(share * len(ranked)))]:
        if held and seconds + utterance.duration > max_seconds:
            break
        held.append(utterance)
        seconds += utterance.duration
    chosen = {u.id for u in held}
    return [u for u in utterances if u.id not in chosen], held


def _draw(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
