"""Clocks and what is said about their readings (no model is known here)."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType

import numpy as np
from typing_extensions import Self


@dataclass(frozen=True)
class Spread:
    """A quantity that was measured several times.

    Attributes:
        median, low, high: over the repeats; low and high are the extremes.
        repeats: how many.
    """

    median: float
    low: float
    high: float
    repeats: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """Describe one value per repeat.

        Raises:
            ValueError: there are none.
        """
        if not values:
            raise ValueError("a spread needs at least one value")
        return cls(float(np.median(values)), float(min(values)), float(max(values)), len(values))


@dataclass(frozen=True)
class Latency:
    """Seconds from samples to text, over every timed call of every repeat [s]."""

    p50: float
    p90: float
    p99: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Self:
        """Describe one value per call."""
        p50, p90, p99 = (float(p) for p in np.percentile(seconds, [50, 90, 99]))
        return cls(p50, p90, p99)


@dataclass(frozen=True)
class Timing:
    """How fast a candidate was.

    RTF is time spent / time of the audio: below 1 is faster than real time.

    Attributes:
        load_seconds: opening the model; a library that is first imported on that occasion counts too [s].
        rtf: features, model and CTC decoding; the audio was decoded beforehand.
        model_rtf: the model alone; with the features where a candidate computes them inside its model.
        features_rtf: features alone, 0 where they are inside the model.
        decoding_rtf: CTC decoding alone.
        latency: of single utterances.
        cores_busy: CPU time of the whole process / wall time, in the timed calls: shows threads that the
            stated number does not cover.
        speed: how many times faster than the reference candidate, end to end; each repeat is compared
            with the reference's same repeat. None for the reference itself or where it failed.
        model_speed: the same for the model alone.
    """

    load_seconds: float
    rtf: Spread
    model_rtf: Spread
    features_rtf: Spread
    decoding_rtf: Spread
    latency: Latency
    cores_busy: float
    speed: Spread | None = None
    model_speed: Spread | None = None


class Clock:
    """Wall and CPU time of a `with` block [s]."""

    wall: float = 0.0
    cpu: float = 0.0

    def __enter__(self) -> Self:
        self._cpu = time.process_time()
        self._wall = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.wall = time.perf_counter() - self._wall
        self.cpu = time.process_time() - self._cpu


def paired_speed(reference: Sequence[float], seconds: Sequence[float]) -> Spread:
    """Compare repeat with repeat: a machine that slows down for a while slows both.

    Raises:
        ValueError: the numbers of repeats differ.
    """
    return Spread.of([ours / theirs for ours, theirs in zip(reference, seconds, strict=True)])
