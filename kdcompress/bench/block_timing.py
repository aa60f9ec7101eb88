"""One candidate's turn: utterances, or batches of them, heard in a row against the clock."""

import gc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias, runtime_checkable

from kdcompress.bench.candidate import Batched, Candidate, Waveform
from kdcompress.bench.timing import Clock
from kdcompress.errors import BenchError
from kdcompress.report.measured import Memory

Group: TypeAlias = Sequence[Waveform]
"""What is heard in one call: one utterance, or a batch."""


@dataclass(frozen=True)
class TimedCall:
    """One call: what was heard, and the seconds that it and its parts took.

    Attributes:
        texts: one per utterance.
        features, model, decoding: as for `Recognition`; 0 for a batch, whose parts are not told apart.
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
    """What came of it.

    Attributes:
        calls: in order, up to the failure if there was one.
        failed: which group, None where that is not known, and why.
    """

    calls: tuple[TimedCall, ...]
    failed: tuple[int | None, str] | None = None


@runtime_checkable
class IsolatedCandidate(Candidate, Protocol):
    """A candidate in a process of its own, where the clock is too.

    Attributes:
        load_seconds: as measured there.
        cores: that the process keeps to; None leaves the choice to the system. Set before it is loaded.
    """

    cores: Sequence[int] | None

    @property
    def load_seconds(self) -> float: ...

    def listen(self, waveform: Waveform) -> TimedCall:
        """Hear one utterance."""
        ...

    def time_block(self, groups: Sequence[Group]) -> BlockTiming:
        """Hear groups in a row; see `time_block`."""
        ...

    def memory(self) -> Memory:
        """Say how much memory it has taken so far."""
        ...

    def with_threads(self, threads: int) -> "IsolatedCandidate":
        """Return another of the kind, not yet loaded, with another number of threads."""
        ...

    def close(self) -> None:
        """End the process."""
        ...


def listen(candidate: Candidate, waveform: Waveform) -> TimedCall:
    """Hear one utterance; raises what the candidate raises."""
    if isinstance(candidate, IsolatedCandidate):
        return candidate.listen(waveform)
    with Clock() as clock:
        heard = candidate.recognise(waveform)
    return TimedCall((heard.text,), heard.features, heard.model, heard.decoding, clock.wall, clock.cpu)


def time_block(candidate: Candidate, groups: Sequence[Group]) -> BlockTiming:
    """Hear the first group untimed, then all of them against the clock."""
    if isinstance(candidate, IsolatedCandidate):
        return candidate.time_block(groups)
    calls: list[TimedCall] = []
    try:
        # Untimed: the caches and the CPU's clock belong to whoever ran before.
        _hear(candidate, groups[0])
        gc.disable()
        for group in groups:
            calls.append(_hear(candidate, group))
    except Exception as error:  # whatever a runtime throws is a finding about it, not the end of the others
        return BlockTiming(tuple(calls), (len(calls), one_line(error)))
    finally:
        gc.enable()
    return BlockTiming(tuple(calls))


def takes_batches(candidate: Candidate) -> bool:
    """Tell whether a loaded candidate can hear several utterances at once."""
    return isinstance(candidate, Batched) and candidate.batches


def one_line(error: Exception) -> str:
    """Return what an error says, with its kind where it is none of the benchmark's own."""
    text = " ".join(str(error).split())
    if isinstance(error, BenchError) and text:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _hear(candidate: Candidate, group: Group) -> TimedCall:
    if len(group) == 1:
        return listen(candidate, group[0])
    if not isinstance(candidate, Batched):
        raise BenchError("hears one utterance at a time")
    with Clock() as clock:
        texts = candidate.recognise_batch(group)
    if len(texts) != len(group):
        raise BenchError(f"gave {len(texts)} transcripts for {len(group)} utterances")
    return TimedCall(tuple(texts), 0.0, 0.0, 0.0, clock.wall, clock.cpu)
