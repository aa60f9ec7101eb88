"""The objective: which terms a recipe asks for, their targets, their counts and their weights."""

from dataclasses import dataclass

import torch
from torch import Tensor

from kdcompress.config.objective import ObjectiveConfig
from kdcompress.distill.data import Batch
from kdcompress.distill.losses import LossSum, ctc, frame_kd, occupancy_kd
from kdcompress.distill.targets import FrameTargets, frame_targets
from kdcompress.students.layers import valid_frames
from kdcompress.teachers.teacher import Posteriors
from kdcompress.text.vocabulary import Vocabulary


@dataclass(frozen=True)
class BatchTargets:
    """What a batch is compared with, known before the student has spoken.

    Attributes:
        frames: the teacher's word, or None where λ = 0.
        labels: number of reference labels, 0 where λ = 1.
    """

    frames: FrameTargets | None
    labels: int


class Objective:
    """L = λ·(KD + w·occupancy) + (1 − λ)·CTC, each term divided by its own count over the whole step."""

    def __init__(
        self,
        config: ObjectiveConfig,
        vocabulary: Vocabulary,
        teacher_shift: float | None,
        top_k: int | None = None,
    ) -> None:
        """Choose the terms.

        Args:
            teacher_shift: the teacher's frame shift [s]; None without teacher.
            top_k: K, where only so many tokens of a frame are the teacher's own (see `CachedPosteriors`).
        """
        self.config, self.blank, self.teacher_shift = config, vocabulary.blank, teacher_shift
        self.top_k = top_k
        λ = config.kd_weight
        weighted = {"kd": λ, "occupancy": λ * config.occupancy_weight, "ctc": 1 - λ}
        self.names = tuple(name for name, weight in weighted.items() if weight > 0)
        self.weights = tuple(weighted[name] for name in self.names)

    def targets(self, batch: Batch, posteriors: Posteriors | None, lengths: Tensor | None) -> BatchTargets:
        """Turn a teacher's answer into frame targets; `lengths` [B] are the frames that both sides have."""
        labels = 0 if batch.label_lengths is None else int(batch.label_lengths.sum())
        if posteriors is None or lengths is None or self.teacher_shift is None:
            return BatchTargets(None, labels)
        frames = frame_targets(
            posteriors.log_probs,
            lengths,
            self.blank,
            self.config.selection,
            self.teacher_shift,
            self.top_k,
        )
        return BatchTargets(frames, labels)

    def counts(self, targets: list[BatchTargets]) -> list[int]:
        """Return the count of each term over the batches of a step."""
        totals = {
            "kd": sum(len(t.frames.row) for t in targets if t.frames is not None),
            "occupancy": sum(len(t.frames.occupancy) for t in targets if t.frames is not None),
            "ctc": sum(t.labels for t in targets),
        }
        return [totals[name] for name in self.names]

    def terms(self, log_probs: Tensor, lengths: Tensor, batch: Batch, targets: BatchTargets) -> list[LossSum]:
        """Return the sums of each term for one batch of student log-probabilities [E + 1, B, T, V].

        Those of the E exits have the share `exit_weight`, those of the end, which come last, the rest.
        """
        *exits, end = log_probs
        share = self.config.exit_weight if exits else 0.0
        weighted = [*((share / len(exits), output) for output in exits), (1 - share, end)]
        terms = []
        for name in self.names:
            found = [self._term(name, output, lengths, batch, targets) for _, output in weighted]
            totals = [weight * term.total for (weight, _), term in zip(weighted, found, strict=True)]
            terms.append(LossSum(torch.stack(totals).sum(), found[-1].count))
        return terms

    def _term(
        self, name: str, log_probs_BTV: Tensor, lengths: Tensor, batch: Batch, targets: BatchTargets
    ) -> LossSum:
        if name == "ctc":
            assert batch.labels is not None
            assert batch.label_lengths is not None
            return ctc(log_probs_BTV, lengths, batch.labels, batch.label_lengths, self.blank)
        assert targets.frames is not None
        if name == "kd":
            return frame_kd(log_probs_BTV, targets.frames, self.config.temperature)
        return occupancy_kd(log_probs_BTV, targets.frames, self.blank)

    def new_tally(self) -> "Tally":
        """Return an empty tally of a step."""
        return Tally(self.blank)


class Tally:
    """What a step's frames look like: the share selected, and how often each side says blank."""

    def __init__(self, blank: int) -> None:
        self.blank = blank
        self.selected = self.valid = self.student_frames = 0
        self.student_blanks: Tensor | int = 0
        self.teacher_blanks: Tensor | int = 0

    def add(self, log_probs: Tensor, lengths: Tensor, targets: BatchTargets) -> None:
        """Count one batch of student log-probabilities [B, T, V]."""
        inside = valid_frames(lengths, log_probs.shape[1])
        self.student_frames += int(lengths.sum())
        self.student_blanks = self.student_blanks + ((log_probs.argmax(-1) == self.blank) & inside).sum()
        if targets.frames is not None:
            self.selected += len(targets.frames.row)
            self.valid += len(targets.frames.occupancy)
            # Among two classes the blank may lead with less than the best token has: close enough to watch.
            blank, rest = targets.frames.occupancy.unbind(-1)
            self.teacher_blanks = self.teacher_blanks + torch.gt(blank, rest).sum()

    def figures(self) -> dict[str, float]:
        """Return shares for metrics.jsonl."""
        figures = {"blank_rate": float(self.student_blanks) / max(1, self.student_frames)}
        if self.valid:
            figures["selected_share"] = self.selected / self.valid
            figures["teacher_blank_rate"] = float(self.teacher_blanks) / self.valid
        return figures
