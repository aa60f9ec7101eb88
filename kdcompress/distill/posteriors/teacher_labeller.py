"""Let a teacher listen to utterances, and pack what is to be kept of its answers."""

from collections.abc import Sequence

import torch

from kdcompress.audio.utterance import Utterance
from kdcompress.config.objective import Selection
from kdcompress.distill.data.batches import Batch, decode
from kdcompress.distill.objective.selection import label_frames, select_frames
from kdcompress.distill.posteriors.cache_compatibility import WIDEST
from kdcompress.distill.posteriors.packing import Arrays, pack
from kdcompress.frontend.masks import valid_frames
from kdcompress.teachers.teacher import Teacher


class Labeller:
    """Turns utterances into packed answers."""

    def __init__(
        self, teacher: Teacher, selection: Selection, top_k: int | None, device: torch.device
    ) -> None:
        self.teacher, self.selection, self.top_k, self.device = teacher, selection, top_k, device

    def __call__(
        self, utterances: Sequence[Utterance], speed: float, whole: bool
    ) -> tuple[Batch, list[Arrays]]:
        """Return the audio at a speed, without what cannot be decoded, and what to store of each row.

        Args:
            whole: every token of every frame, whatever the selection and K.
        """
        batch = decode(utterances, [speed] * len(utterances))
        if not batch.ids:
            return batch, []
        answer = self.teacher.posteriors(batch.waveforms.to(self.device), batch.lengths.to(self.device))
        log_probs, lengths = answer.log_probs, answer.lengths
        blank = self.teacher.vocabulary.blank
        if whole:
            kept = valid_frames(lengths, log_probs.shape[1])
        else:
            labels = label_frames(log_probs, lengths, blank)
            kept = select_frames(self.selection, labels, lengths, self.teacher.frame_shift, epoch=WIDEST)
        top_k = None if whole else self.top_k
        return batch, [
            pack(log_probs[row, :length], kept[row, :length], blank, top_k)
            for row, length in enumerate(lengths.tolist())
        ]

    def nothing(self, whole: bool) -> Arrays:
        """Return the answer to no audio: it gives a shard its arrays where no file could be read."""
        size = len(self.teacher.vocabulary)
        frames = torch.zeros(0, dtype=torch.bool)
        return pack(
            torch.empty(0, size), frames, self.teacher.vocabulary.blank, None if whole else self.top_k
        )
