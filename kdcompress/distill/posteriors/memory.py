"""The posteriors of a live teacher: computed once per utterance where they fit in memory, else per batch.

House letters: B batch, T frames, V vocabulary.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from kdcompress.aliases import Progress, StageProgress
from kdcompress.audio.utterance import Utterance
from kdcompress.config.recipe import Recipe
from kdcompress.config.selection import Selection
from kdcompress.distill.data.audio_batch import AudioMemory, Batch, audio_batches
from kdcompress.distill.data.training_data import TrainingData
from kdcompress.teachers.teacher import Posteriors, Teacher


class TeacherPosteriors:
    """A PosteriorSource that runs a teacher, and remembers what `label` was given.

    Several runs on the same audio with the same seed may share one: the seed makes the clips of noise.
    """

    top_k = None

    def __init__(self, teacher: Teacher, device: torch.device) -> None:
        self.teacher, self.device = teacher, device
        self.vocabulary, self.frame_shift = teacher.vocabulary, teacher.frame_shift
        self.fingerprint = self.identity = teacher.fingerprint
        self._remembered: dict[tuple[str, float], Tensor] = {}
        self._labelled: dict[float, list[str]] = {}

    def check(self, selection: Selection, student_shift: float) -> None:
        """Accept every selection: a teacher gives all frames."""

    def prefetch(self, data: TrainingData, recipe: Recipe, on_stage: StageProgress) -> None:
        """Run the teacher over the training audio, where its posteriors fit in memory."""
        seconds = data.seconds * len(recipe.data.speed)
        megabytes = seconds / self.frame_shift * len(self.vocabulary) * 4 / 1e6
        if megabytes <= recipe.training.teacher_memory_mb:
            self.label(
                list(data.training),
                recipe.data.speed,
                recipe.data.batch_seconds,
                lambda done, total: on_stage("Running the teacher", done, total),
                data.memory,
            )

    def label(
        self,
        utterances: Sequence[Utterance],
        speeds: Sequence[float],
        batch_seconds: float,
        on_progress: Progress | None = None,
        memory: AudioMemory | None = None,
    ) -> None:
        """Run the teacher over each utterance at each speed, and remember.

        The batches depend on the utterances alone, so that a resumed run gets the same to the last bit.

        Args:
            memory: of audio that is decoded once for all speeds.
        """
        ids, total = [u.id for u in utterances], len(utterances) * len(speeds)
        for number, speed in enumerate(speeds):

            def progress(done: int, of: int, before: int = number * len(ids)) -> None:
                if on_progress is not None:
                    on_progress(before + done, total)

            # All of them or none: the last bits of a row depend on the batch that it was computed in.
            if self._labelled.get(speed) != ids:
                for batch in audio_batches(utterances, batch_seconds, progress, speed=speed, memory=memory):
                    self._remember(batch)
                self._labelled[speed] = ids
            progress(len(ids), len(ids))

    def __call__(self, batch: Batch) -> Posteriors:
        """Return the posteriors of a batch: in the host's memory if remembered, else on the device."""
        known = [self._remembered.get(key) for key in zip(batch.ids, batch.speeds, strict=True)]
        rows = [row for row in known if row is not None]
        if len(rows) < len(known):
            return self._run(batch)
        lengths = torch.tensor([len(row) for row in rows], dtype=torch.int64)
        return Posteriors(pad_sequence(rows, batch_first=True), lengths, self.frame_shift)

    def _remember(self, batch: Batch) -> None:
        found = self._run(batch).to(torch.device("cpu"))
        keys = zip(batch.ids, batch.speeds, strict=True)
        for key, row, length in zip(keys, found.log_probs, found.lengths.tolist(), strict=True):
            self._remembered[key] = row[:length].clone()

    def _run(self, batch: Batch) -> Posteriors:
        return self.teacher.posteriors(batch.waveforms.to(self.device), batch.lengths.to(self.device))
