"""What a candidate's figures are worth against those of the reference candidate, pair by pair.

K repeats, N utterances.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from kdcompress.report.accuracy import Errors
from kdcompress.report.bootstrap import Interval, difference, ratio
from kdcompress.report.scored import Difference, Quantity

Walls: TypeAlias = Mapping[str, Sequence[float]]
"""Seconds of each utterance in each repeat, by id, in the order in which they were decoded."""


def error_difference(
    names: tuple[str, str], measure: Literal["wer", "cer"], ours: Errors, theirs: Errors, seed: int
) -> Difference | None:
    """Return the difference of two error rates on the same references; None where these are all empty."""
    if not ours.reference.sum():
        return None
    return _named(names, measure, paired_errors(ours, theirs, seed=seed))


def paired_errors(ours: Errors, theirs: Errors, *, seed: int = 0) -> Interval:
    """Return the rate of one list of hypotheses minus that of another, for the same references.

    Raises:
        BenchError: the numbers of utterances differ, or the references are all empty.
    """
    return difference(ours.total[None], theirs.total[None], ours.reference, seed=seed)


def time_difference(names: tuple[str, str], ours: Walls, theirs: Walls, block: int, seed: int) -> Difference:
    """Return the ratio of two real-time factors.

    Args:
        names: candidate and baseline.
        ours, theirs: of the same utterances in the same order.
        block: utterances that were decoded in a row before another candidate's turn: these shared what
            slowed the machine, and are drawn together.
        seed: of the bootstrap.
    """
    return _named(names, "rtf", ratio(_blocks(ours, block), _blocks(theirs, block), seed=seed))


def median_seconds(walls: Walls) -> dict[str, float]:
    """Return the time of each utterance, its median over repeats [s]."""
    return {id_: float(np.median(seconds)) for id_, seconds in walls.items()}


def _blocks(walls: Walls, block: int) -> npt.NDArray[np.float64]:
    """Return the time of each block, float64 [K, blocks]."""
    per_call_KN = np.array(list(walls.values()), np.float64).T
    sums: npt.NDArray[np.float64] = np.add.reduceat(
        per_call_KN, range(0, per_call_KN.shape[1], block), axis=1
    )
    return sums


def _named(names: tuple[str, str], measure: Quantity, found: Interval) -> Difference:
    candidate, baseline = names
    return Difference(
        candidate=candidate,
        baseline=baseline,
        measure=measure,
        value=found.value,
        low=found.low,
        high=found.high,
        p=1.0 if found.p is None else found.p,
    )
