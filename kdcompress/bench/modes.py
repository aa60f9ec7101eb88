"""Does a model have two speeds? A mean of two speeds is the speed of neither.

Calls are compared as logarithms of seconds: a mode that takes half as long again is then as far off for a
short utterance as for a long one. Two questions are asked, each of a sample whose members are independent or
nearly so: whether the same utterance takes two times (each repeat against the fastest of the others), and
whether utterances are of two kinds (the median of each against what its duration explains).

N values, U utterances.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]

# 0.995 quantile of √N · dip where the values are uniform, which of all distributions with one mode is the
# likeliest to look like two (Hartigan & Hartigan 1985): simulated, 5,000 samples of each size. Two questions
# at this level raise a false alarm for at most one model in a hundred.
_SIZES = (20, 50, 100, 200, 500, 1000, 2000)
_QUANTILES = (0.568, 0.600, 0.615, 0.635, 0.640, 0.655, 0.665)
_FEWEST = _SIZES[0]
_MOST = _SIZES[-1]  # more calls are thinned out: the test needs no more, and sorting hulls takes time
# What matters in practice: modes this far apart, the rarer of them this frequent.
_RATIO = 1.1
_SHARE = 0.05


def find_modes(durations: Mapping[str, float], seconds: Mapping[str, Sequence[float]]) -> str | None:
    """Say in a sentence what the two speeds are, or None where there is no sign of two.

    Args:
        durations: of the audio, by utterance [s].
        seconds: time of each repeat, by utterance [s].
    """
    kept = {name: np.log(np.maximum(times, 1e-9)) for name, times in seconds.items() if len(times)}
    repeats = min((len(times) for times in kept.values()), default=0)
    if repeats >= 3:
        logs_UR = np.stack([times[:repeats] for times in kept.values()])
        if split := _two_kinds(_against_others(logs_UR)):
            return _sentence("calls", split, "the same audio")
    medians_U = np.array([np.median(times) for times in kept.values()])
    lengths_U = np.array([durations[name] for name in kept])
    if len(medians_U) >= _FEWEST and (split := _two_kinds(_unexplained(lengths_U, medians_U))):
        return _sentence("utterances", split, "audio of the same length")
    return None


def dip(values: Values) -> float:
    """Return how far the empirical distribution of N values is from the nearest one with a single mode.

    Between 1 / 2N and 1 / 4; the largest difference of the two distribution functions.

    Source: J. A. Hartigan and P. M. Hartigan, The dip test of unimodality, Annals of Statistics 13 (1985).
    """
    count = len(values)
    x = np.sort(values)
    # Ties are drawn apart, evenly: many equal values are a mode, and no more than one.
    x = x + np.arange(count) * 1e-9 * max(float(x[-1] - x[0]), 1e-9)
    before, after = np.arange(count) / count, np.arange(1, count + 1) / count
    first, last, found = 0, count - 1, 1 / count
    while True:
        span = slice(first, last + 1)
        convex, low_touches = _convex_minorant(x[span], before[span])
        negated, high_touches = _convex_minorant(-x[span][::-1], 1 - after[span][::-1])
        concave, high_touches = 1 - negated[::-1], (last - first - high_touches)[::-1]
        # The modal interval is where the two hulls are the farthest apart.
        gap = concave - convex
        low, high = low_touches[gap[low_touches].argmax()], high_touches[gap[high_touches].argmax()]
        if gap[low] > gap[high]:
            widest, high = gap[low], high_touches[np.searchsorted(high_touches, low)]
        else:
            widest, low = gap[high], low_touches[np.searchsorted(low_touches, high, "right") - 1]
        if widest <= found + 1e-12:
            return float(found / 2)
        found = max(
            found,
            float((after[span] - convex)[: low + 1].max()),
            float((concave - before[span])[high:].max()),
        )
        first, last = first + int(low), first + int(high)


def _convex_minorant(x: Values, y: Values) -> tuple[Values, npt.NDArray[np.intp]]:
    """Return the greatest convex function below the points, at their x, and the indices where it touches."""
    hull: list[int] = []
    for i in range(len(x)):
        while len(hull) > 1:
            a, b = hull[-2], hull[-1]
            if (y[b] - y[a]) * (x[i] - x[a]) < (y[i] - y[a]) * (x[b] - x[a]):
                break
            hull.pop()  # on or above the line between its neighbours
        hull.append(i)
    touches = np.array(hull)
    return np.interp(x, x[touches], y[touches]), touches


def _against_others(logs_UR: Values) -> Values:
    """Return each repeat relative to the fastest of the other repeats of its utterance.

    Where there are two speeds, that is nearly always of the faster one, and two modes stay two.
    """
    fastest_UR = [np.delete(logs_UR, r, axis=1).min(axis=1) for r in range(logs_UR.shape[1])]
    relative: Values = (logs_UR - np.stack(fastest_UR, axis=1)).ravel()
    return relative


def _unexplained(lengths_U: Values, logs_U: Values) -> Values:
    """Return what is left of log times when a power of the duration, with some curvature, is taken out."""
    x = np.log(np.maximum(lengths_U, 1e-3))
    x = (x - x.mean()) / max(float(x.std()), 1e-9)
    terms = np.stack([np.ones_like(x), x, x**2], axis=1)
    weights, *_ = np.linalg.lstsq(terms, logs_U, rcond=None)
    rest: Values = logs_U - terms @ weights
    return rest


@dataclass(frozen=True)
class _Split:
    """Two groups of times: `share` of all take `ratio` times as long as the others."""

    share: float
    ratio: float


def _two_kinds(logs: Values) -> _Split | None:
    """Return the two groups where there are two that matter."""
    if len(logs) < _FEWEST:
        return None
    if len(logs) > _MOST:
        logs = np.sort(logs)[np.linspace(0, len(logs) - 1, _MOST).round().astype(int)]
    limit = np.interp(np.log(len(logs)), np.log(_SIZES), _QUANTILES)
    if dip(logs) * np.sqrt(len(logs)) <= limit:
        return None
    x = np.sort(logs)
    at = np.arange(1, len(x))
    sums = np.cumsum(x)
    low, high = sums[:-1] / at, (sums[-1] - sums[:-1]) / (len(x) - at)
    cut = int((at * (len(x) - at) * (high - low) ** 2).argmax()) + 1  # least variance within the two groups
    split = _Split(1 - cut / len(x), float(np.exp(np.median(x[cut:]) - np.median(x[:cut]))))
    return split if split.ratio >= _RATIO and min(split.share, 1 - split.share) >= _SHARE else None


def _sentence(what: str, split: _Split, than: str) -> str:
    return f"{split.share:.0%} of the {what} take {split.ratio:.2f} times as long as the others for {than}"
