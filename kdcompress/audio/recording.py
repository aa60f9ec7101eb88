"""Files are opened as recordings: something that plays samples [S, channels] from wherever one likes.

Which reader plays a file is decided by its first bytes, never by its name. libsndfile reads what it knows;
MP3s have their frames counted first, joined files are played part by part, and what else there is (m4a, webm,
wma, amr, video) takes PyAV.
"""

import io
import mmap
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from io import FileIO
from pathlib import Path
from typing import Protocol

import soundfile

from kdcompress.aliases import FloatArray
from kdcompress.audio import joined, mpeg
from kdcompress.audio.libsndfile import LibsndfileRecording
from kdcompress.audio.mpeg_frames import Header
from kdcompress.audio.packed import read_packed
from kdcompress.audio.sniff import AUDIO_SUFFIXES, NEEDS_AV, kind_of
from kdcompress.audio.splice import Bytes, Splice
from kdcompress.errors import AudioError

_KNOWN = ", ".join(suffix[1:] for suffix in AUDIO_SUFFIXES)
_SMALL = 1 << 20  # [bytes] up to which reading a file is cheaper than mapping it


class Recording(Protocol):
    """An open audio file.

    Attributes:
        rate: [Hz].
        channels: number of channels.
        samples: per channel, exactly; None where only decoding can tell.
    """

    rate: int
    channels: int
    samples: int | None

    def blocks(self, first: int, size: int) -> Iterator[FloatArray]:
        """Yield samples [S, channels] from `first` on, `size` at a time, until the end.

        Raises:
            soundfile.LibsndfileError: the file is damaged.
            AudioError: likewise.
        """


@contextmanager
def open_recording(path: Path, *, header_only: bool = False) -> Iterator[Recording]:
    """Open an audio file that holds at least one sample.

    Args:
        path: of any format that is read.
        header_only: only the length is asked for, and not to be found out anew where a header promises it
            exactly; such a recording plays nothing.

    Raises:
        AudioError: the file is missing, empty or not audio, or cut short in a way that its size tells.
    """
    if (inside := read_packed(path)) is not None:
        with _packed_recording(path, inside[1]) as packed:
            yield packed
        return
    status = _status(path)
    try:
        with open(path, "rb", buffering=0) as file:
            kind = kind_of(file.read(64), file)
            if kind == "mp3":
                if header_only and (promised := mpeg.promised_samples(file, status.st_size)):
                    yield _Promised(*promised)
                    return
                with _content(file, status.st_size) as data:
                    yield _Mp3(path, data, _mp3_parts(path, status.st_mtime_ns, status.st_size))
                return
            if kind in {"flac", "ogg", "wav"}:
                ranges = _ranges(path, status.st_mtime_ns, status.st_size)
                if len(ranges) > 1:
                    with _content(file, status.st_size) as data:
                        yield _Joined(path, data, ranges)
                    return
            try:
                recording = LibsndfileRecording(os.fsencode(path) if os.name != "nt" else path, path)
            # A TypeError is how soundfile says that a file named .raw has no header.
            except (soundfile.LibsndfileError, TypeError) as error:
                if kind not in NEEDS_AV:
                    raise AudioError(_not_audio(path, error)) from error
                from kdcompress.audio.ffmpeg import open_ffmpeg

                with open_ffmpeg(path, NEEDS_AV[kind]) as decoded:
                    yield decoded
                return
            with recording:
                if recording.kind != "MP3":
                    yield recording
                    return
            # Something lies before its first frame.
            with _content(file, status.st_size) as data:
                yield _Mp3(path, data, _mp3_parts(path, status.st_mtime_ns, status.st_size))
    except OSError as error:
        raise AudioError(f"{path} cannot be read: {error.strerror or error}") from error


@contextmanager
def _packed_recording(path: Path, data: bytes) -> Iterator[Recording]:
    """Open what lies inside another file."""
    kind = kind_of(data[:64], io.BytesIO(data))
    if kind == "mp3":
        yield _Mp3(path, data, mpeg.parts(path, data))
        return
    if kind in {"flac", "ogg", "wav"} and len(ranges := joined.ranges(data)) > 1:
        yield _Joined(path, data, ranges)
        return
    try:
        recording = LibsndfileRecording(io.BytesIO(data), path)
    except (soundfile.LibsndfileError, TypeError) as error:
        if kind in NEEDS_AV:
            raise AudioError(f"{path} is {kind}, which is read from files only: unpack it") from error
        raise AudioError(_not_audio(path, error)) from error
    with recording:
        if recording.kind == "MP3":
            yield _Mp3(path, data, mpeg.parts(path, data))
        else:
            yield recording


