"""The terms of the objective. A further one is a file of its own beside this one, and a line in FURTHER.

House letters: B batch, T frames, V vocabulary, W views (draws of SpecAugment).
"""

from collections.abc import Sequence

from torch import Tensor

from kdcompress.audio.utterance import SAMPLE_RATE
from kdcompress.distill.data.audio_batch import Batch
from kdcompress.distill.objective.divergences import make_divergence
from kdcompress.distill.objective.frame_targets import FrameTargets
from kdcompress.distill.objective.full_context import FullContextTerm
from kdcompress.distill.objective.losses import LossSum, consistency, ctc, frame_kd, occupancy_kd
from kdcompress.distill.objective.pseudo_labels import PseudoLabeller, PseudoLabels
from kdcompress.distill.objective.term import BatchTargets, LossTerm, TermSetting
from kdcompress.errors import ConfigError
from kdcompress.teachers.teacher import Posteriors


class FrameTerm(LossTerm):
    """The divergence from the teacher on the selected frames."""

    name = "kd"

    def __init__(self, setting: TermSetting) -> None:
        config = setting.config
        self.weight = config.kd_weight * config.frame_weight
        self.temperature = config.temperature
        self.divergence = make_divergence(config.divergence, setting.blank)
        shares = config.kd_weight * config.occupancy_weight > 0 and config.occupancy_frames == "rest"
        self.counts_valid = shares

    def count(self, targets: BatchTargets) -> int:
        frames = _frames(targets)
        return len(frames.occupancy if self.counts_valid else frames.row)

    def loss(self, log_probs_BTV: Tensor, lengths_B: Tensor, targets: BatchTargets) -> LossSum:
        return frame_kd(log_probs_BTV, _frames(targets), self.temperature, self.divergence)


class OccupancyTerm(LossTerm):
    """Two-class KL {blank, not blank}."""

    name = "occupancy"

    def __init__(self, setting: TermSetting) -> None:
        self.weight = setting.config.kd_weight * setting.config.occupancy_weight
        self.blank, self.over = setting.blank, setting.config.occupancy_frames

    def count(self, targets: BatchTargets) -> int:
        return len(_frames(targets).occupancy)

    def loss(self, log_probs_BTV: Tensor, lengths_B: Tensor, targets: BatchTargets) -> LossSum:
        return occupancy_kd(log_probs_BTV, _frames(targets), self.blank, self.over)


class PseudoLabelTerm(LossTerm):
    """CTC on the teacher's own transcripts."""

    name = "pseudo_label"

    def __init__(self, setting: TermSetting) -> None:
        config = setting.config
        self.weight = config.kd_weight * config.pseudo_label.weight
        self.blank, self.labeller = setting.blank, None
        if setting.teacher_vocabulary is not None:
            confidence = config.pseudo_label.min_confidence
            self.labeller = PseudoLabeller(setting.teacher_vocabulary, setting.tokenizer, confidence)

    def prepare(self, batch: Batch, posteriors: Posteriors | None, frames_B: Tensor) -> PseudoLabels | None:
        if posteriors is None or self.labeller is None:
            return None
        return self.labeller(posteriors, frames_B)

    def count(self, targets: BatchTargets) -> int:
        found: PseudoLabels = targets.prepared[self.name]
        return _label_count(found.lengths, targets.batch.lengths[found.row], targets.label_rate)

    def loss(self, log_probs_BTV: Tensor, lengths_B: Tensor, targets: BatchTargets) -> LossSum:
        found: PseudoLabels = targets.prepared[self.name]
        return ctc(log_probs_BTV[found.row], found.frames, found.labels, found.lengths, self.blank)


class CtcTerm(LossTerm):
    """CTC on the references."""

    name = "ctc"

    def __init__(self, setting: TermSetting) -> None:
        self.weight, self.blank = 1 - setting.config.kd_weight, setting.blank

    def count(self, targets: BatchTargets) -> int:
        lengths = targets.batch.label_lengths
        if lengths is None:
            return 0
        return _label_count(lengths, targets.batch.lengths, targets.label_rate)

    def loss(self, log_probs_BTV: Tensor, lengths_B: Tensor, targets: BatchTargets) -> LossSum:
        batch = targets.batch
        assert batch.labels is not None  # read where λ < 1
        assert batch.label_lengths is not None
        return ctc(log_probs_BTV, targets.frames_B, batch.labels, batch.label_lengths, self.blank)


class ConsistencyTerm(LossTerm):
    """Each of two views is pulled to the other."""

    name, views = "consistency", 2

    def __init__(self, setting: TermSetting) -> None:
        self.weight = setting.config.consistency_weight

    def count(self, targets: BatchTargets) -> int:
        return targets.student_frames

    def loss(self, log_probs_BTV: Tensor, lengths_B: Tensor, targets: BatchTargets) -> LossSum:
        raise NotImplementedError("consistency compares two views; see over_views")

    def over_views(self, views_WBTV: Tensor, lengths_B: Tensor, targets: BatchTargets) -> LossSum:
        one, other = views_WBTV
        return consistency(one, other, targets.frames_B)


BUILT_IN: tuple[type[LossTerm], ...] = (FrameTerm, OccupancyTerm, PseudoLabelTerm, CtcTerm, ConsistencyTerm)
FURTHER: tuple[type[LossTerm], ...] = (FullContextTerm,)
"""Terms that a recipe asks for in `objective.terms`, by their names."""


def make_terms(setting: TermSetting, further: Sequence[type[LossTerm]] = FURTHER) -> list[LossTerm]:
    """Return the terms whose weight is above 0.

    Raises:
        ConfigError: the recipe names a term that there is not, or options that a term has not.
    """
    names = [term.name for term in further]
    if unknown := sorted(set(setting.config.terms) - set(names)):
        raise ConfigError(
            f"objective.terms has {', '.join(unknown)}; the further terms are: {', '.join(names) or 'none'}"
        )
    return [term for term in (make(setting) for make in (*BUILT_IN, *further)) if term.weight > 0]


def _label_count(label_lengths_B: Tensor, samples_B: Tensor, label_rate: float) -> int:
    """Return what a CTC loss is divided by.

    A clip of noise, which has no label, counts as speech of its length does: a batch of nothing but such
    clips would be divided by one, and its step would be as large as those of a hundred others.
    """
    unlabelled = float(samples_B[label_lengths_B == 0].sum()) / SAMPLE_RATE
    return int(label_lengths_B.sum()) + round(label_rate * unlabelled)


def _frames(targets: BatchTargets) -> FrameTargets:
    assert targets.frames is not None  # made where a term compares frames
    return targets.frames
