"""Streaming, measured: when words are shown, and how many streams a core keeps up with.

S samples.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from kdcompress.aliases import FloatArray
from kdcompress.audio.utterance import SAMPLE_RATE
from kdcompress.bench.measure import Clip, Measured
from kdcompress.bench.timing import one_line
from kdcompress.report.live import Shown, Streaming, StreamLoad, Words, with_delays

_STEP = SAMPLE_RATE // 50  # [samples] between two looks at the text
_TAIL = 1.0  # [s] of silence behind an utterance: whoever prints late gets the time to
_ROUNDS, _FEWEST, _SECONDS = 200, 8, 8.0  # chunks of a load: that many, but no fewer and no longer than these


class LiveStreams(Protocol):
    """Streams of a candidate under way, all in the same process."""

    def push(self, stream: int, samples: FloatArray) -> None:
        """Give samples [S] at 16 kHz to one of them."""
        ...

    def advance(self) -> None:
        """Decode all chunks that are whole."""
        ...

    def text(self, stream: int) -> str:
        """Return what one of them has printed so far."""
        ...


@runtime_checkable
class Streams(Protocol):
    """A candidate that gives text while somebody speaks; `chunk_seconds` is None of one that cannot."""

    @property
    def chunk_seconds(self) -> float | None: ...
    def open_streams(self, count: int) -> LiveStreams:
        """Return so many streams at their beginning."""
        ...


@runtime_checkable
class TellsTimes(Protocol):
    """A candidate that says when words were said."""

    def words(self, waveform: FloatArray) -> Words:
        """Return the words of an utterance [S] with the times of their spikes."""
        ...


def chunk_seconds(candidate: object) -> float | None:
    """Return the audio of a chunk [s]; None where the candidate does not stream."""
    return candidate.chunk_seconds if isinstance(candidate, Streams) else None


def shown_words(candidate: object, waveforms: Sequence[FloatArray]) -> list[Shown]:
    """Stream utterances and return when each word of their last text was there for good [s of audio]."""
    assert isinstance(candidate, Streams)
    found: list[Shown] = []
    for waveform in waveforms:
        streams = candidate.open_streams(1)
        samples = np.pad(waveform, (0, round(_TAIL * SAMPLE_RATE)))
        history: list[tuple[float, list[str]]] = []
        for start in range(0, len(samples), _STEP):
            streams.push(0, samples[start : start + _STEP])
            streams.advance()
            words = streams.text(0).split()
            if not history or words != history[-1][1]:
                history.append(((start + _STEP) / SAMPLE_RATE, words))
        last = history[-1][1] if history else []
        found.append([(word, _since(history, index, word)) for index, word in enumerate(last)])
    return found


def _since(history: Sequence[tuple[float, list[str]]], index: int, word: str) -> float:
    since = history[-1][0]
    for at, words in reversed(history):
        if words[index : index + 1] != [word]:
            break
        since = at
    return since


def time_load(candidate: object, waveforms: Sequence[FloatArray], count: int) -> dict[str, Any]:
    """Give so many streams a chunk each, again and again; returns the fields of a `StreamLoad`."""
    assert isinstance(candidate, Streams)
    seconds = candidate.chunk_seconds or 1.0
    size = round(seconds * SAMPLE_RATE)
    sound = np.concatenate([np.pad(waveform, (0, SAMPLE_RATE // 2)) for waveform in waveforms])
    starts = np.linspace(0, len(sound), count, endpoint=False).astype(int)
    streams = candidate.open_streams(count)
    walls: list[float] = []
    cpu = 0.0
    for turn in range(-2, _ROUNDS):  # the first two fill look-aheads and caches
        chunks = [np.take(sound, range(s + turn * size, s + (turn + 1) * size), mode="wrap") for s in starts]
        busy, begin = time.process_time(), time.perf_counter()
        for stream, chunk in enumerate(chunks):
            streams.push(stream, chunk)
        streams.advance()
        if turn >= 0:
            walls.append(time.perf_counter() - begin)
            cpu += time.process_time() - busy
        if turn >= _FEWEST and sum(walls) > _SECONDS:
            break
    p50, p99 = (float(p) for p in np.percentile(walls, [50, 99]))
    load = StreamLoad(
        streams=count,
        p50=p50,
        p99=p99,
        missed=float(np.mean(np.array(walls) > seconds)),
        per_core=count * seconds * len(walls) / max(cpu, 1e-9),
    )
    return load.model_dump()


def spoken_words(candidate: object, waveforms: Sequence[FloatArray]) -> list[Words] | None:
    """Return the words of utterances with times; None of a candidate that does not tell them."""
    return [candidate.words(one) for one in waveforms] if isinstance(candidate, TellsTimes) else None


def measure_streaming(
    runs: Sequence[Measured],
    base: Measured,
    clips: Sequence[Clip],
    counts: Sequence[int],
    progress: Callable[[str], None],
) -> Mapping[str, Streaming]:
    """Stream what streams; returns what was found by name, and notes down what failed.

    Args:
        runs: loaded and warmed up.
        base: the reference candidate, whose words the delays are counted from.
        clips: what is said.
        counts: numbers of streams.
        progress: called with the stage.
    """
    samples = [clip.samples for clip in clips]
    found: dict[str, Streaming] = {}
    alive = [run for run in runs if not run.failed]
    chunks = {run.candidate.name: run.candidate.streaming("chunk") for run in alive}
    taking = [run for run in alive if chunks[run.candidate.name]]
    if not taking:
        return found
    progress(f"asking {base.candidate.name} when words were said")
    told = None if base.failed else base.candidate.streaming("words", samples)
    spikes = {} if told is None else {clip.id: words for clip, words in zip(clips, told, strict=True)}
    for run in taking:
        name = run.candidate.name
        progress(f"streaming {name}")
        try:
            shown = run.candidate.streaming("shown", samples)
        except Exception as error:  # as everywhere: a finding about the candidate
            run.failed = f"streaming: {one_line(error)}"
            continue
        by_id = {clip.id: words for clip, words in zip(clips, shown, strict=True)}
        found[name] = with_delays(Streaming(chunk_seconds=chunks[name]), by_id, spikes)
    for count in counts:
        for run in (run for run in taking if not run.failed):
            name = run.candidate.name
            progress(f"{count} streams of {name}")
            try:
                load = StreamLoad(**run.candidate.streaming("load", samples, count))
            except Exception as error:  # likewise
                run.failed = f"{count} streams: {one_line(error)}"
                continue
            one = found[name]
            found[name] = one.model_copy(update={"loads": (*one.loads, load)})
    return found
