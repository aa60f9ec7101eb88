"""From samples that come in pieces of any length to the chunks that a streaming graph takes.

S samples, T feature frames of a chunk, F mel bands. Everything is computed on a grid that the stream's first
sample begins: how the samples were cut on their way here changes no bit of a chunk.
"""

from collections import deque

import numpy as np

from kdcompress.aliases import FloatArray
from kdcompress.audio.utterance import SAMPLE_RATE
from kdcompress.frontend.logmel_numpy import BANDS, HOP, WINDOW, log_energies

_EMPTY = np.empty(0, np.float32)


class SampleQueue:
    """Samples in, in pieces; out, as many as are asked for. One thread may fill it, another empty it."""

    def __init__(self) -> None:
        self._pieces: deque[FloatArray] = deque()
        self._head = _EMPTY
        self._put, self._taken = 0, 0  # counted apart: each by the thread that changes it

    def __len__(self) -> int:
        return self._put - self._taken

    def put(self, samples: FloatArray) -> None:
        """Add samples [S]; they are not copied."""
        if len(samples):
            self._pieces.append(samples)
            self._put += len(samples)

    def take(self, count: int) -> FloatArray:
        """Remove and return the oldest samples [count], no more than there are."""
        parts, missing = [], count
        while missing:
            head = self._head if len(self._head) else self._pieces.popleft()
            parts.append(head[:missing])
            self._head = head[missing:]
            missing -= len(parts[-1])
        self._taken += count
        return parts[0] if len(parts) == 1 else np.concatenate([_EMPTY, *parts])


class FeatureChunks:
    """Cuts a waveform at 16 kHz into chunks of log-mel frames, which overlap where the graph looks ahead.

    The frames are those of `kdcompress.frontend.logmel_numpy.log_mel` without normalisation. In memory are
    the samples that make no whole chunk yet, and one chunk.

    Attributes:
        ended: no more samples will come.
    """

    def __init__(self, window: int, shift: int) -> None:
        """Begin at silence.

        Args:
            window: T, frames of a chunk.
            shift: from the beginning of a chunk to that of the next one [frames].
        """
        self._window, self._shift = window, shift
        self._queue = SampleQueue()
        # Of the first frame's window one half, and the sample that pre-emphasis wants, are before the stream.
        self._context = np.zeros(WINDOW // 2 + 1, np.float32)
        self._frames = np.empty((0, BANDS), np.float32)
        self._samples, self._chunks, self._wanted = 0, 0, 0
        self.ended = False

    def within(self, seconds: float) -> int:
        """Return how many chunks begin in such a time, at least one."""
        return max(-(-round(seconds * SAMPLE_RATE) // (self._shift * HOP)), 1)

    @property
    def seconds(self) -> float:
        """How much audio was put in [s]."""
        return self._samples / SAMPLE_RATE

    @property
    def waiting(self) -> float:
        """How much of it is in no chunk yet [s]."""
        return len(self._queue) / SAMPLE_RATE

    def put(self, waveform: FloatArray) -> None:
        """Add samples [S] at 16 kHz."""
        self._queue.put(waveform)
        self._samples += len(waveform)

    def end(self, tail: float) -> None:
        """Add silence [s], and as much more as makes the last chunk a whole one."""
        if self._samples:
            frames = (self._samples + round(tail * SAMPLE_RATE)) // HOP
            self._wanted = -(-frames // self._shift)
            last = (self._wanted - 1) * self._shift + self._window - 1  # frame
            missing = last * HOP + WINDOW // 2 - self._samples
            self._queue.put(np.zeros(max(missing, 0), np.float32))
        self.ended = True

    @property
    def exhausted(self) -> bool:
        """Whether the last chunk was taken."""
        return self.ended and self._chunks >= self._wanted

    @property
    def ready(self) -> bool:
        """Whether there is a chunk to take."""
        return not self.exhausted and len(self._queue) >= self._needed

    def take(self) -> FloatArray:
        """Return the next chunk [T, F]; it may be kept."""
        samples = np.concatenate([self._context, self._queue.take(self._needed)])
        count = self._window if not self._chunks else self._shift
        new = np.empty((count, BANDS), np.float32)
        log_energies(samples, 1, new)
        self._context = samples[count * HOP :].copy()
        self._frames = np.concatenate([self._frames[self._shift :], new])
        self._chunks += 1
        return self._frames

    @property
    def _needed(self) -> int:
        """The samples that the frames of the next chunk still want."""
        return self._shift * HOP if self._chunks else (self._window - 1) * HOP + WINDOW // 2
