"""Ask the teacher: once per utterance where its answers fit in memory, else for every batch; or ask a cache.

House letters: B batch, T frames, V vocabulary.
"""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias, Union

import torch
from torch import Tensor

from kdcompress.aliases import Progress
from kdcompress.audio.utterance import Utterance
from kdcompress.config.recipe import Recipe
from kdcompress.config.teacher import CachedTeacher, TeacherConfig
from kdcompress.distill.data.batches import Batch, by_duration, decode
from kdcompress.distill.data.fingerprint import audio_list
from kdcompress.distill.data.training_data import TrainingData
from kdcompress.distill.objective.alignment import AlignedPosteriors, Alignment
from kdcompress.distill.posteriors.cache import CachedPosteriors, open_cache
from kdcompress.students.student import Student
from kdcompress.teachers.open import open_teacher
from kdcompress.teachers.teacher import Posteriors, Teacher
from kdcompress.text.vocabulary import Vocabulary

Answers: TypeAlias = Union[Teacher, CachedPosteriors, "PosteriorSource"]
"""Who says what the student is to say: a teacher, or what is kept of one's answers."""


class Source(Protocol):
    """Gives the posteriors of a batch.

    Attributes:
        vocabulary: their units.
        frame_shift: the time between two of their frames [s].
        device: that they are put on.
        top_k: K, when only so many tokens of each frame are the teacher's own; else None.
    """

    @property
    def vocabulary(self) -> Vocabulary: ...
    @property
    def frame_shift(self) -> float: ...
    @property
    def device(self) -> torch.device: ...
    @property
    def top_k(self) -> int | None: ...
    def __call__(self, batch: Batch) -> Posteriors: ...


def open_answers(config: TeacherConfig, device: torch.device) -> Answers:
    """Open a teacher, or a cache, which loads no teacher.

    Raises:
        CacheError: the cache cannot be used.
        TeacherError: the teacher cannot be opened.
    """
    if isinstance(config, CachedTeacher):
        return open_cache(config.path, device)
    return open_teacher(config, device)


def open_source(answers: Answers, device: torch.device) -> Source:
    """Make a teacher answer for batches, as a cache does."""
    kept = isinstance(answers, CachedPosteriors | PosteriorSource)
    return answers if kept else PosteriorSource(answers, device)  # type: ignore[return-value,arg-type]


def prefetch(
    source: Source, material: TrainingData, recipe: Recipe, on_stage: Callable[[str, int, int], None]
) -> None:
    """Have the teacher listen to what fits in memory; of a cache, see that it is of this audio.

    Raises:
        CacheError: it is of other audio.
    """
    speeds = recipe.data.speed
    if isinstance(source, CachedPosteriors):
        training = audio_list(
            material.training,
            material.clips,
            recipe.seed,
            lambda done, total: on_stage("Comparing audio with the cache", done, total),
        )
        source.check_covers(training, audio_list(material.held_out, 0, recipe.seed), speeds)
    elif isinstance(source, PosteriorSource):
        seconds = sum(u.duration for u in material.training)
        if source.memory_mb(seconds, len(speeds)) <= recipe.training.teacher_memory_mb:
            source.label(
                material.training,
                speeds,
                recipe.data.batch_seconds,
                lambda done, total: on_stage("Listening to the teacher", done, total),
            )


class PosteriorSource:
    """Teacher posteriors of batches; remembers those of utterances that `label` was shown.

    Several runs on the same audio with the same seed may share one: the seed makes the clips of noise.
    """

    top_k = None

    def __init__(self, teacher: Teacher, device: torch.device) -> None:
        self.teacher, self.device = teacher, device
        self._remembered: dict[tuple[str, float], Tensor] = {}

    @property
    def vocabulary(self) -> Vocabulary:
        """The units of the posteriors."""
        return self.teacher.vocabulary

    @property
    def frame_shift(self) -> float:
        """The time between two of their frames [s]."""
        return self.teacher.frame_shift

    @property
    def fingerprint(self) -> str:
        """That of the teacher."""
        return self.teacher.fingerprint

    def memory_mb(self, seconds: float, speeds: int) -> float:
        """Return what remembering so much audio at so many speeds takes [MB]."""
        frames = seconds / self.teacher.frame_shift
        return frames * speeds * len(self.teacher.vocabulary) * 4 / 1e6

    def label(
        self,
        utterances: Sequence[Utterance],
        speeds: Sequence[float],
        batch_seconds: float,
        on_progress: Progress | None = None,
    ) -> None:
        """Ask the teacher about each utterance at each speed, and remember.

        The batches depend on the utterances alone, so a resumed run hears the same answers to the last bit.
        """
        total = len(utterances) * len(speeds)
        done = 0
        for group in by_duration(utterances, batch_seconds):
            for speed in speeds:
                # All of a group or none: an answer's last bits depend on the batch it was given in.
                if any((utterance.id, speed) not in self._remembered for utterance in group):
                    self._remember(decode(group, [speed] * len(group)))
                done += len(group)
                if on_progress is not None:
                    on_progress(done, total)

    def __call__(self, batch: Batch) -> Posteriors:
        """Return the posteriors of a batch, on the training device."""
        known = [self._remembered.get(key) for key in zip(batch.ids, batch.speeds, strict=True)]
        rows = [row for row in known if row is not None]
        if len(rows) < len(known):
            return self._ask(batch)
        lengths = torch.tensor([len(row) for row in rows], dtype=torch.int64)
        log_probs = torch.zeros(len(rows), int(lengths.max()), rows[0].shape[1])
        for index, row in enumerate(rows):
            log_probs[index, : len(row)] = row
        return Posteriors(log_probs.to(self.device), lengths.to(self.device), self.teacher.frame_shift)

    def _remember(self, batch: Batch) -> None:
        if not batch.ids:
            return
        answer = self._ask(batch)
        for row, key in enumerate(zip(batch.ids, batch.speeds, strict=True)):
            self._remembered[key] = answer.log_probs[row, : int(answer.lengths[row])].cpu().clone()

    def _ask(self, batch: Batch) -> Posteriors:
        return self.teacher.posteriors(batch.waveforms.to(self.device), batch.lengths.to(self.device))


class AlignedSource:
    """The same at the student's frame shift, as long as both have frames."""

    def __init__(self, source: Source, alignment: Alignment, student: Student) -> None:
        self.source, self.alignment, self.student = source, alignment, student

    def __call__(self, batch: Batch) -> AlignedPosteriors:
        """Return the posteriors of a batch, on the training device.

        Raises:
            TeacherError: lengths differ by more than rounding at the end explains.
        """
        lengths = self.student.output_lengths(batch.lengths.to(self.source.device))
        return self.alignment(self.source(batch), lengths, batch.ids)
