"""Streams of samples become streams of text: one by itself, or thousands over one session.

N streams, S samples.
"""

import operator
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TypeAlias

import numpy as np

from kdcompress.aliases import FloatArray
from kdcompress.audio.decode import Samples, to_mono
from kdcompress.audio.utterance import SAMPLE_RATE
from kdcompress.errors import AudioError, ConfigError, NumericsError
from kdcompress.runtime.streaming.chunks import Chunks, take
from kdcompress.runtime.streaming.graph import TAIL, States, StreamingGraph, stack
from kdcompress.runtime.streaming.utterances import Endpointing, StreamResult, Utterances, best_path
from kdcompress.text.vocabulary import Vocabulary

BROKEN = "the model's output holds NaN or infinity: its weights or its input are broken"

Outcome: TypeAlias = StreamResult | NumericsError


@dataclass(frozen=True, eq=False)
class Run:
    """The states that a run returned, and whose they are: mostly the next run takes them as they are."""

    streams: "tuple[PooledStream, ...]"
    states: States

    def of(self, stream: "PooledStream") -> States:
        """Return one stream's states, as a view."""
        index = next(index for index, one in enumerate(self.streams) if one is stream)
        return tuple(part[index : index + 1] for part in self.states)


class PooledStream:
    """One stream of a pool; `StreamPool.open` makes it.

    Attributes:
        closed: its last result was given.
    """

    def __init__(self, states: States, chunks: Chunks, utterances: Utterances, rules: Endpointing) -> None:
        self.chunks, self.utterances = chunks, utterances
        # The last chunks, where the states are to be reset behind an utterance.
        self.resets = deque[FloatArray](maxlen=chunks.within(TAIL)) if rules.reset else None
        self.states = Run((self,), states)
        self.closed = False
        self._tail = rules.tail

    def push(self, samples: Samples) -> None:
        """Add samples; nothing is computed before the pool advances.

        Args:
            samples: [S] or [S, channels], floats within ±1 or integers of full scale, of any length.

        Raises:
            AudioError: they cannot be used; the stream goes on without them. Or it was finished before.
        """
        if self.chunks.ended:
            raise AudioError("the stream was finished: samples that come now belong to a new one")
        self.chunks.put(to_mono(samples))

    def finish(self) -> None:
        """Say that no samples follow; what they hold is given out as the pool advances."""
        if not self.chunks.ended:
            self.chunks.end(self._tail)


