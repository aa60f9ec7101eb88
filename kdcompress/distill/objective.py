"""The objective: which terms a recipe asks for, their targets, their counts and their weights.

House letters: B batch, T frames, V vocabulary, E exits.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from kdcompress.config.objective import ObjectiveConfig
from kdcompress.distill.data import Batch
from kdcompress.distill.divergences import make_measure
from kdcompress.distill.losses import LossSum, consistency, ctc, frame_kd, occupancy_kd
from kdcompress.distill.posteriors import PosteriorSource
from kdcompress.distill.pseudo_labels import Labeller, PseudoLabels
from kdcompress.distill.targets import FrameTargets, frame_targets
from kdcompress.students.layers import valid_frames
from kdcompress.teachers.teacher import Posteriors
from kdcompress.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class BatchTargets:
    """What a batch is compared with, known before the student has spoken.

    Attributes:
        frames: the teacher's word, or None where no frames are compared.
        pseudo: the teacher's transcripts, where they are asked for.
        labels: number of reference labels, 0 where λ = 1.
        student_frames: number of valid frames that the student will have.
    """

    frames: FrameTargets | None
    pseudo: PseudoLabels | None
    labels: int
    student_frames: int


class Objective:
    """L = λ·(KD + occupancy + pseudo-label CTC) + (1 − λ)·CTC + consistency; see `ObjectiveConfig`.

    Each term has its weight there and is divided by its own count over the whole step.

    Attributes:
        names: of the terms whose weight is above 0.
        weights: of these.
        views: how often the student hears each batch, each time under other masks.
    """

    def __init__(
        self, config: ObjectiveConfig, tokenizer: Tokenizer, source: PosteriorSource | None = None
    ) -> None:
        """Choose the terms.

        Args:
            tokenizer: of the student.
            source: the teacher's units and frame shift; None without teacher.
        """
        self.config, self.blank = config, tokenizer.vocabulary.blank
        self.teacher_shift = None if source is None else source.frame_shift
        λ = config.kd_weight
        weighted = {
            "kd": λ * config.frame_weight,
            "occupancy": λ * config.occupancy_weight,
            "pseudo_label": λ * config.pseudo_label.weight,
            "ctc": 1 - λ,
            "consistency": config.consistency_weight,
        }
        self.names = tuple(name for name, weight in weighted.items() if weight > 0)
        self.weights = tuple(weighted[name] for name in self.names)
        self.views = 2 if "consistency" in self.names else 1
        self.measure = make_measure(config.divergence, self.blank)
        self.labeller = None
        if "pseudo_label" in self.names and source is not None:
            self.labeller = Labeller(source.vocabulary, tokenizer, config.pseudo_label.min_confidence)

    def pseudo_labels(self, posteriors: Posteriors | None, frames: Tensor) -> PseudoLabels | None:
        """Decode the teacher's own posteriors, where asked for; `frames` [B] are the student's."""
        return None if self.labeller is None or posteriors is None else self.labeller(posteriors, frames)

    def targets(
        self,
        batch: Batch,
        posteriors: Posteriors | None,
        lengths: Tensor | None,
        frames: Tensor,
        pseudo: PseudoLabels | None = None,
    ) -> BatchTargets:
        """Turn a teacher's answer into targets.

        Args:
            lengths: [B], the frames that both sides have; None where no frames are compared.
            frames: [B], those of the student.
            pseudo: what `pseudo_labels` found.
        """
        labels = 0 if batch.label_lengths is None else int(batch.label_lengths.sum())
        compared = None
        if posteriors is not None and lengths is not None and self.teacher_shift is not None:
            compared = frame_targets(
                posteriors.log_probs, lengths, self.blank, self.config.selection, self.teacher_shift
            )
        return BatchTargets(compared, pseudo, labels, int(frames.sum()))

    def counts(self, targets: list[BatchTargets]) -> list[int]:
        """Return the count of each term over the batches of a step."""
        compared = [t.frames for t in targets if t.frames is not None]
        totals = {
            "kd": sum(len(frames.row) for frames in compared),
            "occupancy": sum(len(frames.occupancy) for frames in compared),
            "pseudo_label": sum(int(t.pseudo.lengths.sum()) for t in targets if t.pseudo is not None),
            "ctc": sum(t.labels for t in targets),
            "consistency": sum(t.student_frames for t in targets),
        }
        return [totals[name] for name in self.names]

    def terms(self, log_probs: Tensor, lengths: Tensor, batch: Batch, targets: BatchTargets) -> list[LossSum]:
        """Return the sums of each term for one batch of student log-probabilities [E + 1, views·B, T, V].

        Those of the E exits have the share `exit_weight`, those of the end, which come last, the rest.
        """
        *exits, end = log_probs.unflatten(1, (self.views, -1))
        lengths = lengths[: len(batch.ids)]
        share = self.config.exit_weight if exits else 0.0
        weighted = [*((share / len(exits), output) for output in exits), (1 - share, end)]
        terms = []
        for name in self.names:
            found = [self._over_views(name, output, lengths, batch, targets) for _, output in weighted]
            totals = [weight * term.total for (weight, _), term in zip(weighted, found, strict=True)]
            terms.append(LossSum(torch.stack(totals).sum(), found[-1].count))
        return terms

    def _over_views(
        self, name: str, views: Tensor, lengths: Tensor, batch: Batch, targets: BatchTargets
    ) -> LossSum:
        """Return a term of one head's output [views, B, T, V]."""
        if name == "consistency":
            one, other = views
            return consistency(one, other, lengths)
        found = [self._term(name, view, lengths, batch, targets) for view in views]
        return LossSum(torch.stack([term.total for term in found]).mean(), found[0].count)

    def _term(
        self, name: str, log_probs_BTV: Tensor, lengths: Tensor, batch: Batch, targets: BatchTargets
    ) -> LossSum:
        if name == "ctc":
            assert batch.labels is not None
            assert batch.label_lengths is not None
            return ctc(log_probs_BTV, lengths, batch.labels, batch.label_lengths, self.blank)
        if name == "pseudo_label":
            pseudo = targets.pseudo
            assert pseudo is not None
            row = pseudo.row
            return ctc(log_probs_BTV[row], lengths[row], pseudo.labels, pseudo.lengths, self.blank)
        assert targets.frames is not None
        if name == "kd":
            return frame_kd(log_probs_BTV, targets.frames, self.config.temperature, self.measure)
        return occupancy_kd(log_probs_BTV, targets.frames, self.blank)

    def new_tally(self) -> "Tally":
        """Return an empty tally of a step."""
        return Tally(self.blank)


