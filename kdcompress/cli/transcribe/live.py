"""What `kdcompress transcribe --live` does once its options are read: text goes out while audio comes in."""

import json
import shutil
import sys
import wave
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

from kdcompress.errors import AudioError, MissingExtra

if TYPE_CHECKING:
    from kdcompress.audio.decode import Samples
    from kdcompress.runtime.streaming.utterances import StreamResult

_RATE = 16_000  # [Hz] of samples without a header
_BLOCKS = 10  # a second


def write_live(
    bundle: Path,
    *,
    microphone: bool = False,
    as_json: bool = False,
    variant: str | None = None,
    provider: Literal["cpu", "cuda"] = "cpu",
    threads: int | None = None,
    endpoint_seconds: float = 1.2,
) -> None:
    """Transcribe standard input, or the microphone, while it goes on.

    A terminal shows the text so far, rewritten as it grows; files and pipes get texts that are final.
    Whatever ends the audio, an interrupt too, the text until then is written.

    Args:
        bundle: its directory.
        microphone: listen to it until an interrupt.
        as_json: write each result, partial ones too, as a line of JSON.
        variant: as for `Recognizer`, like the next.
        provider: where the model runs.
        threads: for the model; None takes one: chunks are small.
        endpoint_seconds: silence that ends a text [s].

    Raises:
        AudioError: the input is no audio that can be read as it comes, or there is no microphone.
        MissingExtra: sounddevice is not installed, and it is to be the microphone.
    """
    from kdcompress.runtime.recognizer import Recognizer
    from kdcompress.runtime.streaming.utterances import Endpointing
    from kdcompress.signals import signals_wait

    recognizer = Recognizer(bundle, variant, provider, threads or 1)
    rules = Endpointing(silence=endpoint_seconds)
    with _microphone() if microphone else _standard_input() as (rate, blocks):
        stream, line = recognizer.stream(rate, rules), _Line(as_json)
        try:
            for block in blocks:
                with signals_wait():
                    line.show(stream.push(block))
        except KeyboardInterrupt:
            if not microphone:  # which nothing else ends
                raise
        finally:
            with signals_wait():
                line.show(stream.finish())


class _Line:
    """Where results are shown."""

    def __init__(self, as_json: bool) -> None:
        self._json, self._rewrites = as_json, sys.stdout.isatty() and not as_json

    def show(self, results: "Iterable[StreamResult]") -> None:
        for result in results:
            if self._json:
                sys.stdout.write(json.dumps(result.to_json(), ensure_ascii=False) + "\n")
            elif self._rewrites:
                from kdcompress.cli.screen import harmless

                text = harmless(result.text)
                # A line that the terminal wraps could not be rewritten: what was said last is shown.
                shown = text if result.final else text[-(shutil.get_terminal_size().columns - 1) :]
                sys.stdout.write(f"\r\x1b[K{shown}" + "\n" * result.final)
            elif result.final:
                sys.stdout.write(f"{result.text}\n")
        sys.stdout.flush()


@contextmanager
def _standard_input() -> "Iterator[tuple[int, Iterator[Samples]]]":
    """Give the rate [Hz] and the blocks [S] of a WAV file, or of bare 16-bit samples."""
    source = sys.stdin.buffer
    if sys.stdin.isatty():
        raise AudioError(
            "standard input is a terminal: pipe audio into it (16-bit samples at 16 kHz, or WAV), or give "
            "--microphone"
        )
    head = source.read(4)
    if head != b"RIFF":
        yield _RATE, _bare(_Resumed(head, source))
        return
    try:
        resumed: Any = _Resumed(head, source)
        file: wave.Wave_read = wave.open(resumed)  # noqa: SIM115  # it lasts as long as the pipe
    except (wave.Error, EOFError) as error:
        raise AudioError(
            f"standard input is WAV that cannot be read as it comes ({error}); send 16-bit PCM: "
            "ffmpeg … -c:a pcm_s16le -f wav -"
        ) from error
    if file.getsampwidth() != 2:
        raise AudioError(
            f"standard input is WAV of {8 * file.getsampwidth()} bits; send 16-bit PCM: "
            "ffmpeg … -c:a pcm_s16le -f wav -"
        )
    yield file.getframerate(), _frames(file)


class _Resumed:
    """A pipe whose first bytes were read already."""

    def __init__(self, head: bytes, rest: BinaryIO) -> None:
        self._head, self._rest = head, rest

    def read(self, size: int) -> bytes:
        head, self._head = self._head[:size], self._head[size:]
        return head + self._rest.read(size - len(head))


def _bare(source: _Resumed) -> "Iterator[Samples]":
    import numpy as np

    while data := source.read(2 * _RATE // _BLOCKS):
        yield np.frombuffer(data[: len(data) // 2 * 2], "<i2")


def _frames(file: wave.Wave_read) -> "Iterator[Samples]":
    import numpy as np

    width = 2 * file.getnchannels()
    while data := file.readframes(max(file.getframerate() // _BLOCKS, 1)):
        samples = np.frombuffer(data[: len(data) // width * width], "<i2").reshape(-1, file.getnchannels())
        yield samples.mean(axis=1, dtype=np.float32) / np.float32(2**15)


@contextmanager
def _microphone() -> "Iterator[tuple[int, Iterator[Samples]]]":
    """Open the system's microphone at its own rate; gives that [Hz] and endless blocks [S, 1]."""
    try:
        import sounddevice
    except ImportError as error:
        raise MissingExtra("sounddevice", "microphone", "--microphone") from error
    except OSError as error:
        raise AudioError(
            f"--microphone needs the library PortAudio, which sounddevice does not find ({error}): "
            "apt install libportaudio2, or pipe audio in: arecord -f S16_LE -r 16000 | kdcompress …"
        ) from error
    heard: SimpleQueue[Any] = SimpleQueue()
    try:
        rate = int(sounddevice.query_devices(kind="input")["default_samplerate"])
        with sounddevice.InputStream(
            rate, rate // _BLOCKS, channels=1, dtype="int16", callback=lambda data, *_: heard.put(data.copy())
        ):
            yield rate, (heard.get() for _ in count())
    except sounddevice.PortAudioError as error:
        raise AudioError(
            f"there is no microphone that can be opened ({error}); pipe audio in instead"
        ) from error
