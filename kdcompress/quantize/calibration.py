"""What goes through a graph's linear layers on some audio: ranges for static int8, and channel maxima.

House letters: K channels of an activation.
"""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

from kdcompress.aliases import DoubleArray
from kdcompress.config.deploy import Calibration
from kdcompress.errors import ExportError
from kdcompress.runtime.compare import Feed
from kdcompress.runtime.session import GraphSession

_BINS = 2048
_LEVELS = 256  # of a byte
_PERCENTILE = 99.99
_SHRINKS = np.linspace(1.0, 1 / 16, 61)


@dataclass(frozen=True)
class Activation:
    """The values of one activation over all audio.

    Attributes:
        low, high: the extremes, widened to hold zero.
        channels: largest magnitude in each channel, [K].
        histogram: counts in equal bins from `low` to `high`; empty unless asked for.
    """

    low: float
    high: float
    channels: DoubleArray
    histogram: DoubleArray

    def range(self, method: Calibration) -> tuple[float, float]:
        """Return the lowest and highest value that a byte should stand for; what is beyond is clipped.

        `minmax` clips nothing; `percentile` leaves out one value in ten thousand; `entropy` shrinks both ends
        alike until the distribution and its rounded self differ least in KL divergence, after Migacz, 8-bit
        inference with TensorRT (GTC 2017).
        """
        if method == "minmax" or not self.high > self.low:
            return self.low, self.high
        edges = np.linspace(self.low, self.high, _BINS + 1)
        if method == "percentile":
            share = np.cumsum(self.histogram) / self.histogram.sum()
            tail = (1 - _PERCENTILE / 100) / 2
            first = int(np.searchsorted(share, tail, side="right"))
            last = min(int(np.searchsorted(share, 1 - tail)), _BINS - 1)
            return min(float(edges[first]), 0.0), max(float(edges[last + 1]), 0.0)
        costs = [self._clipping_cost(shrink) for shrink in _SHRINKS]
        best = float(_SHRINKS[int(np.argmin(costs))])
        return best * self.low, best * self.high

    def _clipping_cost(self, shrink: float) -> float:
        centres = self.low + (np.arange(_BINS) + 0.5) * (self.high - self.low) / _BINS
        inside = (centres >= shrink * self.low) & (centres <= shrink * self.high)
        kept = self.histogram[inside]
        if not kept.sum():
            return float("inf")
        clipped = kept.copy()
        clipped[0] += self.histogram[: int(inside.argmax())].sum()
        clipped[-1] += self.histogram[len(inside) - int(inside[::-1].argmax()) :].sum()
        # Each level is as high as the mean of the bins it stands for that are not empty.
        level = np.arange(len(kept)) * _LEVELS // len(kept)
        filled = kept > 0
        mass, count = np.bincount(level, kept), np.bincount(level, filled)
        rounded = np.where(filled, (mass / np.maximum(count, 1))[level], 0.0)
        p, q = clipped / clipped.sum(), rounded / rounded.sum()
        both = (p > 0) & (q > 0)
        # What was clipped into a bin that rounding leaves empty counts as if it were very rare there.
        lost = p[(p > 0) & (q <= 0)]
        return float((p[both] * np.log(p[both] / q[both])).sum() + (lost * np.log(lost / 1e-9)).sum())


def observe(
    model: onnx.ModelProto, names: Sequence[str], feeds: Sequence[Feed], *, histograms: bool = False
) -> dict[str, Activation]:
    """Run a graph on audio and look at some activations, one utterance at a time.

    Args:
        model: any graph; not changed.
        names: of activations [..., K].
        feeds: the audio.
        histograms: run a second time to count values, which `percentile` and `entropy` need.
    """
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    for name in names:
        watched.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    found: dict[str, Activation] = {}
    with opened(watched) as session:
        for name, values in activations(session, names, feeds):
            if not np.isfinite(values).all():
                raise ExportError(f"the activation {name} holds NaN or infinity: nothing to calibrate on")
            channels = np.abs(values.reshape(-1, values.shape[-1])).max(axis=0).astype(np.float64)
            old = found.get(name, Activation(0.0, 0.0, channels, np.zeros(0)))
            found[name] = Activation(
                min(old.low, float(values.min())),
                max(old.high, float(values.max())),
                np.maximum(old.channels, channels),
                np.zeros(_BINS),
            )
        if histograms:
            for name, values in activations(session, names, feeds):
                known = found[name]
                high = known.high if known.high > known.low else known.low + 1.0
                known.histogram[:] += np.histogram(values, bins=_BINS, range=(known.low, high))[0]
    return found


@contextmanager
def opened(model: onnx.ModelProto, threads: int | None = None) -> Iterator[GraphSession]:
    """Load a graph that is no file."""
    with tempfile.TemporaryDirectory(prefix="kdcompress-") as folder:
        path = Path(folder) / "model.onnx"
        onnx.save(model, str(path))
        yield GraphSession(path, threads=threads)


def activations(
    session: GraphSession, names: Sequence[str], feeds: Sequence[Feed]
) -> Iterator[tuple[str, npt.NDArray[np.float32]]]:
    """Run a graph on one utterance after another; yields the named activations of each."""
    for feed in feeds:
        yield from (
            (name, values)
            for name, values in zip(names, session.session.run(list(names), dict(feed)), strict=True)
            if values.size
        )
