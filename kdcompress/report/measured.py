"""What is measured of one candidate, and on what: the parts of a report that a benchmark fills in."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, computed_field, model_validator
from typing_extensions import Self


class Record(BaseModel):
    """Part of a report: written and read as it is; keys of later versions are left out."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False, populate_by_name=True)


class Estimate(NamedTuple):
    """A figure with its bootstrap interval, or with the extremes over the repeats."""

    value: float
    low: float | None = None
    high: float | None = None

    def scaled(self, factor: float) -> "Estimate":
        """Return it in another unit."""
        low, high = (None if bound is None else bound * factor for bound in (self.low, self.high))
        return Estimate(self.value * factor, low, high)


class Facts(Record):
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

    runtime: str = ""
    provider: str = ""
    threads: int | None = None
    nodes: Mapping[str, int] = {}
    features_in_model: bool = False
    notes: tuple[str, ...] = ()
    runtime_name: str = ""
    options: Mapping[str, str] = {}
    precision: str = ""
    fallback: Mapping[str, int] = {}


class Machine(Record):
    """Facts about computer and software.

    Attributes:
        cpu: model name.
        cores: logical cores of the machine; 0 where unknown.
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
    cores: int = 0
    usable_cores: int
    memory_gb: float | None = None
    flags: tuple[str, ...] = ()
    int8_instructions: bool | None = None
    system: str = ""
    governor: str | None = None
    gpu: tuple[str, ...] = ()
    load_average: float | None = None
    versions: Mapping[str, str] = {}
    environment: Mapping[str, str] = {}
    physical_cores: int | None = None
    max_mhz: float | None = None
    virtual: bool | None = None
    quota: float | None = None

    def is_like(self, other: "Machine") -> bool:
        """Compare what decides how fast things are; not the system's release, which every update changes."""
        ours, theirs = ((one.cpu, one.usable_cores, one.gpu) for one in (self, other))
        return ours == theirs


class Memory(Record):
    """What one candidate took in its process, decoding one utterance after the other.

    Attributes:
        peak_rss_bytes: most main memory that the process held: interpreter, libraries, model and work space.
        model_rss_bytes: by how much it grew from the imported libraries to the first transcript.
        gpu_bytes: of the GPU's memory; None without one, or where the driver does not tell processes apart.

    None where the system does not say.
    """

    peak_rss_bytes: int | None = None
    model_rss_bytes: int | None = None
    gpu_bytes: int | None = None


class Spread(Record):
    """A quantity that was measured several times.

    Attributes:
        median, low, high: over the repeats; low and high are the extremes.
        repeats: how many.
    """

    median: float
    low: float
    high: float
    repeats: int = 0

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """Describe one value per repeat.

        Raises:
            ValueError: there are none.
        """
        if not values:
            raise ValueError("a spread needs at least one value")
        median, low, high = float(np.median(values)), float(min(values)), float(max(values))
        return cls(median=median, low=low, high=high, repeats=len(values))

    def inverse(self) -> "Spread":
        """Return what is to be said of one divided by the quantity, which is above 0."""
        return Spread(median=1 / self.median, low=1 / self.high, high=1 / self.low, repeats=self.repeats)

    @property
    def estimate(self) -> Estimate:
        """The median with the extremes."""
        return Estimate(self.median, self.low, self.high)


class Latency(Record):
    """Seconds from samples to text, over every timed call of every repeat [s]."""

    p50: float
    p90: float
    p99: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Self:
        """Describe one value per call."""
        p50, p90, p99 = (float(p) for p in np.percentile(seconds, [50, 90, 99]))
        return cls(p50=p50, p90=p90, p99=p99)


class Bucket(Record):
    """Latency of the utterances of similar length.

    Attributes:
        start, end: of the durations, the end not included [s]; None has no limit. `from` and `to` in JSON.
        utterances: how many, each timed once in every repeat.
    """

    start: float = Field(alias="from")
    end: float | None = Field(alias="to")
    utterances: int
    p50: float
    p90: float
    p99: float

    @property
    def span(self) -> str:
        """Its limits in words, without the unit."""
        return f"over {self.start:g}" if self.end is None else f"{self.start:g}–{self.end:g}"


class Throughput(Record):
    """Audio decoded per time, with so many threads and so many utterances at once.

    Attributes:
        threads: given to the model.
        batch: utterances of like length in one call; 1 is one after the other.
        rtfx: seconds of audio per second, padding not counted.
    """

    threads: int
    batch: int
    rtfx: Spread


class Timing(Record):
    """How fast a candidate was.

    RTF is time spent / time of the audio: below 1 is faster than real time.

    Attributes:
        load_seconds: opening the model, the runtime's library being imported [s].
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
        first_result_seconds: opening the model and decoding the first utterance, nothing warmed up [s].
        cpu_seconds_per_hour: CPU time of all threads for an hour of audio [s].
        throughput: for each number of threads and batch size that was asked for.
        bimodal: of older versions, which looked for two speeds.
    """

    load_seconds: float | None = None
    rtf: Spread
    model_rtf: Spread | None = None
    features_rtf: Spread | None = None
    decoding_rtf: Spread | None = None
    latency: Latency | None = None
    cores_busy: float | None = None
    speed: Spread | None = None
    model_speed: Spread | None = None
    buckets: tuple[Bucket, ...] = ()
    first_result_seconds: float | None = None
    cpu_seconds_per_hour: float | None = None
    throughput: tuple[Throughput, ...] = ()
    bimodal: str | None = None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def rtfx(self) -> Spread:
        """Seconds of audio per second of processing: the inverse of the RTF."""
        return self.rtf.inverse()

    @model_validator(mode="after")
    def _check(self) -> Self:
        for spread in filter(None, (self.rtf, self.speed, self.model_speed)):
            if min(spread.median, spread.low, spread.high) <= 0:
                raise ValueError("times and speeds are above zero")
        return self
