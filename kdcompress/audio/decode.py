"""Files become waveforms: float32, mono, 16 kHz (soundfile and soxr)."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile

from kdcompress.audio.utterance import SAMPLE_RATE
from kdcompress.errors import AudioError

AUDIO_SUFFIXES: tuple[str, ...] = (".wav", ".flac", ".mp3", ".ogg", ".opus")

# Containers of compressed speech that libsndfile does not know.
_NEEDS_FFMPEG = frozenset({".m4a", ".mp4", ".webm", ".aac", ".wma", ".amr", ".mkv", ".mov", ".3gp"})

# [s] Manifests round durations to a hundredth or a tenth; more than this is a wrong manifest.
_TOLERANCE = 0.05

# libsndfile trims a WAV's length to the file's and says so in its log only. Sizes from 2^31 - 4096 on are
# what programs write to a pipe, whose end they cannot know.
_WAV_TRIMMED = re.compile(r"^data : (\d+) \(should be (\d+)\)", re.MULTILINE)
_PIPE_SIZE = 2**31 - 4096

# An MP3 frame borrows bits from those before it, which a seek does not fetch (and soundfile seeks after every
# read): so many samples are decoded before what is wanted, and dropped.
_MP3_RUN_UP = 10 * 1152

# libsndfile's stand-in for "the header does not say" is 2^63 - 1; no file holds a tenth of that.
_UNKNOWN_LENGTH = 2**60


@dataclass(frozen=True, slots=True)
class Probe:
    """What the header of an audio file says.

    Attributes:
        duration: [s].
        sample_rate: [Hz].
        channels: number of channels, mixed to one by `read_audio`.
    """

    duration: float
    sample_rate: int
    channels: int


def probe(path: Path) -> Probe:
    """Read the header of an audio file; nothing is decoded.

    Raises:
        AudioError: the file is missing, empty or not audio.
    """
    with _opened(path) as file:
        return Probe(file.frames / file.samplerate, file.samplerate, file.channels)


def read_audio(
    path: Path, start: float = 0.0, duration: float | None = None, *, sample_rate: int = SAMPLE_RATE
) -> npt.NDArray[np.float32]:
    """Decode a stretch of an audio file into a waveform [S] float32, channels averaged, resampled.

    Args:
        path: wav, flac, mp3, ogg or opus, of any rate and channel count.
        start: where the stretch begins [s].
        duration: its length [s]; None reads to the end.
        sample_rate: of the result [Hz].

    Raises:
        AudioError: the file is missing, empty, not audio or cut short, the stretch ends more than 0.05 s
            beyond its end, or samples are not finite.
    """
    with _opened(path) as file:
        rate = file.samplerate
        length = file.frames / rate
        stretch = check_stretch(Path(path), length, start, duration)
        first = min(round(start * rate), file.frames - 1)
        stop = round((start + stretch) * rate)
        wanted = max(min(stop, file.frames) - first, 1)
        try:
            samples = _read(file, first, wanted)
        except soundfile.LibsndfileError as error:
            raise AudioError(
                f"{path} is damaged or cut short ({_reason(error)}): its header promises {length:.3f} s"
            ) from error
        # The frame count in an MP3 header counts the encoder's padding too; elsewhere it is exact.
        slack = _TOLERANCE * rate if file.format == "MP3" else 0
    if wanted - len(samples) > slack or not len(samples):
        raise AudioError(
            f"{path} is cut short: its header promises {length:.3f} s, "
            f"decoding ended at {(first + len(samples)) / rate:.3f} s"
        )
    mono = samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1)
    if not np.isfinite(mono).all():
        bad = int(np.flatnonzero(~np.isfinite(mono))[0])
        raise AudioError(f"{path} holds a sample that is not a number, at {(first + bad) / rate:.3f} s")
    if rate != sample_rate:
        mono = resampled(mono, rate, sample_rate)
        if not len(mono):
            raise AudioError(
                f"{path}: {wanted} samples at {rate} Hz are too few to make one of {sample_rate} Hz"
            )
    return np.ascontiguousarray(mono, dtype=np.float32)


def resampled(
    mono: npt.NDArray[np.float32], rate: int, sample_rate: int = SAMPLE_RATE
) -> npt.NDArray[np.float32]:
    """Bring a waveform [S] from one rate to another [Hz]."""
    import soxr  # not above: most audio for a recogniser has its rate

    samples: npt.NDArray[np.float32] = soxr.resample(mono, rate, sample_rate, quality="HQ")
    return samples


def read_blocks(path: Path, seconds: float = 10.0) -> Iterator[npt.NDArray[np.float32]]:
    """Decode an audio file piece by piece into what `read_audio` gives at once, in memory for one piece.

    Args:
        path: as for `read_audio`.
        seconds: that are decoded at a time; a piece is about that long.

    Yields:
        Pieces of the waveform [S] float32, mono, 16 kHz; none is empty.

    Raises:
        AudioError: as for `read_audio`, once the reader gets there.
    """
    with _opened(path) as file:
        rate, read = file.samplerate, 0
        resampler = None
        if rate != SAMPLE_RATE:
            import soxr

            resampler = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")
        size = max(round(seconds * rate), 1)
        slack = _TOLERANCE * rate if file.format == "MP3" else 0
        while True:
            try:
                samples = _read(file, read, size)
            except soundfile.LibsndfileError as error:
                raise AudioError(
                    f"{path} is damaged or cut short ({_reason(error)}): its header promises "
                    f"{file.frames / rate:.3f} s"
                ) from error
            mono = samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1)
            if not np.isfinite(mono).all():
                bad = int(np.flatnonzero(~np.isfinite(mono))[0])
                raise AudioError(
                    f"{path} holds a sample that is not a number, at {(read + bad) / rate:.3f} s"
                )
            read += len(samples)
            ended = len(samples) < size
            if ended and file.frames - read > slack:
                raise AudioError(
                    f"{path} is cut short: its header promises {file.frames / rate:.3f} s, "
                    f"decoding ended at {read / rate:.3f} s"
                )
            if resampler is not None:
                mono = resampler.resample_chunk(np.ascontiguousarray(mono), last=ended)
            if len(mono):
                yield np.ascontiguousarray(mono, dtype=np.float32)
            if ended:
                return


def check_stretch(path: Path, length: float, start: float, duration: float | None) -> float:
    """Return how much of the stretch an audio file of this length has, all [s].

    Raises:
        AudioError: the stretch begins at or after the end, or ends more than 0.05 s beyond it.
    """
    end = length if duration is None else start + duration
    if not 0 <= start < min(end, length) or end > length + _TOLERANCE:
        raise AudioError(f"{path} lasts {length:.3f} s: cannot read from {start:.3f} s to {end:.3f} s")
    return min(end, length) - start


def _read(file: soundfile.SoundFile, first: int, wanted: int) -> npt.NDArray[np.float32]:
    """Decode samples [S, channels] from `first` on."""
    begin = max(first - _MP3_RUN_UP, 0) if file.format == "MP3" else first
    if file.tell() != begin:
        file.seek(begin)
    samples: npt.NDArray[np.float32] = file.read(first - begin + wanted, dtype="float32", always_2d=True)
    return samples[first - begin :]


@contextmanager
def _opened(path: Path) -> Iterator[soundfile.SoundFile]:
    """Open an audio file whose header promises at least one sample."""
    try:
        # Bytes: names of other encodings than UTF-8 cannot be encoded anew.
        file = soundfile.SoundFile(os.fsencode(path) if os.name != "nt" else path)
    # A TypeError is how soundfile says that a file named .raw has no header.
    except (soundfile.LibsndfileError, TypeError) as error:
        raise AudioError(_why_not(Path(path), error)) from error
    with file:
        if file.frames <= 0:
            raise AudioError(f"{path} holds no samples ({file.format}): it is empty or cut short")
        if file.frames > _UNKNOWN_LENGTH:
            raise AudioError(
                f"{path} does not say how long it is (a {file.format} written to a pipe); write it to a file"
            )
        trimmed = _WAV_TRIMMED.search(file.extra_info)
        if trimmed and int(trimmed[2]) < int(trimmed[1]) < _PIPE_SIZE:
            raise AudioError(
                f"{path} is cut short: its header promises {trimmed[1]} bytes of samples, it has {trimmed[2]}"
            )
        yield file


def _why_not(path: Path, error: Exception) -> str:
    known = ", ".join(suffix[1:] for suffix in AUDIO_SUFFIXES)
    if not path.exists():
        return f"no such audio file: {path}"
    if path.is_dir():
        return f"{path} is a folder, expected an audio file ({known})"
    if path.stat().st_size == 0:
        return f"{path} is empty (0 bytes), expected an audio file ({known})"
    if path.suffix.lower() in _NEEDS_FFMPEG:
        return f"{path}: {path.suffix} is not read; convert it: ffmpeg -i {path.name} {path.stem}.flac"
    return f"{path} is not audio in a format that is read ({known}): {_reason(error)}"


def _reason(error: Exception) -> str:
    text = error.error_string if isinstance(error, soundfile.LibsndfileError) else "no header"
    return text.removeprefix("Error : ").strip(" .")
