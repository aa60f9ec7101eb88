"""What FFmpeg reads, by PyAV (the extra `av`): m4a, mp4, webm, wma, amr, video files.

Their headers promise lengths that decoding does not give, to within a frame or two; so each file is decoded
once to be measured, and remembered with marks along the way from which a stretch can be found again.
"""

from bisect import bisect_right
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kdcompress.aliases import FloatArray
from kdcompress.errors import AudioError

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame

_MARK = 4.0  # [s] between marks
_EARLY = 2  # marks before a stretch at which decoding begins: codecs need a run-up
_SLACK = 0.5  # [s] that containers round, and that a cut takes more than


@dataclass(frozen=True)
class _Measured:
    """What decoding a file showed.

    Attributes:
        marks: (sample, presentation time) of frames in order; the times are the container's.
    """

    rate: int
    channels: int
    samples: int
    marks: tuple[tuple[int, int], ...]


class FfmpegRecording:
    """A `Recording` that FFmpeg decodes."""

    def __init__(self, path: Path, format_: str, measured: _Measured) -> None:
        self._path, self._format, self._measured = path, format_, measured
        self.rate, self.channels = measured.rate, measured.channels
        self.samples: int | None = measured.samples

    def blocks(self, first: int, size: int) -> Iterator[FloatArray]:
        parts: list[FloatArray] = []
        held = 0
        for samples in self._from(first):
            parts.append(samples)
            held += len(samples)
            if held >= size:
                whole = np.concatenate(parts)
                for begin in range(0, held - held % size, size):
                    yield whole[begin : begin + size]
                parts, held = [whole[held - held % size :]], held % size
        if held:
            yield np.concatenate(parts)

    def _from(self, first: int) -> Iterator[FloatArray]:
        marks = self._measured.marks
        index = bisect_right(marks, (first, 1 << 62)) - 1 - _EARLY
        if index > 0:
            found = yield from self._behind_mark(first, marks[index : index + _EARLY + 1])
            if found:
                return
        at = 0
        with _decoding(self._path, self._format) as (container, stream):
            for frame in _frames(self._path, container, stream):
                yield from _behind(frame, at, first)
                at += frame.samples

    def _behind_mark(self, first: int, marks: Sequence[tuple[int, int]]) -> Generator[FloatArray, None, bool]:
        """Yield what comes from sample `first` on and return True; or False where no frame is at a mark."""
        import av

        samples = {time: sample for sample, time in marks}
        at: int | None = None
        with _decoding(self._path, self._format) as (container, stream):
            try:
                container.seek(marks[0][1], stream=stream)
                for frame in _frames(self._path, container, stream):
                    if at is None and frame.pts is not None:
                        at = samples.get(frame.pts)
                    if at is not None:
                        yield from _behind(frame, at, first)
                        at += frame.samples
                    elif frame.pts is None or frame.pts > marks[-1][1]:
                        return False
            except av.FFmpegError:  # this container cannot be sought in
                return False
            except AudioError:  # or a codec that does not begin in the middle
                if at is not None:
                    raise
        return at is not None


@contextmanager
def open_ffmpeg(path: Path, format_: str) -> Iterator[FfmpegRecording]:
    """Open a file of a format that FFmpeg knows.

    Raises:
        AudioError: PyAV is not installed, or the file has no sound, or is damaged or cut short.
    """
    try:
        import av  # noqa: F401  # asked for, not used here
    except ImportError as error:
        raise AudioError(
            f"{path}: this format ({format_}) takes PyAV, which is not installed: pip install "
            f"'kdcompress[av]', or convert it: ffmpeg -i {path.name} {path.stem}.flac"
        ) from error
    status = path.stat()
    yield FfmpegRecording(path, format_, _measure(path, format_, status.st_mtime_ns, status.st_size))


@lru_cache(maxsize=64)
def _measure(path: Path, format_: str, _changed: int, _size: int) -> _Measured:
    marks: list[tuple[int, int]] = []
    rate = channels = samples = 0
    with _decoding(path, format_) as (container, stream):
        promised = _promised(container, stream)
        for frame in _frames(path, container, stream):
            if not rate:
                rate, channels = frame.sample_rate, frame.layout.nb_channels
            if (frame.sample_rate, frame.layout.nb_channels) != (rate, channels):
                raise AudioError(
                    f"{path} changes from {rate} Hz, {channels} channels to {frame.sample_rate} Hz, "
                    f"{frame.layout.nb_channels} channels; make it one: "
                    f"ffmpeg -i {path.name} {path.stem}.flac"
                )
            if frame.pts is not None and (not marks or samples - marks[-1][0] >= _MARK * rate):
                marks.append((samples, frame.pts))
            samples += frame.samples
    if not samples:
        raise AudioError(f"{path} holds no samples ({format_}): it is empty or cut short")
    if promised is not None and samples / rate < promised - _SLACK:
        raise AudioError(
            f"{path} is cut short: its header promises {promised:.3f} s, "
            f"decoding ended at {samples / rate:.3f} s"
        )
    return _Measured(rate, channels, samples, tuple(marks))


def _promised(container: Any, stream: Any) -> float | None:
    """Return how long the sound is, as the container says; None where it does not, or only guesses."""
    if container.format.name.startswith(("mov", "caf", "avi")) and stream.duration:
        return float(stream.duration * stream.time_base)
    alone = len(container.streams) == 1
    if alone and container.duration and container.format.name.startswith(("matroska", "asf")):
        return float(container.duration / 1_000_000)
    return None


@contextmanager
def _decoding(path: Path, format_: str) -> Iterator[tuple[Any, Any]]:
    import av

    try:
        container = av.open(str(path), format=format_, metadata_errors="ignore")
    except (av.FFmpegError, ValueError) as error:
        raise AudioError(f"{path} is damaged or cut short ({_reason(error)})") from error
    with container:
        if not container.streams.audio:
            raise AudioError(f"{path} has no sound in it ({format_}, {len(container.streams)} streams)")
        stream = container.streams.best("audio") or container.streams.audio[0]
        if stream.codec_context is None:
            raise AudioError(f"{path} is damaged, or of a codec that FFmpeg does not know ({format_})")
        stream.codec_context.thread_count = 1
        yield container, stream


def _frames(path: Path, container: Any, stream: Any) -> "Iterator[AudioFrame]":
    import av

    seconds = 0.0
    try:
        for frame in container.decode(stream):
            if frame.samples:
                seconds += frame.samples / frame.sample_rate
                yield frame
    except (av.FFmpegError, ValueError) as error:
        raise AudioError(
            f"{path} is damaged after {seconds:.3f} s ({_reason(error)}); what is left of it can be had: "
            f"ffmpeg -i {path.name} {path.stem}.flac"
        ) from error


def _behind(frame: "AudioFrame", at: int, first: int) -> Iterator[FloatArray]:
    """Yield what a frame that begins at sample `at` has from sample `first` on [S, channels]."""
    if at + frame.samples <= first:
        return
    samples = frame.to_ndarray()
    if not frame.format.is_planar:
        samples = samples.reshape(-1, frame.layout.nb_channels).T
    if samples.dtype == np.uint8:
        samples = (samples.astype(np.float32) - 128) / 128
    elif samples.dtype.kind == "i":
        samples = samples / np.float32(2 ** (8 * samples.dtype.itemsize - 1))
    yield samples.T[max(first - at, 0) :].astype(np.float32, copy=False)


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error).strip().splitlines()[0].strip(" .")
