"""Bootstrap over seeds and utterances together: what a difference between two training methods is worth.

K seeds, N utterances, R resamples.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kdcompress.errors import BenchError

RESAMPLES = 4_000
LEVEL = 0.95

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Interval:
    """An estimate of an error rate, or of the difference between two.

    Attributes:
        value: over all utterances, mean over seeds.
        low, high: percentile interval at 95 %.
        p: two-sided, of a difference: twice the share of resamples on the other side of zero, at least 1/R;
            None for a rate.
    """

    value: float
    low: float
    high: float
    p: float | None = None


def rate(errors_KN: Counts, reference_N: Counts, *, seed: int = 0) -> Interval:
    """Return the error rate of a method trained with K seeds.

    Seeds and utterances are both drawn anew: the interval says how far another training and another test set
    of this kind may lie. With fewer than three seeds it is too narrow.

    Raises:
        BenchError: the shapes do not fit, or there is no reference unit.
    """
    _check(errors_KN, reference_N)
    drawn = _resampled(errors_KN[None], reference_N, seed)[0]
    low, high = _percentiles(drawn)
    return Interval(float(errors_KN.mean(axis=0).sum() / reference_N.sum()), low, high)


def difference(errors_KN: Counts, baseline_KN: Counts, reference_N: Counts, *, seed: int = 0) -> Interval:
    """Return the rate of a method minus that of a baseline, paired: same utterances, same seeds.

    Source: Bisani and Ney (2004), with seeds as a second level of resampling.

    Raises:
        BenchError: the shapes do not fit, or there is no reference unit.
    """
    _check(errors_KN, reference_N)
    _check(baseline_KN, reference_N)
    if len(errors_KN) != len(baseline_KN):
        raise BenchError(
            f"{len(errors_KN)} seeds against {len(baseline_KN)}; a paired difference needs the same"
        )
    first, second = _resampled(np.stack([errors_KN, baseline_KN]), reference_N, seed)
    drawn = first - second
    low, high = _percentiles(drawn)
    beyond = min(float((drawn <= 0).mean()), float((drawn >= 0).mean()))
    value = (errors_KN.mean(axis=0) - baseline_KN.mean(axis=0)).sum() / reference_N.sum()
    return Interval(float(value), low, high, min(1.0, max(2 * beyond, 1 / RESAMPLES)))


def _check(errors_KN: Counts, reference_N: Counts) -> None:
    if errors_KN.ndim != 2 or reference_N.shape != errors_KN.shape[1:]:
        raise BenchError(f"errors {errors_KN.shape} are not [seeds, {reference_N.shape[0]} utterances]")
    if reference_N.sum() == 0:
        raise BenchError("the references hold no word: there is no error rate")


def _resampled(errors_MKN: Counts, reference_N: Counts, seed: int) -> npt.NDArray[np.float64]:
    """Return rates [methods, R]; all methods share the draws."""
    rng = np.random.default_rng(seed)
    _, seeds, utterances = errors_MKN.shape
    # How often each seed and each utterance is drawn: products of counts are far cheaper than gathering.
    of_seeds = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=RESAMPLES)
    of_utterances = rng.multinomial(utterances, np.full(utterances, 1 / utterances), size=RESAMPLES)
    by_seed = np.einsum("mkn,rn->mrk", errors_MKN.astype(np.float64), of_utterances.astype(np.float64))
    totals = (by_seed * of_seeds).sum(axis=2) / seeds
    units: npt.NDArray[np.float64] = (of_utterances @ reference_N).astype(np.float64)
    rates: npt.NDArray[np.float64] = totals[:, units > 0] / units[units > 0]
    return rates


def _percentiles(drawn: npt.NDArray[np.float64]) -> tuple[float, float]:
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return float(low), float(high)