def _not_audio(path: Path, error: Exception) -> str:
    reason = error.error_string if isinstance(error, soundfile.LibsndfileError) else "no header"
    reason = reason.removeprefix("Error : ").strip(" .")
    return f"{path} is not audio in a format that is read ({_KNOWN}): {reason}"


def _status(path: Path) -> os.stat_result:
    try:
        status = os.stat(path)
    except OSError as error:
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            raise AudioError(f"no such audio file: {path}") from error
        raise AudioError(f"{path} cannot be read: {error.strerror}") from error
    if stat.S_ISDIR(status.st_mode):
        raise AudioError(f"{path} is a folder, expected an audio file ({_KNOWN})")
    if not stat.S_ISREG(status.st_mode):
        raise AudioError(
            f"{path} is a pipe or a device, which only `kdcompress transcribe` reads: write it to a file"
        )
    if not status.st_size:
        raise AudioError(f"{path} is empty (0 bytes), expected an audio file ({_KNOWN})")
    return status


@contextmanager
def _content(file: FileIO, size: int) -> Iterator[Bytes]:
    file.seek(0)
    if size <= _SMALL:
        yield file.read()
        return
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        yield data


@lru_cache(maxsize=1 << 16)
def _ranges(path: Path, _changed: int, size: int) -> list[tuple[int, int]]:
    """Look for joined recordings once, however often the file is read: an epoch reads each again."""
    with open(path, "rb", buffering=0) as file, _content(file, size) as data:
        return joined.ranges(data)


@lru_cache(maxsize=32)
def _mp3_parts(path: Path, _changed: int, size: int) -> list[mpeg.Part]:
    """Count the frames of an MP3 once, however many stretches of it are read."""
    with open(path, "rb", buffering=0) as file, _content(file, size) as data:
        return mpeg.parts(path, data)


class _Promised:
    """What a header says; plays nothing."""

    def __init__(self, samples: int, header: Header) -> None:
        self.samples: int | None = samples
        self.rate, self.channels = header.rate, header.channels

    def blocks(self, first: int, size: int) -> Iterator[FloatArray]:
        raise NotImplementedError


class _Mp3:
    """An MP3 whose frames are counted."""

    def __init__(self, path: Path, data: Bytes, parts: list[mpeg.Part]) -> None:
        self._path, self._data, self._parts = path, data, parts
        self.rate = parts[0].header.rate
        self.channels = parts[0].header.channels
        self.samples: int | None = sum(part.samples for part in parts)

    def blocks(self, first: int, size: int) -> Iterator[FloatArray]:
        for part in self._parts:
            if first >= part.samples:
                first -= part.samples
                continue
            stream, before = mpeg.splice(self._data, part, first)
            with LibsndfileRecording(stream, self._path, seekable=False) as recording:
                left = part.samples - first
                for block in recording.blocks(before, size):
                    yield block[:left]
                    left -= len(block)
                    if left <= 0:
                        break
            first = 0


class _Joined:
    """Recordings of one kind, one behind the other."""

    def __init__(self, path: Path, data: Bytes, ranges: list[tuple[int, int]]) -> None:
        self._path, self._data = path, data
        self._ranges: list[tuple[int, int, int | None]] = []
        kinds = []
        for begin, end in ranges:
            try:
                with LibsndfileRecording(Splice([(data, begin, end)]), path) as part:
                    kinds.append((part.rate, part.channels))
                    self._ranges.append((begin, end, part.samples))
            except soundfile.LibsndfileError as error:
                raise AudioError(
                    f"{path} is joined of {len(ranges)} recordings, of which number {len(self._ranges) + 1} "
                    f"is damaged ({error.error_string.strip(' .')}); take it apart, or mend it: ffmpeg -i "
                    f"{path.name} {path.stem}-mended.flac"
                ) from error
        if len(set(kinds)) > 1:
            found = " and ".join(f"{rate} Hz, {channels} channels" for rate, channels in sorted(set(kinds)))
            raise AudioError(
                f"{path} is joined of recordings that differ ({found}); bring them to one rate and number of "
                f"channels before you join them"
            )
        self.rate, self.channels = kinds[0]
        lengths = [samples for _, _, samples in self._ranges]
        self.samples = None if None in lengths else sum(filter(None, lengths))

    def blocks(self, first: int, size: int) -> Iterator[FloatArray]:
        for begin, end, samples in self._ranges:
            if samples is not None and first >= samples:
                first -= samples
                continue
            with LibsndfileRecording(Splice([(self._data, begin, end)]), self._path) as part:
                yield from part.blocks(first, size)
            first = 0
