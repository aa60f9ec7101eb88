"""Bootstrap over two levels together: what a difference between two models, or between two clocks, is worth.

K seeds or repeats, N utterances or blocks of them, R resamples.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kdcompress.errors import BenchError

RESAMPLES = 4_000
LEVEL = 0.95
_BLOCK_VALUES = 4_000_000  # bounds the memory of one block of resamples

Counts = npt.NDArray[np.int64]
Seconds = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """An estimate of an error rate, of the difference between two, or of a ratio of times.

    Attributes:
        value: over all utterances, mean over seeds; of a ratio, median over repeats.
        low, high: percentile interval at 95 %.
        p: two-sided, of a difference or ratio: twice the share of resamples on the other side of zero or one,
            at least 1/R; None for a rate.
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
    value = (errors_KN.mean(axis=0) - baseline_KN.mean(axis=0)).sum() / reference_N.sum()
    return Interval(float(value), low, high, _two_sided(drawn))


def ratio(seconds_KN: Seconds, baseline_KN: Seconds, *, seed: int = 0) -> Interval:
    """Return how many times as long as a baseline something took, paired: same repeats, same blocks.

    The estimate is the median over repeats of the ratio of sums over blocks: a spell of the machine that only
    one of the two met spoils one repeat and no more. Repeats and blocks are both drawn anew, which covers
    at least at the stated rate, and more where neither level has an effect of its own. With fewer than five
    repeats the interval is too narrow. Source: Owen, The pigeonhole bootstrap (2007).

    Raises:
        BenchError: the shapes differ, or a time is not above zero.
    """
    if seconds_KN.ndim != 2 or seconds_KN.shape != baseline_KN.shape or not seconds_KN.size:
        raise BenchError(f"times {seconds_KN.shape} and {baseline_KN.shape} are not both [repeats, blocks]")
    if not (np.minimum(seconds_KN, baseline_KN) > 0).all():
        raise BenchError("a time of zero or less is no measurement: the clock did not move")
    rng = np.random.default_rng(seed)
    repeats, blocks = seconds_KN.shape
    of_repeats = rng.integers(0, repeats, (RESAMPLES, repeats))
    ratios_RK = np.concatenate(
        [(of_blocks @ seconds_KN.T) / (of_blocks @ baseline_KN.T) for of_blocks in _draws(rng, blocks)]
    )
    drawn = np.median(np.take_along_axis(ratios_RK, of_repeats, axis=1), axis=1)
    low, high = _percentiles(drawn)
    value = float(np.median(seconds_KN.sum(axis=1) / baseline_KN.sum(axis=1)))
    return Interval(value, low, high, _two_sided(drawn - 1))


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
    by_seed, units = [], []
    for of_utterances in _draws(rng, utterances):
        by_seed.append(np.einsum("mkn,rn->mrk", errors_MKN.astype(np.float64), of_utterances))
        units.append(of_utterances @ reference_N)
    totals = (np.concatenate(by_seed, axis=1) * of_seeds).sum(axis=2) / seeds
    drawn = np.concatenate(units)
    rates: npt.NDArray[np.float64] = totals[:, drawn > 0] / drawn[drawn > 0]
    return rates


def _draws(rng: np.random.Generator, count: int) -> Iterator[npt.NDArray[np.float64]]:
    """Yield how often each of `count` things is drawn, float64 [some of R, count], R rows in all."""
    at_once = max(1, _BLOCK_VALUES // count)
    for start in range(0, RESAMPLES, at_once):
        rows = min(at_once, RESAMPLES - start)
        yield rng.multinomial(count, np.full(count, 1 / count), size=rows).astype(np.float64)


def _two_sided(drawn: npt.NDArray[np.float64]) -> float:
    """Return the p-value against zero."""
    beyond = min(float((drawn <= 0).mean()), float((drawn >= 0).mean()))
    return min(1.0, max(2 * beyond, 1 / RESAMPLES))


def _percentiles(drawn: npt.NDArray[np.float64]) -> tuple[float, float]:
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return float(low), float(high)
