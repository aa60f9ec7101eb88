"""Band energies of overlapping frames of a signal: what both numpy front ends do before the log.

T frames, F mel bands. Nearly all of a front end's time is spent here, and on small students the front end is
a fifth of all time.
"""

from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from kdcompress.aliases import FloatArray

BLOCK = 96
"""Frames that are computed at a time: their buffers, 0.6 MB, stay in the second-level cache of most cores."""

# Filters are multiplied with the bins that they reach, in groups of so many bands.
_GROUPS = (0, 32, 64)
# numpy 2 writes into an array that it is given; numpy 1 computes in double precision whatever it is given.
_SINGLE = int(np.__version__.partition(".")[0]) >= 2
_rfft: Any = np.fft.rfft  # its types know double precision only


class BandEnergies:
    """Computes energies in buffers of its own: for one thread, one call at a time.

    Fresh arrays of this size would come from the system, and go back to it, in every call: the page faults
    took more time than the arithmetic.

    Attributes:
        signal: float32; the caller writes here what the frames of a block are cut from, (T - 1) × hop + W
            samples.
    """

    def __init__(self, window: FloatArray, filterbank: FloatArray, hop: int) -> None:
        """Prepare the buffers.

        Args:
            window: float32 [W].
            filterbank: float32 [N / 2 + 1, F], of the power spectrum of N points.
            hop: from frame to frame [samples].
        """
        bins, bands = filterbank.shape
        self._window = window
        self.signal = np.zeros((BLOCK - 1) * hop + len(window), np.float32)
        overlapping = np.lib.stride_tricks.sliding_window_view(self.signal, len(window))
        self._frames = overlapping[::hop]
        # Zeros around the window: the transform need not pad. Its place is that of `torch.stft`'s.
        self._padded = np.zeros((BLOCK, 2 * (bins - 1)), np.float32)
        before = (self._padded.shape[1] - len(window)) // 2
        self._windowed = self._padded[:, before : before + len(window)]
        self._spectrum = np.empty((BLOCK, bins), np.complex64)
        self._power = np.empty((BLOCK, bins), np.float32)
        # `norm="forward"` divides by N; the power by N², which is a power of two and rounds nothing.
        scaled = filterbank * np.float32((2 * (bins - 1)) ** 2)
        edges = [*(edge for edge in _GROUPS if edge < bands), bands]
        self._filters = [_reaching(scaled, first, stop) for first, stop in pairwise(edges)]

    def __call__(self, out: FloatArray, level: FloatArray | None = None) -> None:
        """Write the energies [T, F] of the first T frames of `signal`, T at most `BLOCK`.

        Args:
            out: float32 [T, F].
            level: float32 [T], subtracted from each frame before it is windowed.
        """
        frames = len(out)
        windowed, padded, spectrum = self._windowed[:frames], self._padded[:frames], self._spectrum[:frames]
        if level is None:
            np.multiply(self._frames[:frames], self._window, out=windowed)
        else:
            np.subtract(self._frames[:frames], level[:, None], out=windowed)
            np.multiply(windowed, self._window, out=windowed)
        if _SINGLE:
            # With another `norm`, numpy takes the factor 1 for a double and computes in double precision.
            _rfft(padded, norm="forward", out=spectrum)
        else:
            spectrum[:] = _rfft(padded, norm="forward")
        squares = spectrum.view(np.float32)
        np.square(squares, out=squares)
        power = np.add(squares[:, 0::2], squares[:, 1::2], out=self._power[:frames])
        for bands, bins, weights in self._filters:
            np.matmul(power[:, bins], weights, out=out[:, bands])


def _reaching(filterbank: FloatArray, first: int, stop: int) -> tuple[slice, slice, FloatArray]:
    """Return which bands, which bins they weigh, and the weights."""
    weighed = np.flatnonzero(filterbank[:, first:stop].any(axis=1))
    bins = slice(int(weighed[0]), int(weighed[-1]) + 1)
    return slice(first, stop), bins, np.ascontiguousarray(filterbank[bins, first:stop])


def frozen(values: npt.NDArray[np.float64]) -> FloatArray:
    """Return a table in float32 to be cached: who wrote into it would change every later result."""
    array = values.astype(np.float32)
    array.flags.writeable = False
    return array
