"""Long recordings go through the graph in chunks, and come out as one sequence of frames.

S samples, T output frames, V vocabulary. Only the chunk in hand is in memory.

Where nobody speaks for a while a chunk ends and the next begins: chunks are then what students are trained
on, utterances, and each is normalised over itself, as those are. (Half a minute of several utterances and
the silence between them, under one mean and variance, is not what students are trained on: on AN4 it doubles
the error rate.) Where speech goes on for longer than a chunk may be, chunks overlap, and the frames of the
one pass to those of the other where both are surest of a blank, so that no token is cut.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from kdcompress.aliases import FloatArray
from kdcompress.audio.utterance import SAMPLE_RATE
from kdcompress.errors import ConfigError
from kdcompress.runtime.silences import find_pause, leading_silence, levels
from kdcompress.text.vocabulary import Vocabulary

MARGIN = 0.25  # [s] of silence that a chunk keeps at its ends: quiet consonants begin and end words
SHORTEST = 1.0  # [s] before the pause that ends a chunk: less is not enough for a mean and a variance
LONGEST = 600.0  # [s] attention's memory grows with the square: at 40 ms a frame 0.9 GB per head

_IMPOSSIBLE = -100.0  # [nats] in frames that the graph is not asked about; finite for beam search


@dataclass(frozen=True)
class Chunking:
    """How long recordings are cut.

    Attributes:
        seconds: longest chunk; what is not longer goes through the graph whole. 30 s is the longest utterance
            that training takes unless told otherwise, and its attention still fits a processor's cache.
        overlap: of two chunks that no pause separates [s]. Its outer quarters are context only: a second at
            each end is more than a spike needs.
        pause: silence that ends a chunk [s]; what lies deeper in it than 0.25 s is not asked about but called
            blank, with a word boundary in its middle. 0 looks for no pauses.

    Raises:
        ConfigError: the overlap is half a chunk or more, or a length is out of range.
    """

    seconds: float = 30.0
    overlap: float = 4.0
    pause: float = 0.8

    def __post_init__(self) -> None:
        if not 1.0 <= self.seconds <= LONGEST:
            raise ConfigError(f"chunks of {self.seconds:g} s are not possible; choose 1 to {LONGEST:g}")
        if not 0 <= self.overlap < self.seconds / 2:
            raise ConfigError(
                f"an overlap of {self.overlap:g} s does not suit chunks of {self.seconds:g} s; choose 0 to "
                "less than half of a chunk"
            )
        if self.pause and not self.pause >= 0.6:
            raise ConfigError(f"a pause of {self.pause:g} s may be within a word; choose 0.6 or more, or 0")


@dataclass(frozen=True)
class Window:
    """What is decoded at once, or passed over.

    Attributes:
        waveform: [S]; empty where nobody speaks.
        advance: from where it begins to where the next one does [samples]; at the recording's end, to there.
        ends: with a pause that follows, with what the next one shares, with the recording; or it is silence.
    """

    waveform: FloatArray
    advance: int
    ends: Literal["pause", "overlap", "recording", "silence"]


def windows(blocks: Iterable[FloatArray], chunking: Chunking, grid: int) -> Iterator[Window]:
    """Cut a recording: yields what is to be decoded at once, and the silence between.

    Args:
        blocks: the waveform [S] at 16 kHz, in pieces of any length.
        chunking: how to cut.
        grid: what the cuts are multiples of [samples].
    """
    size = max(round(chunking.seconds * SAMPLE_RATE) // grid, 2) * grid
    overlap = min(round(chunking.overlap * SAMPLE_RATE) // grid * grid, size - grid)
    margin = -(-round(MARGIN * SAMPLE_RATE) // grid) * grid
    source = iter(blocks)
    buffer, ended = np.empty(0, np.float32), False
    shared = 0  # [samples] that the window before has, too
    in_silence, threshold = bool(chunking.pause), None  # speech has not begun; what it must be louder than
    while True:
        # One sample more than a chunk tells whether this is the last one.
        buffer, ended = _filled(buffer, source, size + 1, ended)
        if not len(buffer):
            return
        window, last = buffer[:size], ended and len(buffer) <= size
        level = levels(window) if chunking.pause else np.empty(0)
        if in_silence:
            end = leading_silence(level, threshold)
            in_silence = end is None
            # Speech may begin right behind the window.
            rest = ((len(window) if end is None else end) - margin) // grid * grid
            skipped = len(window) if in_silence and last else rest
            if skipped > 0:
                yield Window(buffer[:0], skipped, "silence")
                buffer = buffer[skipped:]
                continue
        earliest = max(round(SHORTEST * SAMPLE_RATE), shared)
        pause = find_pause(level, chunking.pause, earliest, last) if chunking.pause else None
        if pause is not None:
            end = -(-(pause.start + margin) // grid) * grid
            # Where the silence ends is found as it is for the one that a recording begins with.
            yield Window(window[:end], end + grid, "pause")
            buffer, shared = buffer[end + grid :], 0
            in_silence, threshold = True, pause.threshold
        elif last:
            yield Window(window, len(window), "recording")
            return
        else:
            yield Window(window, size - overlap, "overlap")
            buffer, shared = buffer[size - overlap :], overlap


def joined(
    blocks: Iterable[FloatArray],
    posteriors: Callable[[FloatArray], FloatArray],
    vocabulary: Vocabulary,
    frame_shift: float,
    chunking: Chunking,
) -> Iterator[FloatArray]:
    """Yield the log posteriors [T, V] of a recording piece by piece; their sum is its frame grid.

    Args:
        blocks: as for `windows`.
        posteriors: maps the waveform [S] of a chunk to log posteriors [T, V], frame t at t × frame_shift.
        vocabulary: of the V tokens.
        frame_shift: between output frames [s].
        chunking: how to cut.
    """
    grid = round(frame_shift * SAMPLE_RATE)
    held: FloatArray | None = None  # frames of the chunk before, from the beginning of this one on
    for window in windows(blocks, chunking, grid):
        if window.ends == "silence":
            yield _certain(-(-window.advance // grid), vocabulary)
            continue
        frames = posteriors(window.waveform)
        if window.ends != "recording":
            frames = frames[: len(window.waveform) // grid]
            # Convolutions over samples have no frame for a remainder that is shorter than their window.
            missing = len(window.waveform) // grid - len(frames)
            frames = np.concatenate([frames, _certain(missing, vocabulary)]) if missing else frames
        frames = _joint(held, frames, vocabulary.blank)
        held = None
        if window.ends == "overlap":
            passed = window.advance // grid
            held = frames[passed:] if len(window.waveform) > window.advance else None
            frames = frames[:passed]
        yield frames
        if window.ends == "pause":
            yield _certain(1, vocabulary, boundary=True)


def _filled(
    buffer: FloatArray, source: Iterator[FloatArray], wanted: int, ended: bool
) -> tuple[FloatArray, bool]:
    parts, samples = [buffer], len(buffer)
    while samples < wanted and not ended:
        block = next(source, None)
        if block is None:
            ended = True
        else:
            parts.append(block)
            samples += len(block)
    return (np.concatenate(parts) if len(parts) > 1 else buffer), ended


def _joint(before: FloatArray | None, after: FloatArray, blank: int) -> FloatArray:
    """Return frames of two chunks that begin alike: of the one up to the surest blank, then of the other."""
    if before is None:
        return after
    common = min(len(before), len(after))
    # Only the middle half has context on both sides in both chunks.
    first, stop = common // 4, max(common - common // 4, common // 4 + 1)
    surest = np.minimum(before[first:stop, blank], after[first:stop, blank])
    # Ties, as in silence, are decided for the middle.
    distance = np.abs(np.arange(first, first + len(surest)) - common // 2)
    cut = first + int(np.lexsort((distance, -surest))[0])
    return np.concatenate([before[:cut], after[cut:]])


def _certain(frames: int, vocabulary: Vocabulary, boundary: bool = False) -> FloatArray:
    """Return frames [T, V] that are surely blank, or have a word boundary in their middle."""
    certain = np.full((frames, len(vocabulary)), _IMPOSSIBLE, np.float32)
    certain[:, vocabulary.blank] = 0
    if boundary and vocabulary.word_boundary in vocabulary.tokens:
        certain[frames // 2] = _IMPOSSIBLE
        certain[frames // 2, vocabulary.tokens.index(vocabulary.word_boundary)] = 0
    return certain
