"""What a term of the objective is: its options, what it is compared with, its sum and its count.

House letters: B batch, T frames, V vocabulary, W views (draws of SpecAugment).
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from pydantic import Field, ValidationError
from torch import Tensor

from kdcompress.config.base import Frozen, describe_faults
from kdcompress.config.objective import ObjectiveConfig
from kdcompress.distill.data.audio_batch import Batch
from kdcompress.distill.objective.collisions import Collisions
from kdcompress.distill.objective.frame_targets import FrameTargets
from kdcompress.distill.objective.losses import LossSum
from kdcompress.errors import ConfigError
from kdcompress.teachers.teacher import Posteriors
from kdcompress.text.tokenizer import Tokenizer
from kdcompress.text.vocabulary import Vocabulary


@dataclass(frozen=True)
class BatchTargets:
    """What a batch of student output is compared with; known before the student is run.

    Attributes:
        batch: the audio, with labels where λ < 1.
        frames_B: int64 [B] in the host's memory, valid frames that the student will have.
        frames: selected frames of the teacher; None where no frames are compared.
        collisions: tokens of the teacher that the student has no frames for; None where it has as
            many.
        aligned: all of the teacher's posteriors at the student's frame shift, where the student's output is
            to choose which frames it is held to.
        prepared: what each term's `prepare` returned, by its name.
        label_rate: labels that a second of the training speech has.
    """

    batch: Batch
    frames_B: Tensor
    frames: FrameTargets | None = None
    collisions: Collisions | None = None
    aligned: Posteriors | None = None
    prepared: Mapping[str, Any] = field(default_factory=dict)
    label_rate: float = 0.0

    @property
    def student_frames(self) -> int:
        """Valid frames that the student will have in the whole batch."""
        return int(self.frames_B.sum())

    def to(self, device: torch.device) -> "BatchTargets":
        """Return them where the student is; the lengths stay on the host, which looks at them."""
        prepared = {n: v.to(device) if hasattr(v, "to") else v for n, v in self.prepared.items()}
        frames = None if self.frames is None else self.frames.to(device)
        aligned = None if self.aligned is None else self.aligned.to(device)
        return replace(self, batch=self.batch.to(device), frames=frames, aligned=aligned, prepared=prepared)


@dataclass(frozen=True)
class TermSetting:
    """What a term is made from; the teacher's vocabulary is None without a teacher."""

    config: ObjectiveConfig
    tokenizer: Tokenizer
    teacher_vocabulary: Vocabulary | None

    @property
    def blank(self) -> int:
        """Id of the student's blank."""
        return self.tokenizer.vocabulary.blank


class TermOptions(Frozen):
    """What a recipe may set of a further term, as `objective.terms.NAME`; subclass it for more."""

    weight: float = Field(0.0, ge=0)


class LossTerm(ABC):
    """A summand of the loss: its sum over a batch, and what that is divided by over the whole step.

    Attributes:
        name: in metrics.jsonl and, for a further term, in `objective.terms` of a recipe.
        views: how many draws of SpecAugment it needs of each batch.
        full_context: whether the last of these is to be a streaming student's pass over whole utterances.
        options: what the recipe sets.
        weight: 0 leaves it out.
    """

    name: ClassVar[str]
    views: ClassVar[int] = 1
    full_context: ClassVar[bool] = False
    options_class: ClassVar[type[TermOptions]] = TermOptions

    def __init__(self, setting: TermSetting) -> None:
        """Read the options.

        Raises:
            ConfigError: they are not those of this term.
        """
        asked = setting.config.terms.get(self.name, {})
        try:
            self.options = self.options_class.model_validate(asked)
        except ValidationError as error:
            faults = describe_faults(error, self.options_class, asked)
            raise ConfigError(f"objective.terms.{self.name}: {faults}") from error
        self.weight: float = self.options.weight

    def prepare(self, batch: Batch, posteriors: Posteriors | None, frames_B: Tensor) -> Any:
        """Return what the term needs of a batch beside its frame targets; its `to`, if any, moves it.

        Args:
            posteriors: at the teacher's own frame shift; None without teacher.
            frames_B: frames of the student.
        """
        return None

    @abstractmethod
    def count(self, targets: BatchTargets) -> int:
        """Return what the sum is over: frames, or labels."""

    @abstractmethod
    def loss(self, log_probs_BTV: Tensor, lengths_B: Tensor, targets: BatchTargets) -> LossSum:
        """Return the sum over one view of a batch, with a gradient graph even where nothing is counted."""

    def over_views(self, views_WBTV: Tensor, lengths_B: Tensor, targets: BatchTargets) -> LossSum:
        """Return the mean of the sums over all views."""
        found = [self.loss(view, lengths_B, targets) for view in views_WBTV]
        return LossSum(torch.stack([term.total for term in found]).mean(), found[0].count)
