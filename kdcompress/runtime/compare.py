"""How far one graph's answers are from another's, without a transcript.

House letters: T' output frames, V vocabulary.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from kdcompress.aliases import FloatArray
from kdcompress.errors import ExportError, NumericsError
from kdcompress.runtime.session import GraphSession
from kdcompress.text.decode import collapse
from kdcompress.text.vocabulary import Vocabulary

Feed: TypeAlias = Mapping[str, npt.NDArray[Any]]
"""The inputs of a graph for one utterance, by name: a batch of one, without padding."""


@dataclass(frozen=True)
class Difference:
    """A candidate's log-probabilities against a reference's, over all frames of some utterances.

    Attributes:
        utterances: how many.
        frames: output frames.
        max_abs: largest difference of two log-probabilities [nats].
        kl: mean over frames of KL(reference ‖ candidate) [nats].
        agreement: share of frames with the same best token.
        same_labels: share of utterances whose greedy labels are equal.
        blank_rate: share of the candidate's frames whose best token is the blank.
        reference_blank_rate: the same of the reference.
    """

    utterances: int
    frames: int
    max_abs: float
    kl: float
    agreement: float
    same_labels: float
    blank_rate: float
    reference_blank_rate: float

    def to_json(self) -> dict[str, Any]:
        """Return plain data for bundle.json."""
        return {name: float(f"{value:.6g}") for name, value in asdict(self).items()}


@dataclass(frozen=True)
class TextDifference:
    """A candidate's greedy transcripts against a reference model's: word errors as if it were always right.

    Attributes:
        words: of the reference model.
    """

    words: int
    substitutions: int
    deletions: int
    insertions: int

    @property
    def errors(self) -> int:
        """Edits that turn one into the other."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def disagreement(self) -> float:
        """Word error rate against the reference model.

        No word error rate against the truth can differ by more, relative to the same number of words: the
        edit distance obeys the triangle inequality.
        """
        return self.errors / max(self.words, 1)

    def to_json(self) -> dict[str, Any]:
        """Return plain data for bundle.json."""
        return {"disagreement": float(f"{self.disagreement:.6g}"), **asdict(self)}


def posteriors(session: GraphSession, feeds: Sequence[Feed]) -> list[FloatArray]:
    """Run a graph on one utterance after another; returns log-probabilities [T', V], or what it calls so.

    The first output is taken, and normalised where it holds logits.
    """
    return [_log_softmax(session.session.run(None, dict(feed))[0][0]) for feed in feeds]


def difference(reference: Sequence[FloatArray], candidate: Sequence[FloatArray], blank: int) -> Difference:
    """Compare log-probabilities [T', V] of the same utterances.

    Raises:
        NumericsError: one of them holds NaN or infinity.
        ExportError: two of them have another shape.
    """
    for expected, found in zip(reference, candidate, strict=True):
        if expected.shape != found.shape:
            raise ExportError(f"the graph gave log-probabilities {found.shape}, expected {expected.shape}")
        for whose, values in (("the original", expected), ("the graph", found)):
            if not np.isfinite(values).all():
                raise NumericsError(f"{whose} gives NaN or infinity within {len(values)} frames: not usable")
    old, new = np.concatenate(reference), np.concatenate(candidate)
    best_old, best_new = old.argmax(axis=1), new.argmax(axis=1)
    same = [
        collapse(x.argmax(axis=1).tolist(), blank) == collapse(y.argmax(axis=1).tolist(), blank)
        for x, y in zip(reference, candidate, strict=True)
    ]
    return Difference(
        utterances=len(reference),
        frames=len(old),
        max_abs=float(np.abs(old - new).max()),
        # Never negative but for rounding.
        kl=max(0.0, float((np.exp(old) * (old - new)).sum(axis=1, dtype=np.float64).mean())),
        agreement=float((best_old == best_new).mean()),
        same_labels=float(np.mean(same)),
        blank_rate=float((best_new == blank).mean()),
        reference_blank_rate=float((best_old == blank).mean()),
    )


def text_difference(
    reference: Sequence[FloatArray], candidate: Sequence[FloatArray], vocabulary: Vocabulary
) -> TextDifference:
    """Compare the greedy transcripts of log-probabilities [T', V] of the same utterances."""
    import jiwer

    found, expected = (
        [vocabulary.text(collapse(row.argmax(axis=1).tolist(), vocabulary.blank)) for row in rows]
        for rows in (candidate, reference)
    )
    counted = jiwer.process_words(expected, found)
    return TextDifference(
        sum(map(len, counted.references)), counted.substitutions, counted.deletions, counted.insertions
    )


def _log_softmax(scores: FloatArray) -> FloatArray:
    shifted = scores - scores.max(axis=-1, keepdims=True)
    array: FloatArray = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return array
