"""What is measured of one candidate, and on what: the parts of a report that a benchmark fills in."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from typing_extensions import Self


@dataclass(frozen=True)
class Facts:
    """How a candidate really runs, known once it is loaded.

    Attributes:
        runtime: program and version.
        provider: what the model runs on: `cpu`, `cuda`.
        threads: given to the model.
        nodes: how many operators each execution provider ran, where the runtime can tell.
        features_in_model: the model's time contains the features.
        notes: what a reader of the figures must know.
        runtime_name: `kdcompress`, `sherpa-onnx`, `onnx-asr` or `torch`.
        options: of the runtime's session, as they really are.
        precision: `fp32`, `int8-dynamic`, …
        fallback: nodes that compute the model and ran elsewhere than on the provider asked for, by kind.
    """

    runtime: str
    provider: str
    threads: int
    nodes: Mapping[str, int] = field(default_factory=dict)
    features_in_model: bool = False
    notes: tuple[str, ...] = ()
    runtime_name: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    precision: str = ""
    fallback: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Machine:
    """Facts about computer and software.

    Attributes:
        cpu: model name.
        cores: logical cores of the machine.
        usable_cores: those that this process may use.
        memory_gb: main memory [GB], None where unknown.
        flags: the CPU's instruction sets that matter here; empty where unknown.
        int8_instructions: whether dot products of bytes run in hardware (VNNI, AMX, dotprod); None where
            unknown. Without them int8 gains little.
        governor: the frequency governor, None where unknown.
        gpu: name and driver, one per device; asked for only when a GPU takes part.
        load_average: processes that wanted a core over the last minute, before anything was timed.
        versions: of Python, kdcompress and the packages that are installed.
        environment: variables that set thread numbers, where set.
        physical_cores: without those that hyper-threading adds; None where unknown.
        max_mhz: highest clock [MHz], None where unknown.
        virtual: whether it is a virtual machine: neighbours take part in every time. None where unknown.
        quota: cores' worth of CPU time that a container may use; None where there is no limit, or unknown.
    """

    cpu: str
    cores: int
    usable_cores: int
    memory_gb: float | None
    flags: tuple[str, ...]
    int8_instructions: bool | None
    system: str
    governor: str | None
    gpu: tuple[str, ...]
    load_average: float | None
    versions: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    physical_cores: int | None = None
    max_mhz: float | None = None
    virtual: bool | None = None
    quota: float | None = None


@dataclass(frozen=True)
class Memory:
    """What one candidate took in a process of its own, hearing one utterance after the other.

    Attributes:
        peak_rss_bytes: most main memory that the process held: interpreter, libraries, model and work space.
        model_rss_bytes: by how much it grew from the imported libraries to the first transcript.
        gpu_bytes: of the GPU's memory; None without one, or where the driver does not tell processes apart.

    None where the system does not say.
    """

    peak_rss_bytes: int | None
    model_rss_bytes: int | None
    gpu_bytes: int | None = None


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
