"""From samples that come in pieces of any length to the chunks that a streaming graph takes.

N streams, S samples, T feature frames of a chunk, F mel bands. Everything is computed on a grid that the
stream's first sample begins: how the samples were cut on their way here changes no bit of a chunk.
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence

import numpy as np

from kdcompress.aliases import FloatArray
from kdcompress.audio.utterance import SAMPLE_RATE
from kdcompress.errors import AudioError
from kdcompress.frontend.logmel_numpy import BANDS, HOP, WINDOW, log_energies
from kdcompress.runtime.frontend import TELEPHONE_RATE

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


class Chunks(ABC):
    """Cuts a waveform into chunks of frames, which overlap where the graph looks ahead.

    In memory are the samples that make no whole chunk yet, and one chunk.

    Attributes:
        ended: no more samples will come.
    """

    rate: int
    """Of the samples that frames are made of [Hz]."""
    hop: int
    """From frame to frame [samples]."""
    reach: int
    """From where a frame begins to the last sample that it takes, and one."""
    width: int
    """Numbers of a frame, F."""

    def __init__(self, window: int, shift: int, sample_rate: int, context: int) -> None:
        """Begin at silence.

        Args:
            window: T, frames of a chunk.
            shift: from the beginning of a chunk to that of the next one [frames].
            sample_rate: of the samples that are put in [Hz].
            context: samples before the first one that its frame takes; they are zeros.

        Raises:
            AudioError: the rate is below 1 Hz.
        """
        if sample_rate < 1:
            raise AudioError(f"sample_rate must be above 0 Hz, found {sample_rate}")
        self._resampler = None
        if sample_rate != self.rate:
            import soxr  # not above: most audio for a recogniser has its rate

            self._resampler = soxr.ResampleStream(sample_rate, self.rate, 1, dtype="float32", quality="HQ")
        self._window, self._shift = window, shift
        self._queue = SampleQueue()
        self._context = np.zeros(context, np.float32)
        self._frames = np.empty((0, self.width), np.float32)
        self._samples, self._chunks, self._wanted = 0, 0, 0
        self.ended = False

    @abstractmethod
    def frames(self, samples: FloatArray, count: int) -> FloatArray:
        """Return frames [N, count, F] of the samples [N, S] that they take."""

    def within(self, seconds: float) -> int:
        """Return how many chunks begin in such a time, at least one."""
        return max(-(-round(seconds * self.rate) // (self._shift * self.hop)), 1)

    def put(self, waveform: FloatArray) -> None:
        """Add samples [S], which are copied."""
        self._put(waveform.copy() if self._resampler is None else self._resampler.resample_chunk(waveform))

    def end(self, tail: float) -> None:
        """Add silence [s], and as much more as makes the last chunk a whole one."""
        if self._resampler is not None:
            self._put(self._resampler.resample_chunk(_EMPTY, last=True))
        if self._samples:
            frames = (self._samples + round(tail * self.rate)) // self.hop
            self._wanted = -(-frames // self._shift)
            last = (self._wanted - 1) * self._shift + self._window - 1  # frame
            missing = last * self.hop + self.reach - self._samples
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
        return take([self])[0]

    @property
    def missing(self) -> int:
        """The frames of the next chunk that were not in the one before."""
        return self._shift if self._chunks else self._window

    def samples(self) -> FloatArray:
        """Return the samples that the missing frames take."""
        samples = np.concatenate([self._context, self._queue.take(self._needed)])
        self._context = samples[self.missing * self.hop :].copy()
        return samples

    def joined(self, new: FloatArray) -> FloatArray:
        """Return the next chunk [T, F], given its missing frames."""
        self._chunks += 1
        if self._window > self._shift:
            new = np.concatenate([self._frames[self._shift :], new])
            self._frames = new
        return new

    @property
    def _needed(self) -> int:
        """The samples that the frames of the next chunk still want."""
        return self._shift * self.hop if self._chunks else (self._window - 1) * self.hop + self.reach

    def _put(self, samples: FloatArray) -> None:
        self._queue.put(samples)
        self._samples += len(samples)


class FeatureChunks(Chunks):
    """Chunks of log-mel frames: those of `logmel_numpy.log_mel`, floored, not normalised."""

    rate, hop, reach, width = SAMPLE_RATE, HOP, WINDOW // 2, BANDS

    def __init__(self, window: int, shift: int, sample_rate: int = SAMPLE_RATE) -> None:
        """Begin at silence; see `Chunks`."""
        # One half of the first frame's window, and the sample that pre-emphasis wants.
        super().__init__(window, shift, sample_rate, WINDOW // 2 + 1)

    def frames(self, samples: FloatArray, count: int) -> FloatArray:
        """Return features [N, count, F]; the samples begin one before the first frame's window."""
        streams, given = samples.shape
        # One behind the other in one waveform, each from a hop on; frames between two of them are left out.
        hops = -(-given // HOP)
        waveform = np.zeros((streams, hops * HOP), np.float32)
        waveform[:, :given] = samples
        features = np.empty((streams, hops, BANDS), np.float32)
        log_energies(waveform.reshape(-1), 1, features.reshape(-1, BANDS)[: count - hops], floored=True)
        return features[:, :count]


class TelephoneChunks(Chunks):
    """Chunks of samples at 8 kHz, in hops of 10 ms."""

    rate, hop, reach, width = TELEPHONE_RATE, *[TELEPHONE_RATE // 100] * 3

    def __init__(self, window: int, shift: int, sample_rate: int = SAMPLE_RATE) -> None:
        """Begin at silence; see `Chunks`."""
        super().__init__(window, shift, sample_rate, 0)

    def frames(self, samples: FloatArray, count: int) -> FloatArray:
        """Return the samples as hops [N, count, 80]."""
        return samples.reshape(-1, count, self.hop)


def take(streams: Sequence[Chunks]) -> list[FloatArray]:
    """Return the next chunk [T, F] of each of some streams, computed together; they may be kept."""
    taken: list[FloatArray] = [_EMPTY] * len(streams)
    for count in {stream.missing for stream in streams}:
        alike = [index for index, stream in enumerate(streams) if stream.missing == count]
        samples = np.stack([streams[index].samples() for index in alike])
        for index, new in zip(alike, streams[0].frames(samples, count), strict=True):
            taken[index] = new
    return [stream.joined(new) for stream, new in zip(streams, taken, strict=True)]
