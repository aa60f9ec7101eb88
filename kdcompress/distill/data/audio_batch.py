"""Decode audio into batches; what cannot be decoded is left out and named.

House letters: B batch, S samples, U labels.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import soxr
import torch
from torch import Tensor

from kdcompress.aliases import Progress
from kdcompress.audio.decode import read_utterance
from kdcompress.audio.manifest import BadFile
from kdcompress.audio.utterance import SAMPLE_RATE, Utterance
from kdcompress.config.data import DataConfig
from kdcompress.distill.data.fingerprint import hashed_number
from kdcompress.distill.data.packed_audio import shard_name
from kdcompress.errors import AudioError


@dataclass(frozen=True)
class Batch:
    """Decoded audio. There is no text in it; labels are there when training reads transcripts.

    Attributes:
        ids: one per row.
        speeds: factor that each row was played at.
        waveforms: float32 [B, S] at 16 kHz, zeros after each end.
        lengths: int64 [B], samples.
        labels: int64 [B, U] with label_lengths [B], or None.
        bad: files that could not be decoded and are missing from the rows.
        epoch: the pass over the data that the batch belongs to, from 0.
        shards: of a packed corpus that the rows are from; names are empty for other audio.
    """

    ids: tuple[str, ...]
    speeds: tuple[float, ...]
    waveforms: Tensor
    lengths: Tensor
    labels: Tensor | None
    label_lengths: Tensor | None
    bad: tuple[BadFile, ...]
    epoch: int = 0
    shards: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """Audio without padding [s]."""
        return float(self.lengths.sum()) / SAMPLE_RATE

    def pin_memory(self) -> "Batch":
        """Return the batch in memory that a GPU fetches from by itself; the loader calls this."""
        return replace(self, waveforms=self.waveforms.pin_memory(), lengths=self.lengths.pin_memory())

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on a device, but for the lengths of labels, which CTC wants on the host."""
        if self.waveforms.device == device:
            return self
        moved = {
            name: None if value is None else value.to(device, non_blocking=True)
            for name in ("waveforms", "lengths", "labels")
            for value in (getattr(self, name),)
        }
        return replace(self, **moved)  # type: ignore[arg-type]  # None only for labels


class AudioMemory:
    """Decoded audio by utterance. What came first stays: all comes again at another speed or in an epoch."""

    def __init__(self, megabytes: float) -> None:
        self.room = megabytes * 1e6
        self.waveforms: dict[str, np.ndarray] = {}

    def read(self, utterance: Utterance) -> np.ndarray:
        """Return its audio, as `read_utterance` does."""
        known = self.waveforms.get(utterance.id)
        if known is None:
            known = read_utterance(utterance)
            if known.nbytes <= self.room:
                self.room -= known.nbytes
                self.waveforms[utterance.id] = known
        return known


def read_batch(
    utterances: Sequence[Utterance],
    speeds: Sequence[float] | None = None,
    labels: Mapping[str, Sequence[int]] | None = None,
    epoch: int = 0,
    memory: AudioMemory | None = None,
    known_bad: Sequence[BadFile] = (),
) -> Batch:
    """Read a batch of audio; files that cannot be decoded are listed in `bad` and left out.

    Args:
        known_bad: files to list before these.
    """
    memory = memory or AudioMemory(0)
    rows: list[np.ndarray] = []
    kept: list[tuple[str, float]] = []
    bad = list(known_bad)
    sources: list[str] = []
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
        sources.append(shard_name(utterance.audio))
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
        shards=tuple(sources),
    )


def draw_speed(config: DataConfig, draw: str, first: str) -> float:
    """Return the speed of a batch: one for all, so that rows of like duration stay so.

    Args:
        draw: of the run and the epoch.
        first: id of the batch's first utterance.
    """
    return config.speed[hashed_number(f"{draw}/{first}") % len(config.speed)]


def _pad(rows: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
    padded = torch.zeros(len(rows), max((len(row) for row in rows), default=0), dtype=dtype)
    for index, row in enumerate(rows):
        padded[index, : len(row)] = row
    return padded


def silence(device: torch.device) -> Batch:
    """Return a second of zeros: for a process that must run the student though it has nothing to train on."""
    lengths = torch.tensor([SAMPLE_RATE], device=device)
    waveforms = torch.zeros(1, SAMPLE_RATE, device=device)
    return Batch(("silence",), (1.0,), waveforms, lengths, None, None, ())


def by_duration(utterances: Sequence[Utterance], batch_seconds: float) -> list[list[Utterance]]:
    """Group utterances of like duration into batches, padding included."""
    groups: list[list[Utterance]] = []
    for utterance in sorted(utterances, key=lambda u: (u.duration, u.id)):
        if groups and (len(groups[-1]) + 1) * utterance.duration <= batch_seconds:
            groups[-1].append(utterance)
        else:
            groups.append([utterance])
    return groups


def audio_batches(
    utterances: Sequence[Utterance],
    batch_seconds: float,
    on_progress: Progress | None = None,
    *,
    speed: float = 1.0,
    on_bad: Callable[[Sequence[BadFile]], None] | None = None,
    memory: AudioMemory | None = None,
) -> Iterator[Batch]:
    """Yield utterances in batches of like duration, each once, without those that cannot be decoded.

    Args:
        on_progress: called with the utterances done, read or not, once the caller is done with their batch.
        speed: factor that all are played at.
        on_bad: given the files that could not be decoded, batch by batch.
        memory: of what is read several times.
    """
    done = 0
    for group in by_duration(utterances, batch_seconds):
        batch = read_batch(group, [speed] * len(group), memory=memory)
        if batch.bad and on_bad is not None:
            on_bad(batch.bad)
        if batch.ids:
            yield batch
        done += len(group)
        if on_progress is not None:
            on_progress(done, len(utterances))
