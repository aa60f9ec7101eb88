"""Files become waveforms: float32, mono, 16 kHz (soxr)."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import soundfile

from kdcompress.aliases import FloatArray
from kdcompress.audio.recording import Recording, open_recording
from kdcompress.audio.utterance import SAMPLE_RATE, Utterance
from kdcompress.errors import AudioError

# [s] Manifests round durations to a hundredth or a tenth; more than this is a wrong manifest.
_TOLERANCE = 0.05

# Share of the power that unrelated channels would have: a mix with less has lost what is in them.
_CANCELLED = 0.01

Samples: TypeAlias = npt.NDArray[np.floating[Any]] | npt.NDArray[np.integer[Any]]


@dataclass(frozen=True, slots=True)
class Probe:
    """What is known of an audio file without its samples.

    Attributes:
        duration: [s].
        sample_rate: [Hz].
        channels: number of channels, mixed to one by `read_audio` unless one is chosen.
    """

    duration: float
    sample_rate: int
    channels: int


def probe(path: Path) -> Probe:
    """Find out how long an audio file is: from its header where that is exact, else by counting or decoding.

    Raises:
        AudioError: the file is missing, empty or not audio, or its length had to be found and it is damaged.
    """
    with open_recording(path, header_only=True) as recording:
        return Probe(_length(path, recording) / recording.rate, recording.rate, recording.channels)


def read_audio(
    path: Path,
    start: float = 0.0,
    duration: float | None = None,
    *,
    sample_rate: int = SAMPLE_RATE,
    channel: int | None = None,
) -> FloatArray:
    """Decode a stretch of an audio file into a waveform [S] float32, resampled.

    Args:
        path: of any format, rate and channel count.
        start: where the stretch begins [s].
        duration: its length [s]; None reads to the end.
        sample_rate: of the result [Hz].
        channel: the one to take, from 0; None averages them.

    Raises:
        AudioError: the file is missing, empty, not audio or cut short, the stretch ends more than 0.05 s
            beyond its end, there is no such channel, samples are not finite, or channels cancel out.
    """
    blocks = list(_mono(path, start, duration, None, channel))
    rate, mono = blocks[0]
    if len(blocks) > 1:
        mono = np.concatenate([mono for _, mono in blocks])
    if rate != sample_rate:
        count, mono = len(mono), resampled(mono, rate, sample_rate)
        if not len(mono):
            raise AudioError(
                f"{path}: {count} samples at {rate} Hz are too few to make one of {sample_rate} Hz"
            )
    return np.ascontiguousarray(mono, dtype=np.float32)


def read_utterance(utterance: Utterance) -> FloatArray:
    """Decode an utterance into a waveform [S] float32 at 16 kHz; raises as `read_audio`."""
    return read_audio(utterance.audio, utterance.start, utterance.duration, channel=utterance.channel)


def resampled(mono: FloatArray, rate: int, sample_rate: int = SAMPLE_RATE) -> FloatArray:
    """Bring a waveform [S] from one rate to another [Hz]."""
    import soxr  # not above: most audio for a recogniser has its rate

    samples: FloatArray = soxr.resample(mono, rate, sample_rate, quality="HQ")
    return samples


def to_mono(samples: Samples, sample_rate: int = SAMPLE_RATE) -> FloatArray:
    """Turn samples in memory into a mono waveform [S] at 16 kHz.

    Args:
        samples: [S] or [S, channels], floats within ±1 or integers of full scale.
        sample_rate: of them [Hz].

    Raises:
        AudioError: they are of another shape or type, or hold what is no number.
    """
    array = np.asarray(samples)
    if array.ndim not in {1, 2} or (array.ndim == 2 and array.shape[1] > max(array.shape[0], 1)):
        raise AudioError(f"expected samples [S] or [S, channels], found shape {list(array.shape)}")
    if sample_rate < 1:
        raise AudioError(f"sample_rate must be above 0 Hz, found {sample_rate}")
    if array.dtype.kind == "i":
        array = array / np.float32(2 ** (8 * array.dtype.itemsize - 1))
    elif array.dtype.kind != "f":
        raise AudioError(f"expected floats or signed integers, found {array.dtype}")
    mono = (array if array.ndim == 1 else array.mean(axis=1)).astype(np.float32, copy=False)
    if not np.isfinite(mono).all():
        raise AudioError("the audio holds samples that are not numbers")
    if sample_rate != SAMPLE_RATE and len(mono):
        mono = resampled(mono, sample_rate)
    return np.ascontiguousarray(mono)


def read_blocks(
    path: Path,
    seconds: float = 10.0,
    start: float = 0.0,
    duration: float | None = None,
    *,
    channel: int | None = None,
) -> Iterator[FloatArray]:
    """Decode piece by piece what `read_audio` gives at once, in memory for one piece.

    Args:
        path: as for `read_audio`, like the last three.
        seconds: that are decoded at a time; a piece is about that long.
        start: [s].
        duration: [s].
        channel: from 0.

    Yields:
        Pieces of the waveform [S] float32, mono, 16 kHz; none is empty.

    Raises:
        AudioError: as for `read_audio`, once the reader gets there.
    """
    resampler = None
    for rate, mono in _mono(path, start, duration, seconds, channel):
        if rate != SAMPLE_RATE:
            if resampler is None:
                import soxr

                resampler = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")
            mono = resampler.resample_chunk(mono)
        if len(mono):
            yield np.ascontiguousarray(mono, dtype=np.float32)
    if resampler is not None:
        rest = resampler.resample_chunk(np.empty(0, np.float32), last=True)
        if len(rest):
            yield np.ascontiguousarray(rest)


def check_stretch(path: Path, length: float, start: float, duration: float | None) -> float:
    """Return how much of the stretch an audio file of this length has, all [s].

    Raises:
        AudioError: the stretch begins at or after the end, or ends more than 0.05 s beyond it.
    """
    end = length if duration is None else start + duration
    if not 0 <= start < min(end, length) or end > length + _TOLERANCE:
        raise AudioError(f"{path} lasts {length:.3f} s: cannot read from {start:.3f} s to {end:.3f} s")
    return length - start if duration is None or end > length else duration


def _length(path: Path, recording: Recording) -> int:
    """Return the number of samples, found by decoding where nothing else tells."""
    if recording.samples is not None:
        return recording.samples
    size = 60 * recording.rate
    try:
        return sum(len(block) for block in recording.blocks(0, size))
    except soundfile.LibsndfileError as error:
        raise AudioError(f"{path} is damaged or cut short ({_reason(error)})") from error


def _mono(
    path: Path, start: float, duration: float | None, seconds: float | None, channel: int | None
) -> Iterator[tuple[int, FloatArray]]:
    """Yield the rate [Hz] and one channel, chosen or mixed [S], of a stretch: in pieces, or all at once."""
    with open_recording(path) as recording:
        rate, known = recording.rate, recording.samples
        if channel is not None and not 0 <= channel < recording.channels:
            raise AudioError(f"{path} has no channel {channel}: it has {recording.channels}, counted from 0")
        if known is None and (start or duration is not None):
            known = _length(path, recording)
        first, wanted = 0, None
        if known is not None:
            stretch = check_stretch(path, known / rate, start, duration)
            first = min(round(start * rate), known - 1)
            wanted = max(min(round((start + stretch) * rate), known) - first, 1)
        size = (wanted or 60 * rate) if seconds is None else max(round(seconds * rate), 1)
        mix = _Mix(path, rate, channel)
        read = 0
        blocks = recording.blocks(first, min(size, wanted) if wanted is not None else size)
        while wanted is None or read < wanted:
            try:
                samples = next(blocks, None)
            except soundfile.LibsndfileError as error:
                promise = f": its header promises {known / rate:.3f} s" if known is not None else ""
                raise AudioError(f"{path} is damaged or cut short ({_reason(error)}){promise}") from error
            if samples is None:
                break
            if wanted is not None:
                samples = samples[: wanted - read]
            yield rate, mix(samples, first + read)
            read += len(samples)
    if not read or (wanted is not None and read < wanted):
        promise = f"its header promises {known / rate:.3f} s, " if known is not None else ""
        raise AudioError(f"{path} is cut short: {promise}decoding ended at {(first + read) / rate:.3f} s")
    mix.check()


class _Mix:
    """Channels become one, block by block, and it is noticed when they cancel out."""

    def __init__(self, path: Path, rate: int, channel: int | None) -> None:
        self._path, self._rate, self._channel = path, rate, channel
        self._mixed = self._apart = 0.0

    def __call__(self, samples: FloatArray, first: int) -> FloatArray:
        channels = samples.shape[1]
        if channels == 1:
            mono = samples[:, 0]
        elif self._channel is not None:
            mono = samples[:, self._channel]
        else:
            mono = samples.mean(axis=1)
            self._mixed += float(np.square(mono, dtype=np.float64).sum()) * channels**2
            self._apart += float(np.square(samples, dtype=np.float64).sum())
        # A sum is not finite if a sample is not, and takes no room; it may also overflow, so look again.
        with np.errstate(invalid="ignore", over="ignore"):
            total = mono.sum()
        if not np.isfinite(total) and not np.isfinite(mono).all():
            bad = int(np.flatnonzero(~np.isfinite(mono))[0])
            raise AudioError(
                f"{self._path} holds a sample that is not a number, at {(first + bad) / self._rate:.3f} s"
            )
        return np.ascontiguousarray(mono, dtype=np.float32)

    def check(self) -> None:
        if self._mixed < _CANCELLED * self._apart:
            raise AudioError(
                f"the channels of {self._path} cancel out when they are mixed (one is the other, inverted): "
                "choose one (--channels 0, data.channels: 0)"
            )


def _reason(error: soundfile.LibsndfileError) -> str:
    return str(error.error_string).removeprefix("Error : ").strip(" .")