class StreamPool:
    """Many streams over one session: each run of the graph takes a chunk of all that have one.

    Streams may be filled in other threads than the one that advances.

    Attributes:
        graph: that all of them share.
        streams: those that are open.
    """

    def __init__(
        self,
        graph: StreamingGraph,
        vocabulary: Vocabulary,
        frame_shift: float,
        rules: Endpointing | None = None,
        batch: int = 16,
    ) -> None:
        """Make a pool without streams; see `Recognizer.pool`.

        Args:
            graph: loaded.
            vocabulary: of its V tokens.
            frame_shift: between its output frames [s].
            rules: when a text is final, unless a stream has rules of its own.
            batch: most streams in one run; larger ones leave the caches of a processor (0.6 M parameters took
                0.82 ms of CPU a stream alone, 0.39 at 16, 0.47 at 64).
        """
        if batch < 1:
            raise ConfigError(f"a batch of {batch} streams is not possible; choose 1 or more")
        self.graph = graph
        self.streams: list[PooledStream] = []
        self._vocabulary, self._frame_shift = vocabulary, frame_shift
        self._rules, self._batch = rules or Endpointing(), batch
        self._results: deque[tuple[PooledStream, Outcome]] = deque()

    def open(self, sample_rate: int = SAMPLE_RATE, rules: Endpointing | None = None) -> PooledStream:
        """Return a new stream of samples of that rate [Hz]."""
        rules = rules or self._rules
        utterances = Utterances(self._vocabulary, self._frame_shift, rules)
        stream = PooledStream(self.graph.initial(), self.graph.chunks(sample_rate), utterances, rules)
        self.streams.append(stream)
        return stream

    def advance(self) -> Iterator[tuple[PooledStream, Outcome]]:
        """Decode all that was pushed; yields results as they come, and the error that ended a stream.

        Whoever stops taking them loses none: the next call begins with what this one had left.
        """
        while True:
            while self._results:
                yield self._results.popleft()
            if not (ready := [stream for stream in self.streams if stream.chunks.ready]):
                break
            for start in range(0, len(ready), self._batch):
                self._run(ready[start : start + self._batch])
        for stream in [stream for stream in self.streams if stream.chunks.exhausted]:
            self._results.extend((stream, result) for result in stream.utterances.finish())
            self._close(stream)
        while self._results:
            yield self._results.popleft()

    def _run(self, streams: Sequence[PooledStream]) -> None:
        states = self._gathered(streams)
        chunks = take([stream.chunks for stream in streams])
        log_probs, counts, states = self.graph.step(np.stack(chunks), states)
        run = Run(tuple(streams), states)
        best, good = best_path(log_probs)
        for index, stream in enumerate(streams):
            stream.states = run
            if not good[index]:
                self._results.append((stream, NumericsError(BROKEN)))
                self._close(stream)
                continue
            found = stream.utterances.add(best[index][: counts[index]])
            self._results.extend((stream, result) for result in found)
            if stream.resets is not None:
                stream.resets.append(chunks[index][None])
                if stream.utterances.just_ended:
                    for part, new in zip(states, self._begun(stream.resets), strict=True):
                        part[index] = new[0]

    def _begun(self, recent: Iterable[FloatArray]) -> States:
        """Return initial states to which the last chunks were given.

        They were silent so far, but a word that begins in them may be printed some frames later only.
        """
        states = self.graph.initial()
        for chunk in recent:
            _, _, states = self.graph.step(chunk, states)
        return states

    def _gathered(self, streams: Sequence[PooledStream]) -> States:
        """Return the states of these streams, in their order; the others of the same runs keep copies."""
        runs = [stream.states for stream in streams]
        first = runs[0]
        if len(first.streams) == len(streams) and all(map(operator.is_, first.streams, streams)):
            return first.states
        states = stack([run.of(stream) for run, stream in zip(runs, streams, strict=True)])
        for run in set(runs):
            for other in set(run.streams).difference(streams):
                # A view of its row would hold the memory of all.
                if other.states is run:
                    other.states = Run((other,), tuple(part.copy() for part in run.of(other)))
        return states

    def _close(self, stream: PooledStream) -> None:
        stream.closed, stream.states = True, Run((stream,), ())
        self.streams.remove(stream)


class LiveStream:
    """One stream by itself; `Recognizer.stream` makes it."""

    def __init__(self, pool: StreamPool, sample_rate: int = SAMPLE_RATE) -> None:
        self._pool = pool
        self._stream = pool.open(sample_rate)
        self._found: list[StreamResult] = []
        self._error: NumericsError | None = None

    def push(self, samples: Samples) -> list[StreamResult]:
        """Add samples and decode the chunks that they complete.

        Args:
            samples: as for `PooledStream.push`.

        Returns:
            The final results, and the partial one behind them if it is another than before, in their order.

        Raises:
            AudioError: as for `PooledStream.push`.
            NumericsError: the graph answered with NaN; raised once all results before it were returned.
        """
        self._stream.push(samples)
        return self._results()

    def finish(self) -> list[StreamResult]:
        """Decode what is left, silence added, and return the last results; raises as `push` does."""
        self._stream.finish()
        return self._results()

    def _results(self) -> list[StreamResult]:
        if self._error is None:
            for _, outcome in self._pool.advance():
                if isinstance(outcome, NumericsError):
                    self._error = outcome
                else:
                    self._found.append(outcome)
        # Kept outside this call: an interrupt meanwhile leaves them to the next one.
        found, self._found = self._found, []
        if self._error is not None and not found:
            raise self._error
        return found


def posteriors_of(
    graph: StreamingGraph, blocks: Iterable[FloatArray], tail: float = TAIL
) -> Iterator[FloatArray]:
    """Yield the log posteriors [T', V] of one recording, whose waveform [S] at 16 kHz comes in pieces."""
    chunks, states = graph.chunks(), graph.initial()
    for block in chain(blocks, [None]):
        if block is None:
            chunks.end(tail)
        else:
            chunks.put(block)
        while chunks.ready:
            log_probs, counts, states = graph.step(chunks.take()[None], states)
            yield log_probs[0, : counts[0]]


def with_tail(waveform: FloatArray, tail: float = TAIL) -> FloatArray:
    """Add the silence to a waveform [S] that `posteriors_of` adds; to nothing it adds nothing."""
    return np.pad(waveform, (0, round(tail * SAMPLE_RATE))) if len(waveform) else waveform
