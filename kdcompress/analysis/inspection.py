"""What a teacher's output looks like over a sample of audio, counted; `advice.py` draws conclusions.

A spike is a run of frames with the same best token other than the blank; its peak is its most certain frame.

House letters: T frames, V vocabulary, U labels.
"""

import math
from collections import Counter
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from torch import Tensor

from kdcompress.aliases import Progress
from kdcompress.audio.manifest import read_utterances
from kdcompress.config.data import DataConfig
from kdcompress.distill.data.audio_batch import audio_batches
from kdcompress.distill.data.long_recordings import fit
from kdcompress.distill.data.training_data import hold_out
from kdcompress.distill.distributed import training_device
from kdcompress.distill.objective.selection import dilate
from kdcompress.distill.posteriors.packing import bytes_per_frame
from kdcompress.errors import AudioError
from kdcompress.teachers.teacher import Teacher
from kdcompress.text.decode import greedy

STUDENT_SHIFTS_MS = (20, 40, 80)
LARGEST_N = 8  # frames
TOP_K = 16
_UNSURE = math.log(0.5)
_BATCH_SECONDS = 60.0
_SAMPLES = 3  # utterances whose transcripts are shown


@dataclass(frozen=True)
class Sample:
    """What the teacher transcribes.

    Attributes:
        id: of the utterance.
        confidence: mean probability of the best token over the frames where it is not the blank; over all
            frames where there is none.
    """

    id: str
    text: str
    confidence: float


