"""Clocks and what is said about their readings (no model is known here)."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any

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

    def inverse(self) -> "Spread":
        """Return what is to be said of one divided by the quantity, which is above 0."""
        return Spread(1 / self.median, 1 / self.high, 1 / self.low, self.repeats)


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
class Bucket:
    """Latency of the utterances of similar length.

    Attributes:
        start, end: of the durations, the end not included [s]; None has no limit.
        utterances: how many, each timed once in every repeat.
    """

    start: float
    end: float | None
    utterances: int
    latency: Latency

    def to_json(self) -> dict[str, Any]:
        """Return plain data; the limits are called `from` and `to`."""
        p50, p90, p99 = self.latency.p50, self.latency.p90, self.latency.p99
        return {
            "from": self.start,
            "to": self.end,
            "utterances": self.utterances,
            "p50": p50,
            "p90": p90,
            "p99": p99,
        }


@dataclass(frozen=True)
class Throughput:
    """Audio heard per time, with so many threads and so many utterances at once.

    Attributes:
        threads: given to the model.
        batch: utterances of like length in one call; 1 is one after the other.
        rtfx: seconds of audio per second, padding not counted.
    """

    threads: int
    batch: int
    rtfx: Spread


@dataclass(frozen=True)
class Timing:
    """How fast a candidate was.

    RTF is time spent / time of the audio: below 1 is faster than real time.

    Attributes:
        load_seconds: opening the model; a library that is first imported on that occasion counts too [s].
            In a process of its own the runtime's library is imported beforehand.
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
        buckets: latency by the length of the audio.
        first_result_seconds: opening the model and hearing the first utterance, nothing warmed up [s].
        cpu_seconds_per_hour: CPU time of all threads for an hour of audio [s].
        throughput: for each number of threads and batch size that was asked for.
        bimodal: what the two speeds are, where the calls are of two kinds; None where they are not.
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
    buckets: tuple[Bucket, ...] = ()
    first_result_seconds: float | None = None
    cpu_seconds_per_hour: float | None = None
    throughput: tuple[Throughput, ...] = ()
    bimodal: str | None = None

    @property
    def rtfx(self) -> Spread:
        """Seconds of audio per second of processing: the inverse of the RTF."""
        return self.rtf.inverse()

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        buckets = [bucket.to_json() for bucket in self.buckets]
        return asdict(self) | {"buckets": buckets, "rtfx": asdict(self.rtfx)}


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
