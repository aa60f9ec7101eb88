"""Plan the shards of a cache, and estimate from a sample how many bytes and seconds they take."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from kdcompress.audio.utterance import SAMPLE_RATE, Utterance
from kdcompress.distill.data.audio_batch import Batch, audio_batches
from kdcompress.distill.data.packed_audio import PackedAudio, ShardUtterances
from kdcompress.distill.data.training_data import TrainingData
from kdcompress.distill.posteriors.cache import CacheRecord
from kdcompress.distill.posteriors.packing import Arrays, bytes_per_frame
from kdcompress.distill.posteriors.shards import ShardEntry, packed_file

SHARD_SECONDS = 900.0  # of audio: what a kill can cost
_HEADER = 420  # [bytes] tensor names, shapes and offsets in front of a shard
_LISTED = 0.1  # [bytes] for a frame, of the list of ids
_SAMPLE = 64  # utterances
_SAMPLED_SHARDS = 12  # of a packed corpus
_SAMPLE_SECONDS = 10.0  # of the user's time


@dataclass(frozen=True)
class PlannedShard:
    """The content of a shard before it is labelled.

    Attributes:
        audio_seconds: of the utterances, as they were recorded [s].
        packed: they are those of a shard of a packed corpus, which nobody reads without need.
    """

    file: str
    speed: float
    whole: bool
    utterances: Sequence[Utterance]
    audio_seconds: float
    packed: bool = False

    @property
    def seconds(self) -> float:
        """Audio at its speed [s]."""
        return self.audio_seconds / self.speed

    def entry(
        self, ids: Sequence[str], frames: Sequence[int], kept: Sequence[int], unreadable: dict[str, str]
    ) -> ShardEntry:
        """Return the entry of this shard, labelled."""
        return ShardEntry(
            file=self.file,
            speed=self.speed,
            whole=self.whole,
            ids=tuple(ids),
            frames=tuple(frames),
            kept=tuple(kept),
            unreadable=unreadable,
        )

    def is_entry(self, entry: ShardEntry | None) -> bool:
        """Tell whether a shard on disk holds this part."""
        return entry is not None and (
            (entry.speed, entry.whole) == (self.speed, self.whole)
            # The identity of the cache is that of a packed corpus as a whole.
            and (self.packed or {*entry.ids, *entry.unreadable} == {u.id for u in self.utterances})
        )


def plan_shards(material: TrainingData, speeds: Sequence[float], shard_seconds: float) -> list[PlannedShard]:
    """Cut audio into shards of like length, a packed corpus as it is; the audio alone decides."""
    parts: list[PlannedShard] = []
    training = material.training
    listed = [] if isinstance(training, PackedAudio) else training
    for utterances, factors, whole in ((material.held_out, (1.0,), True), (listed, speeds, False)):
        for speed in dict.fromkeys(factors):
            groups: list[list[Utterance]] = [[]]
            for utterance in sorted(utterances, key=lambda u: (u.duration, u.id)):
                seconds = sum(u.duration for u in groups[-1]) + utterance.duration
                if groups[-1] and seconds > shard_seconds * speed:
                    groups.append([])
                groups[-1].append(utterance)
            for group in groups if utterances else []:
                file = f"shard-{len(parts):05}.safetensors"
                seconds = sum(u.duration for u in group)
                parts.append(PlannedShard(file, speed, whole, tuple(group), seconds))
    if isinstance(training, PackedAudio):
        parts += _packed(training, speeds)
    return parts


def _packed(audio: PackedAudio, speeds: Sequence[float]) -> Iterator[PlannedShard]:
    for speed in dict.fromkeys(speeds):
        for number, shard in enumerate(audio.shards):
            file, seconds = packed_file(shard.name, speed), shard.samples / SAMPLE_RATE
            yield PlannedShard(file, speed, False, ShardUtterances(audio, number), seconds, packed=True)
        if audio.clips:
            seconds = sum(u.duration for u in audio.clips)
            file = packed_file("", speed)
            yield PlannedShard(file, speed, False, tuple(audio.clips), seconds, packed=True)


def estimate(
    parts: Sequence[PlannedShard],
    record: CacheRecord,
    label: Callable[[Batch, bool], list[Arrays]],
    batch_seconds: float,
) -> tuple[int, float]:
    """Return the bytes of a cache and the seconds of work for a second of audio, from a few utterances.

    Args:
        label: labels a batch; True keeps it whole.
    """
    training = [part for part in parts if not part.whole]
    if any(part.packed for part in training):  # no more than a few
        training = training[:: max(1, len(training) // _SAMPLED_SHARDS)]
    candidates = [(u, part.speed) for part in training for u in part.utterances]
    step = max(1, len(candidates) // _SAMPLE)
    chosen = candidates[step // 2 :: step]
    offset = labelled = kept = 0.0
    measured: list[tuple[float, float]] = []  # seconds of audio and of work, by batch
    count = 0
    begin = started = time.monotonic()
    for speed in dict.fromkeys(speed for _, speed in chosen):
        sample = [u for u, s in chosen if s == speed]
        for batch in audio_batches(sample, batch_seconds, speed=speed):
            for samples, arrays in zip(batch.lengths.tolist(), label(batch, False), strict=True):
                count += 1
                labelled += len(arrays["kept"])
                kept += int(arrays["kept"].sum())
                offset += len(arrays["kept"]) - samples / SAMPLE_RATE / record.frame_shift
            now = time.monotonic()
            measured.append((batch.seconds, now - begin))
            begin = now
            if now - started > _SAMPLE_SECONDS:
                break
    # The first batch also pays for what is done once.
    audio, work = (sum(column) for column in zip(*(measured[1:] or measured or [(0.0, 0.0)]), strict=True))
    share, offset = kept / max(1.0, labelled), offset / max(1, count)
    size, top_k = len(record.vocabulary["tokens"]), record.storage.top_k
    entries, total = [], 0.0
    for part in parts:
        if part.packed:
            frames = part.seconds / record.frame_shift
            total += frames * bytes_per_frame(size, top_k, share) + _HEADER + frames * _LISTED
            continue
        lengths = [
            max(0, round(u.duration / part.speed / record.frame_shift + offset)) for u in part.utterances
        ]
        row = bytes_per_frame(size, None, 1.0) if part.whole else bytes_per_frame(size, top_k, share)
        kept_frames = [round(length * (1.0 if part.whole else share)) for length in lengths]
        entry = part.entry([u.id for u in part.utterances], lengths, kept_frames, {})
        entries.append(entry)
        total += sum(lengths) * row + _HEADER + len(entry.model_dump_json())
    complete = record.model_copy(update={"shards": tuple(entries)})
    return round(total + len(complete.to_json())), work / max(audio, 1e-9)