class Tally:
    """What a step's frames look like: the share selected, and how often each side says blank.

    Of pseudo labels, the share of utterances whose transcript was kept.
    """

    def __init__(self, blank: int) -> None:
        self.blank = blank
        self.selected = self.valid = self.student_frames = self.kept = self.heard = 0
        self.student_blanks: Tensor | int = 0
        self.teacher_blanks: Tensor | int = 0

    def add(self, log_probs: Tensor, lengths: Tensor, targets: BatchTargets) -> None:
        """Count one batch of student log-probabilities [views·B, T, V]."""
        inside = valid_frames(lengths, log_probs.shape[1])
        self.student_frames += int(lengths.sum())
        self.student_blanks = self.student_blanks + ((log_probs.argmax(-1) == self.blank) & inside).sum()
        if targets.frames is not None:
            self.selected += len(targets.frames.row)
            self.valid += len(targets.frames.occupancy)
            # Among two classes the blank may lead with less than the best token has: close enough to watch.
            blank, rest = targets.frames.occupancy.unbind(-1)
            self.teacher_blanks = self.teacher_blanks + torch.gt(blank, rest).sum()

        if targets.pseudo is not None:
            self.kept += len(targets.pseudo.row)
            self.heard += targets.pseudo.heard

    def figures(self) -> dict[str, float]:
        """Return shares for metrics.jsonl."""
        figures = {"blank_rate": float(self.student_blanks) / max(1, self.student_frames)}
        if self.valid:
            figures["selected_share"] = self.selected / self.valid
            figures["teacher_blank_rate"] = float(self.teacher_blanks) / self.valid
        if self.heard:
            figures["pseudo_label_share"] = self.kept / self.heard
        return figures
