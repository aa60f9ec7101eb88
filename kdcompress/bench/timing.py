"""The clock: calls and blocks of them, and what is said about its readings."""

import gc
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType

from typing_extensions import Self

from kdcompress.aliases import FloatArray
from kdcompress.bench.candidate import Candidate
from kdcompress.errors import BenchError
from kdcompress.report.measured import Bucket, Latency, Spread

# [s]; what falls between two of them is one bucket. Buckets that nothing falls into are left out.
EDGES = (0.0, 2.0, 5.0, 10.0, 20.0, 30.0)


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


@dataclass(frozen=True)
class TimedCall:
    """One call: the texts, and the seconds that it and its parts took.

    Attributes:
        texts, features, model, decoding: as for `Recognition`.
        wall, cpu: of the whole call; CPU time is that of all threads of the process.
    """

    texts: tuple[str, ...]
    features: float
    model: float
    decoding: float
    wall: float
    cpu: float


@dataclass(frozen=True)
class BlockTiming:
    """What came of a block.

    Attributes:
        calls: in order, up to the failure if there was one.
        failed: which call, None where that is not known, and why.
    """

    calls: tuple[TimedCall, ...]
    failed: tuple[int | None, str] | None = None


def time_call(candidate: Candidate, waveforms: Sequence[FloatArray]) -> TimedCall:
    """Decode one utterance, or a batch in one call; raises what the candidate raises."""
    with Clock() as clock:
        found = candidate.recognise(waveforms)
    if len(found.texts) != len(waveforms):
        raise BenchError(f"gave {len(found.texts)} transcripts for {len(waveforms)} utterances")
    return TimedCall(found.texts, found.features, found.model, found.decoding, clock.wall, clock.cpu)


def time_block(candidate: Candidate, groups: Sequence[Sequence[FloatArray]]) -> BlockTiming:
    """Decode the first group untimed, then all of them against the clock."""
    calls: list[TimedCall] = []
    try:
        # Untimed: the caches and the CPU's clock belong to whoever ran before.
        time_call(candidate, groups[0])
        gc.disable()
        for group in groups:
            calls.append(time_call(candidate, group))
    except Exception as error:  # whatever a runtime throws is a finding about it, not the end of the others
        return BlockTiming(tuple(calls), (len(calls), one_line(error)))
    finally:
        gc.enable()
    return BlockTiming(tuple(calls))


def one_line(error: Exception) -> str:
    """Return what an error says, with its kind where it is none of the benchmark's own."""
    text = " ".join(str(error).split())
    if isinstance(error, BenchError) and text:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def paired_speed(reference: Sequence[float], seconds: Sequence[float]) -> Spread:
    """Compare repeat with repeat: a machine that slows down for a while slows both.

    Raises:
        ValueError: the numbers of repeats differ.
    """
    return Spread.of([ours / theirs for ours, theirs in zip(reference, seconds, strict=True)])


def by_duration(calls: Iterable[tuple[float, Sequence[float]]]) -> tuple[Bucket, ...]:
    """Sort latencies by the length of the audio: a mean over all lengths describes no request.

    Args:
        calls: of each utterance, its duration and the time of each of its repeats [s].
    """
    known = [(seconds, times) for seconds, times in calls if times]
    buckets = []
    for start, end in zip(EDGES, (*EDGES[1:], None), strict=True):
        inside = [times for seconds, times in known if start <= seconds < (end or float("inf"))]
        if inside:
            latency = Latency.of([time for times in inside for time in times])
            buckets.append(Bucket(start=start, end=end, utterances=len(inside), **latency.model_dump()))
    return tuple(buckets)
