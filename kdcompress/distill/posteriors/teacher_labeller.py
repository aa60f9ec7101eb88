"""Run a teacher on batches of audio, and pack what a cache keeps of its posteriors."""

import torch

from kdcompress.config.pattern import WIDEST_EPOCH
from kdcompress.config.selection import Selection
from kdcompress.distill.data.audio_batch import Batch
from kdcompress.distill.objective.selection import label_frames, select_frames
from kdcompress.distill.posteriors.packing import Arrays, pack
from kdcompress.frontend.masks import valid_frames
from kdcompress.teachers.teacher import Teacher


class TeacherLabeller:
    """Turns audio into packed posteriors."""

    def __init__(
        self, teacher: Teacher, selection: Selection, top_k: int | None, device: torch.device
    ) -> None:
        self.teacher, self.selection, self.top_k, self.device = teacher, selection, top_k, device

    def __call__(self, batch: Batch, whole: bool) -> list[Arrays]:
        """Return what to store of each row.

        Args:
            whole: every token of every frame, whatever the selection and K.
        """
        found = self.teacher.posteriors(batch.waveforms.to(self.device), batch.lengths.to(self.device))
        log_probs, lengths = found.log_probs, found.lengths
        blank = self.teacher.vocabulary.blank
        if whole:
            kept = valid_frames(lengths, log_probs.shape[1])
        else:
            labels = label_frames(log_probs, lengths, blank)
            kept = select_frames(
                self.selection, labels, lengths, self.teacher.frame_shift, epoch=WIDEST_EPOCH
            )
        top_k = None if whole else self.top_k
        return [
            pack(log_probs[row, :length], kept[row, :length], blank, top_k)
            for row, length in enumerate(lengths.tolist())
        ]

    def nothing(self, whole: bool) -> Arrays:
        """Return what to store of no audio: it gives a shard its arrays where no file could be read."""
        size, blank = len(self.teacher.vocabulary), self.teacher.vocabulary.blank
        frames = torch.zeros(0, dtype=torch.bool)
        return pack(torch.empty(0, size), frames, blank, None if whole else self.top_k)
