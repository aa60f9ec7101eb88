"""The teacher's own transcripts as labels: for students with other units, and as a baseline.

House letters: B batch, T frames, V vocabulary, U labels, R utterances kept.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice, pairwise

import torch
from torch import Tensor

from kdcompress.aliases import Progress
from kdcompress.audio.utterance import Utterance
from kdcompress.distill.data.audio_batch import audio_batches
from kdcompress.distill.posteriors.source import PosteriorSource
from kdcompress.frontend.masks import valid_frames
from kdcompress.teachers.teacher import Posteriors
from kdcompress.text.tokenizer import Tokenizer
from kdcompress.text.vocabulary import Vocabulary


@dataclass(frozen=True)
class BestPaths:
    """A teacher's best paths, decoded.

    Attributes:
        labels: per utterance its token ids: repeats merged, blanks and silent tokens dropped.
        confidence: float32 [B], exp(log P(best path) / labels), from 0 to 1.
    """

    labels: list[list[int]]
    confidence: Tensor


@dataclass(frozen=True)
class PseudoLabels:
    """Labels of the utterances of a batch that are kept.

    Attributes:
        row: int64 [R], which utterances.
        labels: int64 [R, U], ids of the student's vocabulary, padded.
        lengths: int64 [R] in the host's memory, labels of each; 0 where the teacher decodes nothing.
        frames: int64 [R] in the host's memory, frames of the student.
        offered: B, how many there were to choose from.
    """

    row: Tensor
    labels: Tensor
    lengths: Tensor
    frames: Tensor
    offered: int

    def to(self, device: torch.device) -> "PseudoLabels":
        """Return them on a device, but for the lengths, which CTC wants on the host."""
        row, labels = (tensor.to(device, non_blocking=True) for tensor in (self.row, self.labels))
        return replace(self, row=row, labels=labels)


def best_paths(posteriors: Posteriors, vocabulary: Vocabulary) -> BestPaths:
    """Decode greedily.

    The confidence is the path's log-probability over its number of labels (at least 1), as Kahn et al. 2020
    (arXiv 1909.09116) filter theirs. A mean over frames would rate long pauses, not words.
    """
    best, path = posteriors.log_probs.max(dim=-1)
    valid = valid_frames(posteriors.lengths, path.shape[1])
    starts = valid.clone()
    starts[:, 1:] &= path[:, 1:] != path[:, :-1]
    unwritten = torch.tensor([vocabulary.blank, *vocabulary.silent], device=path.device)
    starts &= ~torch.isin(path, unwritten)
    log_prob, count = best.masked_fill(~valid, 0).sum(dim=1), starts.sum(dim=1)
    written = iter(path[starts].tolist())  # of all utterances at once: each time the host waits
    labels = [list(islice(written, length)) for length in count.tolist()]
    return BestPaths(labels, (log_prob / count.clamp(min=1)).exp())


class PseudoLabeller:
    """Transcribe with the teacher, in the student's units.

    The posteriors must be the teacher's own: pooled to another frame rate they have lost labels.
    """

    def __init__(self, teacher: Vocabulary, tokenizer: Tokenizer, min_confidence: float) -> None:
        self.teacher, self.tokenizer, self.min_confidence = teacher, tokenizer, min_confidence

    def __call__(self, posteriors: Posteriors, frames_B: Tensor) -> PseudoLabels:
        """Return the labels of utterances that are sure enough and fit into the student's frames.

        Raises:
            VocabularyError: a transcript cannot be written in the student's vocabulary.
        """
        found = best_paths(posteriors, self.teacher)
        labels = found.labels
        if self.tokenizer.vocabulary != self.teacher:
            labels = [self.tokenizer.encode(self.teacher.text(ids)) for ids in labels]
        needed = [len(ids) + sum(a == b for a, b in pairwise(ids)) for ids in labels]
        kept = [
            row
            for row, (confidence, frames) in enumerate(
                zip(found.confidence.tolist(), frames_B.tolist(), strict=True)
            )
            if confidence >= self.min_confidence and needed[row] <= frames
        ]
        lengths = [len(labels[row]) for row in kept]
        longest = max(lengths, default=0)
        padded = [labels[row] + [0] * (longest - len(labels[row])) for row in kept]
        row = torch.tensor(kept, dtype=torch.int64)
        return PseudoLabels(
            row,
            torch.tensor(padded, dtype=torch.int64).reshape(len(kept), longest),
            torch.tensor(lengths, dtype=torch.int64),
            frames_B.cpu()[row],
            len(labels),
        )


def transcribe(
    utterances: Sequence[Utterance],
    source: PosteriorSource,
    min_confidence: float,
    batch_seconds: float,
    on_progress: Progress | None = None,
) -> list[str]:
    """Return the teacher's transcripts of utterances, where it is sure enough."""
    texts: list[str] = []
    for batch in audio_batches(utterances, batch_seconds, on_progress):
        found = best_paths(source(batch), source.vocabulary)
        texts += [
            source.vocabulary.text(ids)
            for ids, confidence in zip(found.labels, found.confidence.tolist(), strict=True)
            if confidence >= min_confidence
        ]
    return texts
