"""Word and character error rates over a whole corpus, with their uncertainty.

N utterances, R bootstrap resamples.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jiwer
import numpy as np
import numpy.typing as npt

from kdcompress.errors import BenchError
from kdcompress.report.scored import Accuracy, ErrorRate

_RESAMPLES = 2_000
_BLOCK_VALUES = 4_000_000  # bounds the memory of one block of resamples
_LEVEL = 0.95


@dataclass(frozen=True)
class Errors:
    """Errors of each utterance.

    Attributes:
        kinds: substitutions, insertions, deletions, int64 [N, 3].
        reference: words or characters of each reference, int64 [N].
    """

    kinds: npt.NDArray[np.int64]
    reference: npt.NDArray[np.int64]

    @property
    def total(self) -> npt.NDArray[np.int64]:
        """Edits of each utterance, int64 [N]."""
        total: npt.NDArray[np.int64] = self.kinds.sum(axis=1)
        return total

    def rate(self, seed: int = 0) -> ErrorRate:
        """Return the rate over all utterances with its interval."""
        substitutions, insertions, deletions = (int(total) for total in self.kinds.sum(axis=0))
        units = int(self.reference.sum())
        low, high = bootstrap_interval(self.total, self.reference, seed=seed) if units else (None, None)
        return ErrorRate(
            rate=(substitutions + insertions + deletions) / units if units else None,
            low=low,
            high=high,
            substitutions=substitutions,
            insertions=insertions,
            deletions=deletions,
            reference=units,
        )


def score(references: Sequence[str], hypotheses: Sequence[str], *, seed: int = 0) -> Accuracy:
    """Count the errors of normalised hypotheses against normalised references, in the same order.

    Raises:
        BenchError: the numbers of references and hypotheses differ, or there are none.
    """
    words, characters = word_errors(references, hypotheses), character_errors(references, hypotheses)
    return Accuracy(wer=words.rate(seed), cer=characters.rate(seed))


def word_errors(references: Sequence[str], hypotheses: Sequence[str]) -> Errors:
    """Count the word errors of each utterance; raises as `score` does."""
    _check(references, hypotheses)
    output = jiwer.process_words(list(references), list(hypotheses))
    return _count(output)


def character_errors(references: Sequence[str], hypotheses: Sequence[str]) -> Errors:
    """Count the character errors of each utterance, spaces being characters; raises as `score` does."""
    _check(references, hypotheses)
    output = jiwer.process_characters(list(references), list(hypotheses))
    return _count(output)


def bootstrap_interval(
    errors: npt.NDArray[np.int64], reference: npt.NDArray[np.int64], *, seed: int = 0, level: float = _LEVEL
) -> tuple[float, float]:
    """Return the percentile interval of sum(errors) / sum(reference) when utterances are drawn anew.

    Args:
        errors: int64 [N], errors of each utterance.
        reference: int64 [N], its reference units; at least one is above 0.
        seed: of the resampling.
        level: probability that the interval covers.

    Source: Bisani & Ney, Bootstrap estimates for confidence intervals in ASR performance evaluation (2004).
    """
    rng = np.random.default_rng(seed)
    count = len(errors)
    rates = []
    remaining = _RESAMPLES
    while remaining:
        size = min(remaining, max(1, _BLOCK_VALUES // count))
        drawn = rng.integers(0, count, (size, count), dtype=np.int32)
        units = reference[drawn].sum(axis=1)
        rates.append((errors[drawn].sum(axis=1) / np.maximum(units, 1))[units > 0])
        remaining -= size
    tail = (1 - level) / 2
    low, high = np.quantile(np.concatenate(rates), [tail, 1 - tail])
    return float(low), float(high)


def _check(references: Sequence[str], hypotheses: Sequence[str]) -> None:
    if len(references) != len(hypotheses) or not references:
        raise BenchError(
            f"{len(hypotheses)} hypotheses for {len(references)} references; expected one for each, and some"
        )


def _count(output: Any) -> Errors:
    kinds = np.zeros((len(output.alignments), 3), np.int64)
    column = {"substitute": 0, "insert": 1, "delete": 2}
    for row, chunks in enumerate(output.alignments):
        for chunk in chunks:
            if chunk.type != "equal":
                units = max(chunk.ref_end_idx - chunk.ref_start_idx, chunk.hyp_end_idx - chunk.hyp_start_idx)
                kinds[row, column[chunk.type]] += units
    return Errors(kinds, np.array([len(units) for units in output.references], np.int64))
