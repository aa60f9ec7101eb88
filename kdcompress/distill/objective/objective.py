"""The objective: targets of a batch, and the weighted terms of the loss.

House letters: B batch, T frames, V vocabulary, E exits, W views.
"""

from collections.abc import Sequence
from dataclasses import astuple, replace

import torch
from torch import Tensor

from kdcompress.config.objective import ObjectiveConfig
from kdcompress.distill.data.audio_batch import Batch
from kdcompress.distill.objective.alignment import FrameAlignment, whole_frames
from kdcompress.distill.objective.collisions import Collisions
from kdcompress.distill.objective.delay import best_alignment
from kdcompress.distill.objective.frame_targets import FrameTargets, frame_targets
from kdcompress.distill.objective.losses import LossSum
from kdcompress.distill.objective.selection import draw_keys
from kdcompress.distill.objective.term import BatchTargets, LossTerm, TermSetting
from kdcompress.distill.objective.terms import FURTHER, make_terms
from kdcompress.frontend.masks import valid_frames
from kdcompress.teachers.teacher import Posteriors
from kdcompress.text.tokenizer import Tokenizer
from kdcompress.text.vocabulary import Vocabulary


class Objective:
    """L = λ·(KD + occupancy + pseudo-label CTC) + (1 − λ)·CTC + consistency; see `ObjectiveConfig`.

    Each term has its weight there and is divided by its own count over the whole step.

    Attributes:
        names: of the terms whose weight is above 0.
        weights: of these.
        views: how often the student is run on each batch, each time under other masks.
        full_context: whether the last view is to be of whole utterances.
        window: frames that the student may come late, as its own output chooses.
        log_prior: float32 [V], what `estimate_prior` found, for a selection that corrects by it; set before
            the first targets.
        label_rate: labels that a second of the training speech has; likewise.
    """

    def __init__(
        self,
        config: ObjectiveConfig,
        tokenizer: Tokenizer,
        teacher_vocabulary: Vocabulary | None = None,
        top_k: int | None = None,
        alignment: FrameAlignment | None = None,
        seed: int = 0,
        further: Sequence[type[LossTerm]] = FURTHER,
    ) -> None:
        """Choose the terms.

        Args:
            tokenizer: of the student.
            teacher_vocabulary: None without teacher.
            top_k: K, where only so many tokens of a frame are the teacher's own.
            alignment: of the teacher's frames with the student's; None where no frames are compared.
            seed: of randomly selected frames.
            further: terms that `config.terms` may name.

        Raises:
            ConfigError: the recipe names a term that there is not, or options that a term has not.
        """
        self.config, self.blank = config, tokenizer.vocabulary.blank
        self.alignment, self.seed, self.top_k = alignment, seed, top_k
        self.log_prior: Tensor | None = None
        self.label_rate = 0.0
        self._terms = make_terms(TermSetting(config, tokenizer, teacher_vocabulary), further)
        self.names = tuple(term.name for term in self._terms)
        self.weights = tuple(term.weight for term in self._terms)
        self.views = max((term.views for term in self._terms), default=1)
        self.full_context = any(term.full_context for term in self._terms)
        self.window = 0
        if alignment is not None:
            self.window = whole_frames(config.window_ms, alignment.frame_shift, "window_ms")

    def targets(self, batch: Batch, posteriors: Posteriors | None, frames_B: Tensor) -> BatchTargets:
        """Turn a teacher's posteriors into targets.

        Args:
            posteriors: at the teacher's own frame shift; None without teacher.
            frames_B: int64 in the host's memory, frames of the student.
        """
        prepared = {term.name: term.prepare(batch, posteriors, frames_B) for term in self._terms}
        compared = collided = choice = None
        if posteriors is not None and self.alignment is not None:
            aligned = self.alignment(posteriors, frames_B.to(posteriors.lengths.device), batch.ids)
            collided, compared = aligned.collisions, self._frames(aligned, batch)
            choice = aligned if self.window else None
        return BatchTargets(batch, frames_B, compared, collided, choice, prepared, self.label_rate)

    def _frames(self, aligned: Posteriors, batch: Batch) -> FrameTargets:
        return frame_targets(
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

    def _chosen(self, targets: BatchTargets, log_probs_BTV: Tensor) -> BatchTargets:
        """Return the targets as a student's output, up to `window` frames late, agrees with best."""
        aligned = targets.aligned
        if aligned is None:
            return targets
        at_BT = best_alignment(
            aligned.log_probs, log_probs_BTV.detach(), aligned.lengths, self.blank, self.window
        )
        chosen = aligned.log_probs.gather(1, at_BT[..., None].expand(-1, -1, aligned.log_probs.shape[2]))
        return replace(targets, frames=self._frames(replace(aligned, log_probs=chosen), targets.batch))

    def counts(self, targets: Sequence[BatchTargets]) -> list[int]:
        """Return the count of each term over the batches of a step."""
        return [sum(term.count(batch) for batch in targets) for term in self._terms]

    def terms(self, log_probs: Tensor, lengths: Tensor, targets: BatchTargets | None) -> list[LossSum]:
        """Return the sums of each term for one batch of student log-probabilities [E + 1, W·B, T, V].

        Those of the E exits have the share `exit_weight`, those of the end, which come last, the rest.
        Without targets all are zero, with a gradient graph.
        """
        if targets is None:
            return [LossSum(0 * log_probs.sum(), 0) for _ in self._terms]
        *exits, end = log_probs.unflatten(1, (self.views, -1))
        targets = self._chosen(targets, end[0])
        lengths = lengths[: len(targets.batch.ids)]
        share = self.config.exit_weight if exits else 0.0
        weighted = [*((share / len(exits), output) for output in exits), (1 - share, end)]
        terms = []
        for term in self._terms:
            found = [term.over_views(output, lengths, targets) for _, output in weighted]
            totals = [weight * part.total for (weight, _), part in zip(weighted, found, strict=True)]
            terms.append(LossSum(torch.stack(totals).sum(), found[-1].count))
        return terms

    def new_tally(self) -> "Tally":
        """Return an empty tally of a step."""
        return Tally(self.blank)


class Tally:
    """What a step's frames look like: the share selected, the blanks of each side, and what collides.

    Of pseudo labels, the share of utterances whose transcript was kept.
    """

    def __init__(self, blank: int) -> None:
        self.blank = blank
        self.selected = self.valid = self.student_frames = self.kept = self.offered = 0
        self.student_blanks: Tensor | int = 0
        self.teacher_blanks: Tensor | int = 0
        self.collisions = Collisions()

    def add(self, log_probs: Tensor, lengths: Tensor, targets: BatchTargets) -> None:
        """Count one batch of student log-probabilities [W·B, T, V]."""
        self.collisions += targets.collisions or Collisions()
        inside = valid_frames(lengths, log_probs.shape[1])
        self.student_frames += targets.student_frames * (len(lengths) // len(targets.frames_B))
        self.student_blanks = self.student_blanks + ((log_probs.argmax(-1) == self.blank) & inside).sum()
        if targets.frames is not None:
            self.selected += len(targets.frames.row)
            self.valid += len(targets.frames.occupancy)
            # Among two classes the blank may lead with less than the best token has: close enough to watch.
            blank, rest = targets.frames.occupancy.unbind(-1)
            self.teacher_blanks = self.teacher_blanks + torch.gt(blank, rest).sum()
        pseudo = targets.prepared.get("pseudo_label")
        if pseudo is not None:
            self.kept += len(pseudo.row)
            self.offered += pseudo.offered

    def counts(self, device: torch.device) -> Tensor:
        """Return all counts, float64 on the device: they may be added up over processes."""
        known = (self.student_frames, self.selected, self.valid, self.kept, self.offered)
        host = torch.tensor([*known, *astuple(self.collisions)], dtype=torch.float64)
        blanks = [
            torch.as_tensor(n, device=device).double() for n in (self.student_blanks, self.teacher_blanks)
        ]
        return torch.cat((torch.stack(blanks), host.to(device, non_blocking=True)))

    @staticmethod
    def figures(counts: Sequence[float]) -> dict[str, float]:
        """Return shares for metrics.jsonl, of what `counts` returned."""
        student_blanks, teacher_blanks, student_frames, selected, valid, kept, offered, *collided = counts
        collisions = Collisions(*map(int, collided))
        figures = {"blank_rate": student_blanks / max(1, student_frames)}
        if valid:
            figures["selected_share"] = selected / valid
            figures["teacher_blank_rate"] = teacher_blanks / valid
        if collisions.utterances:
            figures["collisions"] = collisions.share
            figures["crowded"] = collisions.infeasible / collisions.utterances
        if offered:
            figures["pseudo_label_share"] = kept / offered
        return figures
