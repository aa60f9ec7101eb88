"""Where the posteriors of a batch come from: a teacher beside the training, or a cache of its output."""

from typing import Protocol

import torch

from kdcompress.aliases import StageProgress
from kdcompress.config.recipe import Recipe
from kdcompress.config.selection import Selection
from kdcompress.config.teacher import CachedTeacher, TeacherConfig
from kdcompress.distill.data.audio_batch import Batch
from kdcompress.distill.data.training_data import TrainingData
from kdcompress.distill.posteriors.cache import open_cache
from kdcompress.distill.posteriors.memory import TeacherPosteriors
from kdcompress.teachers.open import open_teacher
from kdcompress.teachers.teacher import Posteriors
from kdcompress.text.vocabulary import Vocabulary


class PosteriorSource(Protocol):
    """Gives the posteriors of a batch, at the teacher's own frame shift.

    Attributes:
        vocabulary: their units.
        frame_shift: the time between two of their frames [s].
        fingerprint: of the teacher.
        identity: changes with anything that the posteriors depend on beside the audio.
        device: where its teacher runs, and where training does.
        top_k: K, when only so many tokens of each frame are the teacher's own; else None.
    """

    @property
    def vocabulary(self) -> Vocabulary: ...
    @property
    def frame_shift(self) -> float: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def identity(self) -> str: ...
    @property
    def device(self) -> torch.device: ...
    @property
    def top_k(self) -> int | None: ...

    def check(self, selection: Selection, student_shift: float) -> None:
        """Refuse frames that it cannot give, before a run is begun.

        Args:
            student_shift: frame shift of the student [s].

        Raises:
            CacheError: too few frames were kept, or not those that the student needs.
        """

    def prefetch(self, data: TrainingData, recipe: Recipe, on_stage: StageProgress) -> None:
        """Prepare for the audio of a run, before its first step.

        Raises:
            CacheError: the cache is of other audio.
        """

    def __call__(self, batch: Batch) -> Posteriors:
        """Return the posteriors of a batch, where they are: what is selected of them is moved later."""
        ...


def open_source(config: TeacherConfig, device: torch.device) -> PosteriorSource:
    """Open a teacher, or a cache, which loads no teacher.

    Raises:
        CacheError: the cache cannot be used.
        TeacherError: the teacher cannot be opened.
    """
    if isinstance(config, CachedTeacher):
        return open_cache(config.path, device)
    return TeacherPosteriors(open_teacher(config, device), device)
