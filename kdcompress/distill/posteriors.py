"""Ask the teacher: once per utterance where its answers fit in memory, else for every batch.

House letters: B batch, T frames, V vocabulary.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from kdcompress.audio.utterance import Utterance
from kdcompress.distill.alignment import AlignedPosteriors, Alignment
from kdcompress.distill.data import Batch, by_duration, decode
from kdcompress.students.student import CtcStudent
from kdcompress.teachers.teacher import Posteriors, Teacher
from kdcompress.text.vocabulary import Vocabulary

Progress = Callable[[int, int], None]


class PosteriorSource:
    """Teacher posteriors of batches; remembers those of utterances that `label` was shown."""

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
                batch = decode(group, [speed] * len(group))
                if batch.ids:
                    answer = self._ask(batch)
                    for row, id_ in enumerate(batch.ids):
                        log_probs = answer.log_probs[row, : int(answer.lengths[row])]
                        self._remembered[id_, speed] = log_probs.cpu().clone()
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

    def _ask(self, batch: Batch) -> Posteriors:
        return self.teacher.posteriors(batch.waveforms.to(self.device), batch.lengths.to(self.device))


class AlignedSource:
    """The same at the student's frame shift, as long as both have frames."""

    def __init__(self, source: PosteriorSource, alignment: Alignment, student: CtcStudent) -> None:
        self.source, self.alignment, self.student = source, alignment, student

    def __call__(self, batch: Batch) -> AlignedPosteriors:
        """Return the posteriors of a batch, on the training device.

        Raises:
            TeacherError: lengths differ by more than rounding at the end explains.
        """
        lengths = self.student.output_lengths(batch.lengths.to(self.source.device))
        return self.alignment(self.source(batch), lengths, batch.ids)