@dataclass
class Inspection:
    """Counts over utterances, and the shares that follow from them.

    Attributes:
        frame_shift: of the teacher [s].
        tokens: V, the blank among them.
        blank: its id.
        utterances, frames, blanks: their numbers.
        unsure: frames whose best token has no more than half of the mass.
        labels: number of spikes.
        spike_widths: number of spikes by width [frames].
        distances: number of pairs of successive peaks by the frames between them.
        selected: label frames and all within n frames of one, by n.
        shared: by student frame shift [ms], labels whose peak falls into the student frame of an earlier one.
        too_short: by student frame shift [ms], utterances with fewer frames than CTC needs (U + repeats).
        longest_silence: longest run of blanks [frames].
        samples: a few transcripts.
    """

    frame_shift: float
    tokens: int
    blank: int
    utterances: int = 0
    frames: int = 0
    blanks: int = 0
    unsure: int = 0
    labels: int = 0
    spike_widths: Counter[int] = field(default_factory=Counter)
    distances: Counter[int] = field(default_factory=Counter)
    selected: Counter[int] = field(default_factory=Counter)
    shared: Counter[int] = field(default_factory=Counter)
    too_short: Counter[int] = field(default_factory=Counter)
    longest_silence: int = 0
    samples: list[Sample] = field(default_factory=list)

    def add(self, log_probs_TV: Tensor) -> None:
        """Count one utterance's posteriors, padding cut off."""
        frames = len(log_probs_TV)
        self.utterances += 1
        if not frames:
            return
        sureness, best = log_probs_TV.max(dim=-1)
        labels = best != self.blank
        self.frames += frames
        self.blanks += frames - int(labels.sum())
        self.unsure += int((sureness <= _UNSURE).sum())
        for n in range(LARGEST_N + 1):
            self.selected[n] += int(dilate(labels[None], n, n).sum())

        tokens, widths = best.unique_consecutive(return_counts=True)
        ends = widths.cumsum(0)
        spikes = tokens != self.blank
        if not spikes.all():
            self.longest_silence = max(self.longest_silence, int(widths[~spikes].max()))
        sequence = tokens[spikes].tolist()
        bounds = zip((ends - widths)[spikes].tolist(), ends[spikes].tolist(), strict=True)
        peaks = [start + int(sureness[start:end].argmax()) for start, end in bounds]
        self.labels += len(peaks)
        self.spike_widths.update(widths[spikes].tolist())
        self.distances.update(b - a for a, b in pairwise(peaks))
        needed = len(sequence) + sum(a == b for a, b in pairwise(sequence))
        for shift in self.student_shifts:
            factor = round(shift / 1000 / self.frame_shift)
            self.shared[shift] += len(peaks) - len({peak // factor for peak in peaks})
            self.too_short[shift] += needed > -(-frames // factor)

    @property
    def student_shifts(self) -> list[int]:
        """Frame shifts that a student of this teacher can have [ms]."""
        ratios = {shift: shift / 1000 / self.frame_shift for shift in STUDENT_SHIFTS_MS}
        return [s for s, ratio in ratios.items() if ratio > 0.99 and abs(ratio - round(ratio)) < 0.01]

    @property
    def selected_shares(self) -> list[float]:
        """Share of the frames that symmetric(n) selects, n = 0…8 frames."""
        return [self.selected[n] / max(1, self.frames) for n in range(LARGEST_N + 1)]

    @property
    def collisions(self) -> dict[int, float]:
        """Share of labels that share a student frame with an earlier one, by frame shift [ms]."""
        return {shift: self.shared[shift] / max(1, self.labels) for shift in self.student_shifts}

    def joined_share(self, n: int) -> float:
        """Return the share of neighbouring peaks whose windows of n frames on each side meet."""
        near = sum(count for distance, count in self.distances.items() if distance <= 2 * n + 1)
        return near / max(1, self.distances.total())

    def mb_per_hour(self, n: int) -> dict[str, float]:
        """Return the size of a cache [MB per hour of audio] for each storage; n in frames."""
        share = self.selected_shares[min(n, LARGEST_N)]
        hourly = 3600 / self.frame_shift / 1e6
        return {
            "all": bytes_per_frame(self.tokens, None, 1) * hourly,
            "selected": bytes_per_frame(self.tokens, None, share) * hourly,
            f"all top-{TOP_K}": bytes_per_frame(self.tokens, TOP_K, 1) * hourly,
            f"selected top-{TOP_K}": bytes_per_frame(self.tokens, TOP_K, share) * hourly,
        }

    def to_json(self) -> dict[str, Any]:
        """Return the figures as plain data; times in seconds or ms as named."""
        frames = max(1, self.frames)
        return {
            "frame_shift_ms": round(self.frame_shift * 1000, 3),
            "tokens": self.tokens,
            "utterances": self.utterances,
            "seconds": round(self.frames * self.frame_shift, 3),
            "labels": self.labels,
            "blank_share": self.blanks / frames,
            "low_confidence_share": self.unsure / frames,
            "longest_silence_seconds": round(self.longest_silence * self.frame_shift, 3),
            "spike_widths": {str(k): v for k, v in sorted(self.spike_widths.items())},
            "label_distances": {str(k): v for k, v in sorted(self.distances.items())},
            "selected_shares": self.selected_shares,
            "collisions": {str(k): v for k, v in self.collisions.items()},
            "too_short_utterances": {str(s): self.too_short[s] for s in self.student_shifts},
            "samples": [asdict(sample) for sample in self.samples],
        }


def inspect_teacher(
    teacher: Teacher,
    audio: Path,
    max_seconds: float,
    on_progress: Progress | None = None,
) -> Inspection:
    """Run a teacher on a sample of a folder or manifest, and count.

    The sample is drawn by a hash of the ids; what is too long is cut as for training, what is too short is
    left out.

    Args:
        max_seconds: of audio in the sample, unless its first utterance is longer [s].
        on_progress: called with the utterances done and their total.

    Raises:
        AudioError: there is no usable audio.
        TeacherError: an output is not finite.
    """
    limits = DataConfig()
    listed, _ = read_utterances(audio)
    usable, _, _ = fit(listed, limits)
    if not usable:
        raise AudioError(
            f"{audio}: no file is readable and between {limits.min_seconds} and {limits.max_seconds} s long"
        )
    _, sample = hold_out(usable, 1.0, max_seconds)
    shown = {utterance.id for utterance in sample[:_SAMPLES]}  # in the order of a hash: not the shortest
    device = training_device()
    teacher = teacher.to(device)
    seen = Inspection(teacher.frame_shift, len(teacher.vocabulary), teacher.vocabulary.blank)
    for batch in audio_batches(sample, _BATCH_SECONDS, on_progress):
        found = teacher.posteriors(batch.waveforms.to(device), batch.lengths.to(device))
        for row, length in enumerate(found.lengths.tolist()):
            seen.add(found.log_probs[row, :length].cpu())
            if batch.ids[row] in shown:
                seen.samples.append(_sample(batch.ids[row], found.log_probs[row, :length].cpu(), teacher))
    if not seen.frames:
        raise AudioError(f"{audio}: none of {len(sample)} sampled files could be decoded")
    return seen


def _sample(id_: str, log_probs_TV: Tensor, teacher: Teacher) -> Sample:
    text = greedy(log_probs_TV.numpy(), teacher.vocabulary).text(teacher.vocabulary)
    sureness, best = log_probs_TV.max(dim=-1)
    labels = best != teacher.vocabulary.blank
    if labels.any():
        sureness = sureness[labels]
    return Sample(id_, text, float(sureness.exp().mean()) if len(sureness) else 0.0)
