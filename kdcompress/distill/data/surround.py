"""Silence around and between utterances, noise and gain, on the student's audio alone.

Statistics over an utterance move with the silence around it, so that a model which was never trained on it
loses words. The targets are exact without another run of the teacher: its posteriors of the clean utterance,
moved by whole frames of both models, and the blank in silence.

House letters: B batch, S samples, T frames, V vocabulary, R rows made.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil, log

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from kdcompress.aliases import FloatArray
from kdcompress.audio.stress import coloured
from kdcompress.audio.utterance import SAMPLE_RATE
from kdcompress.config.data import DataConfig
from kdcompress.distill.data.audio_batch import Batch
from kdcompress.distill.data.fingerprint import hashed_number
from kdcompress.distill.objective.pseudo_labels import best_paths
from kdcompress.distill.posteriors.source import PosteriorSource
from kdcompress.teachers.teacher import Posteriors
from kdcompress.text.vocabulary import Vocabulary

CERTAINTY = 1 - 1e-4  # of the blank in silence, and of the word boundary between joined utterances
FAINTEST_SNR = 60.0  # [dB]
NOISY_SHARE = 0.5  # of the rows
_APART = 3  # steps between utterances: a word boundary, and a blank on each side of it


@dataclass(frozen=True)
class _Row:
    """Which utterances a row has, at which step each begins, and steps of silence after the last."""

    members: tuple[int, ...]
    starts: tuple[int, ...]
    after: int


class Surround:
    """Change the batches of a recipe's share, each in a way that depends on seed, epoch and ids alone."""

    def __init__(self, data: DataConfig, seed: int, student_shift: float, vocabulary: Vocabulary) -> None:
        """Prepare for a student of a frame shift [s] whose labels are of the vocabulary."""
        self.data, self.config, self.seed = data, data.surround, seed
        self.student_shift, self.vocabulary = student_shift, vocabulary

    def __call__(self, batch: Batch, source: PosteriorSource | None) -> tuple[Batch, Posteriors | None]:
        """Return a batch as the student is given it, and its posteriors at the teacher's own frame shift."""
        posteriors = None if source is None else source(batch)
        rng = np.random.default_rng(hashed_number(f"surround/{self.seed}/{batch.epoch}/{batch.ids}"))
        if rng.random() >= self.config.share or not batch.ids:
            return batch, posteriors
        # One step is a whole number of frames of both models.
        shift = self.student_shift if posteriors is None else max(self.student_shift, posteriors.frame_shift)
        step = round(shift * SAMPLE_RATE)
        frames = None if posteriors is None else posteriors.lengths.tolist()
        per_step = 1 if posteriors is None else round(shift / posteriors.frame_shift)
        rows = self._rows(batch.lengths.tolist(), step, frames, per_step, rng)
        waveforms, samples = self._waveforms(batch, rows, step, rng)
        labels, label_lengths = self._labels(batch, rows)
        made = replace(
            batch,
            ids=tuple("+".join(batch.ids[member] for member in row.members) for row in rows),
            speeds=tuple(batch.speeds[row.members[0]] for row in rows),
            waveforms=waveforms,
            lengths=samples,
            labels=labels,
            label_lengths=label_lengths,
        )
        if posteriors is None or source is None:
            return made, None
        return made, _posteriors(posteriors, rows, per_step, source.vocabulary)

    def _rows(
        self,
        lengths: Sequence[int],
        step: int,
        frames: Sequence[int] | None,
        per_step: int,
        rng: np.random.Generator,
    ) -> list[_Row]:
        """Draw rows that together, padding included, are no longer than a batch may be; one at least."""
        most = min(self.config.join, int(self.data.max_seconds * SAMPLE_RATE / max(1, *lengths)))
        size = int(rng.integers(1, max(1, most) + 1))
        order = [int(index) for index in rng.permutation(len(lengths))]
        widest = self.config.silence * SAMPLE_RATE / step
        rows: list[_Row] = []
        longest = 0
        for first in range(0, len(order), size):
            members = tuple(order[first : first + size])
            before, *between, after = (int(rng.uniform(0, widest)) for _ in range(len(members) + 1))
            starts = [before]
            for member, gap in zip(members[:-1], between, strict=True):
                taken = lengths[member] / step
                if frames is not None:
                    taken = max(taken, frames[member] / per_step)
                starts.append(starts[-1] + ceil(taken) + max(_APART, gap))
            row = _Row(members, tuple(starts), after)
            longest = max(longest, _samples(row, lengths, step))
            if rows and (len(rows) + 1) * longest > self.data.batch_seconds * SAMPLE_RATE:
                break
            rows.append(row)
        return rows

    def _waveforms(
        self, batch: Batch, rows: Sequence[_Row], step: int, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        given, lengths = batch.waveforms.numpy(), batch.lengths.tolist()
        sizes = [_samples(row, lengths, step) for row in rows]
        waveforms = np.zeros((len(rows), max(sizes)), np.float32)
        for row, size, made in zip(rows, sizes, waveforms, strict=True):
            for member, start in zip(row.members, row.starts, strict=True):
                utterance = given[member, : lengths[member]]
                made[start * step :][: lengths[member]] = utterance * self._gain(utterance, rng)
            if rng.random() < NOISY_SHARE:
                made[:size] += self._noise(made[:size], sum(lengths[member] for member in row.members), rng)
        return torch.from_numpy(waveforms), torch.tensor(sizes, dtype=torch.int64)

    def _gain(self, utterance: FloatArray, rng: np.random.Generator) -> float:
        peak = float(np.abs(utterance).max(initial=0))
        gain = 10 ** (rng.uniform(-self.config.gain_db, self.config.gain_db) / 20)
        return float(min(gain, max(1.0, 1 / peak))) if peak else 1.0

    def _noise(self, row: FloatArray, spoken: int, rng: np.random.Generator) -> FloatArray:
        """Return noise [S] under a row of which so many samples are not silence."""
        power = float(np.square(row, dtype=np.float64).sum()) / max(1, spoken)
        snr = rng.uniform(self.config.snr_db, max(self.config.snr_db, FAINTEST_SNR))
        return (coloured(len(row), rng) * (power**0.5 * 10 ** (-snr / 20))).astype(np.float32)

    def _labels(self, batch: Batch, rows: Sequence[_Row]) -> tuple[Tensor | None, Tensor | None]:
        if batch.labels is None or batch.label_lengths is None:
            return None, None
        given = [
            ids[:length]
            for ids, length in zip(batch.labels.tolist(), batch.label_lengths.tolist(), strict=True)
        ]
        joined = []
        for row in rows:
            ids: list[int] = given[row.members[0]]
            for member in row.members[1:]:
                boundary = boundary_between(self.vocabulary, ids, given[member])
                ids = [*ids, *([] if boundary is None else [boundary]), *given[member]]
            joined.append(torch.tensor(ids, dtype=torch.int64))
        lengths = torch.tensor([len(ids) for ids in joined], dtype=torch.int64)
        return pad_sequence(joined, batch_first=True), lengths


def boundary_between(vocabulary: Vocabulary, before: Sequence[int], after: Sequence[int]) -> int | None:
    """Return the id that keeps the last word of some labels from the first of others, where one is needed."""
    boundary = vocabulary.word_boundary
    apart = f"{vocabulary.text(before)} {vocabulary.text(after)}".strip()
    if boundary not in vocabulary.tokens or vocabulary.text([*before, *after]) == apart:
        return None
    id_ = vocabulary.tokens.index(boundary)
    return id_ if vocabulary.text([*before, id_, *after]) == apart else None


def _samples(row: _Row, lengths: Sequence[int], step: int) -> int:
    return (row.starts[-1] + row.after) * step + lengths[row.members[-1]]


def _posteriors(given: Posteriors, rows: Sequence[_Row], per_step: int, vocabulary: Vocabulary) -> Posteriors:
    """Return posteriors of the rows: those of the members where these are, elsewhere the blank."""
    labels, lengths = best_paths(given, vocabulary).labels, given.lengths.tolist()
    sizes = [(row.starts[-1] + row.after) * per_step + lengths[row.members[-1]] for row in rows]
    size = len(vocabulary)
    sure, unsure = log(CERTAINTY), log((1 - CERTAINTY) / max(1, size - 1))
    made = given.log_probs.new_full((len(rows), max(sizes), size), unsure)
    made[:, :, vocabulary.blank] = sure
    for row, target in zip(rows, made, strict=True):
        end, before = 0, list[int]()
        for member, start in zip(row.members, row.starts, strict=True):
            first = start * per_step
            boundary = boundary_between(vocabulary, before, labels[member])
            if boundary is not None:
                middle = (end + first) // 2
                target[middle] = unsure
                target[middle, boundary] = sure
            end, before = first + lengths[member], labels[member]
            target[first:end] = given.log_probs[member, : lengths[member]]
    return Posteriors(made, given.lengths.new_tensor(sizes), given.frame_shift)
