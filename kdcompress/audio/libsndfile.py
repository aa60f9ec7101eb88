"""What libsndfile reads, played from the beginning to the end without a seek between two blocks."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import soundfile

from kdcompress.aliases import FloatArray
from kdcompress.audio.joined import PIPE_SIZE
from kdcompress.errors import AudioError

# libsndfile trims a WAV's length to the file's and says so in its log only.
_WAV_TRIMMED = re.compile(r"^data : (\d+) \(should be (\d+)\)", re.MULTILINE)

# A block that does not begin as blocks do is decoded to noise, and told in that log, too.
_OUT_OF_STEP = re.compile(r"ADPCM synchronisation error")

# libsndfile's stand-in for "the header does not say" is 2^63 - 1; no file holds a tenth of that.
_UNKNOWN_LENGTH = 2**60


class _Forwards(soundfile.SoundFile):  # type: ignore[misc]  # untyped
    """A sound file whose `read` goes on where the last one ended.

    soundfile tells and seeks with every read, which GSM 6.10 and its like cannot, and which costs MP3 the
    bits that a frame borrows from the one before.
    """

    def seekable(self) -> bool:
        return False


class LibsndfileRecording:
    """A `Recording` that libsndfile decodes.

    Attributes:
        kind: libsndfile's name of the format.

    Raises:
        soundfile.LibsndfileError: it is none that libsndfile knows.
        TypeError: nor does its name help.
        AudioError: it holds no samples, or is cut short in a way that its size tells.
    """

    def __init__(self, file: Any, path: Path, *, seekable: bool = True) -> None:
        """Open a file by its name or a stream; `path` is for messages.

        With `seekable` False all before a stretch is decoded, as it is where a format cannot be sought in.
        """
        self._file = _Forwards(file)
        self._path = path
        self._seekable: bool = seekable and soundfile.SoundFile.seekable(self._file)
        self.rate: int = self._file.samplerate
        self.channels: int = self._file.channels
        frames: int = self._file.frames
        self.samples: int | None = None if frames > _UNKNOWN_LENGTH else frames
        self.kind: str = self._file.format
        self._has_blocks = self._file.subtype in {"MS_ADPCM", "IMA_ADPCM"}
        if frames <= 0:
            self._file.close()
            raise AudioError(f"{path} holds no samples ({self.kind}): it is empty or cut short")
        if self.kind in {"WAV", "WAVEX"}:
            trimmed = _WAV_TRIMMED.search(self._file.extra_info)
            if trimmed and int(trimmed[2]) < int(trimmed[1]) < PIPE_SIZE:
                self._file.close()
                raise AudioError(
                    f"{path} is cut short: its header promises {trimmed[1]} bytes of samples, "
                    f"it has {trimmed[2]}"
                )

    def __enter__(self) -> "LibsndfileRecording":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def blocks(self, first: int, size: int) -> Iterator[FloatArray]:
        if first and self._seekable:
            self._file.seek(first)
            first = 0
        while True:
            # What cannot be sought in is played up to there.
            wanted = min(first, size) or size
            block: FloatArray = self._file.read(wanted, dtype="float32", always_2d=True)
            if self._has_blocks and _OUT_OF_STEP.search(self._file.extra_info):
                raise AudioError(
                    f"{self._path} is damaged: not all {self._file.subtype} blocks begin as they should; "
                    f"what is left of it can be had: ffmpeg -i {self._path.name} mended.wav"
                )
            if not first:
                if not len(block):
                    return
                yield block
            if len(block) < wanted:
                return
            first -= wanted if first else 0
