"""The objective: which terms a recipe asks for, their targets, their counts and their weights.

House letters: B batch, T frames, V vocabulary, E exits.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from kdcompress.config.objective import ObjectiveConfig
from kdcompress.distill.data.batches import Batch
from kdcompress.distill.objective.alignment import Alignment
from kdcompress.distill.objective.collisions import Collisions
from kdcompress.distill.objective.divergences import make_measure
from kdcompress.distill.objective.frame_targets import FrameTargets, frame_targets
from kdcompress.distill.objective.losses import LossSum, consistency, ctc, frame_kd, occupancy_kd
from kdcompress.distill.objective.pseudo_labels import Labeller, PseudoLabels
from kdcompress.distill.objective.selection import draw_keys
from kdcompress.distill.posteriors.source import Source
from kdcompress.frontend.masks import valid_frames
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
        collisions: what the teacher says that the student has no frames for; None where it has as many.
    """

    frames: FrameTargets | None
    pseudo: PseudoLabels | None
    labels: int
    student_frames: int
    collisions: Collisions | None = None


class Objective:
    """L = λ·(KD + occupancy + pseudo-label CTC) + (1 − λ)·CTC + consistency; see `ObjectiveConfig`.

    Each term has its weight there and is divided by its own count over the whole step.

    Attributes:
        names: of the terms whose weight is above 0.
        weights: of these.
        views: how often the student hears each batch, each time under other masks.
    """

    def __init__(
        self,
        config: ObjectiveConfig,
        tokenizer: Tokenizer,
        source: Source | None = None,
        alignment: Alignment | None = None,
        seed: int = 0,
        log_prior_V: Tensor | None = None,
    ) -> None:
        """Choose the terms.

        Args:
            tokenizer: of the student.
            source: the teacher's units, and K where only so many tokens of a frame are its own; None without
                teacher.
            alignment: of the teacher's frames with the student's; None where no frames are compared.
            seed: of randomly selected frames.
            log_prior_V: what `estimate_prior` found, for a selection that corrects by it.
        """
        self.config, self.blank = config, tokenizer.vocabulary.blank
        self.alignment, self.seed, self.log_prior = alignment, seed, log_prior_V
        self.top_k = None if source is None else source.top_k
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

    def targets(self, batch: Batch, posteriors: Posteriors | None, frames: Tensor) -> BatchTargets:
        """Turn a teacher's answer into targets.

        Args:
            posteriors: at the teacher's own frame shift; None without teacher.
            frames: [B], those of the student.
        """
        labels = 0 if batch.label_lengths is None else int(batch.label_lengths.sum())
        pseudo = compared = collided = None
        if posteriors is not None and self.labeller is not None:
            pseudo = self.labeller(posteriors, frames)
        if posteriors is not None and self.alignment is not None:
            aligned = self.alignment(posteriors, frames, batch.ids)
            collided = aligned.collisions
            compared = frame_targets(
                aligned.log_probs,
                aligned.lengths,
                self.blank,
                self.config.selection,
                aligned.frame_shift,
                epoch=batch.epoch,
                keys_B=draw_keys(self.seed, batch.epoch, batch.ids).to(aligned.lengths.device),
                log_prior_V=self.log_prior,
                top_k=self.top_k,
            )
        return BatchTargets(compared, pseudo, labels, int(frames.sum()), collided)

    def counts(self, targets: list[BatchTargets]) -> list[int]:
        """Return the count of each term over the batches of a step."""
        compared = [t.frames for t in targets if t.frames is not None]
        valid = sum(len(frames.occupancy) for frames in compared)
        selected = sum(len(frames.row) for frames in compared)
        shared = "occupancy" in self.names and self.config.occupancy_frames == "rest"
        totals = {
            "kd": valid if shared else selected,
            "occupancy": valid,
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
        return occupancy_kd(log_probs_BTV, targets.frames, self.blank, self.config.occupancy_frames)

    def new_tally(self) -> "Tally":
        """Return an empty tally of a step."""
        return Tally(self.blank)


class Tally:
    """What a step's frames look like: the share selected, the blanks of each side, and what collides.

    Of pseudo labels, the share of utterances whose transcript was kept.
    """

    def __init__(self, blank: int) -> None:
        self.blank = blank
        self.selected = self.valid = self.student_frames = self.kept = self.heard = 0
        self.student_blanks: Tensor | int = 0
        self.teacher_blanks: Tensor | int = 0
        self.collisions: Collisions | None = None

    def add(self, log_probs: Tensor, lengths: Tensor, targets: BatchTargets) -> None:
        """Count one batch of student log-probabilities [views·B, T, V]."""
        if targets.collisions is not None:
            self.collisions = (self.collisions or Collisions()) + targets.collisions
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
        if self.collisions is not None:
            figures["collisions"] = self.collisions.share
            figures["crowded"] = self.collisions.crowded / max(1, self.collisions.utterances)
        if self.heard:
            figures["pseudo_label_share"] = self.kept / self.heard
        return figures
