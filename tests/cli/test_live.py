"""`transcribe --live`: the command as a process, fed through a pipe, read through a pipe or a terminal."""

import io
import json
import os
import select
import signal
import subprocess
import sys
import time
import types
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from kdcompress.cli.start import main
from kdcompress.cli.transcribe.live import write_live
from kdcompress.errors import MissingExtra

Say = Callable[[str], npt.NDArray[np.float32]]

posix = pytest.mark.skipif(os.name == "nt", reason="written for a POSIX terminal")


def pcm(audio: npt.NDArray[np.float32]) -> bytes:
    return (audio * 32_767).astype("<i2").tobytes()


def command(bundle: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "kdcompress", "transcribe", str(bundle), "-", "--live", *options]


@pytest.fixture
def two(say: Say) -> npt.NDArray[np.float32]:
    return np.concatenate([say("ab c"), np.zeros(24_000, np.float32), say("ca")])


def test_a_pipe_gets_each_text_once_it_is_final(
    streaming_tone_bundle: Path, two: npt.NDArray[np.float32]
) -> None:
    process = subprocess.Popen(command(streaming_tone_bundle), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    # The first text is read before the second utterance, and an odd byte, are sent.
    process.stdin.write(pcm(two[: -len(two) // 4]))
    process.stdin.flush()
    assert process.stdout.readline() == b"ab c\n"
    process.stdin.write(pcm(two[-len(two) // 4 :]) + b"\x00")
    process.stdin.close()
    assert process.stdout.read() == b"ca\n"
    process.stdout.close()
    assert process.wait(60) == 0


def test_wav_of_any_rate_and_json_with_times(
    streaming_tone_bundle: Path,
    two: npt.NDArray[np.float32],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    import soxr

    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((2, 2, 48_000, 0, "NONE", ""))
        high = soxr.resample(two, 16_000, 48_000)
        writer.writeframes(pcm(np.stack([high, high], axis=1)))
    data = bytearray(file.getvalue())
    data[4:8] = data[40:44] = b"\xff\xff\xff\xff"  # as ffmpeg writes to a pipe: how long is not known
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=io.BytesIO(data), isatty=lambda: False))
    write_live(streaming_tone_bundle, as_json=True)
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [line["text"] for line in lines if line["final"]] == ["ab c", "ca"]
    assert [line["text"] for line in lines if not line["final"]][:3] == ["a", "ab", "ab c"]
    words = [line for line in lines if line["final"]][1]["words"]
    assert [word["text"] for word in words] == ["ca"]
    assert 3.5 < words[0]["start"] < words[0]["end"] < len(two) / 16_000 + 0.5


@posix
def test_a_terminal_shows_the_text_grow_and_an_interrupt_keeps_it(
    streaming_tone_bundle: Path, say: Say
) -> None:
    import pty

    master, slave = pty.openpty()
    process = subprocess.Popen(command(streaming_tone_bundle), stdin=subprocess.PIPE, stdout=slave)
    os.close(slave)
    assert process.stdin is not None
    process.stdin.write(pcm(np.pad(say("ab c"), (0, 9600))))
    process.stdin.flush()
    shown, until = b"", time.monotonic() + 60
    while b"ab c" not in shown and time.monotonic() < until:
        if select.select([master], [], [], 1)[0]:
            shown += os.read(master, 1000)
    assert b"\r\x1b[Ka\r\x1b[Kab\r\x1b[Kab c" in shown
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    rest = b""
    while select.select([master], [], [], 0)[0]:
        try:
            rest += os.read(master, 1000)
        except OSError:  # the other end is closed
            break
    os.close(master)
    process.stdin.close()
    assert rest.endswith(b"\r\x1b[Kab c\r\n")


def test_a_microphone_is_listened_to_until_an_interrupt(
    streaming_tone_bundle: Path, say: Say, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    device = types.ModuleType("sounddevice")

    class InputStream:
        """Gives a recording to its callback block by block, then an interrupt comes."""

        def __init__(self, rate: int, size: int, callback: Callable[..., None], **_: object) -> None:
            samples = np.frombuffer(pcm(say("b a")), "<i2")[:, None]
            for start in range(0, len(samples), size):
                callback(samples[start : start + size], size, None, None)

        def __enter__(self) -> None:
            pass

        def __exit__(self, *_: object) -> None:
            pass

    class Interrupting:
        def __init__(self) -> None:
            self.blocks: list[object] = []
            self.put = self.blocks.append

        def get(self) -> object:
            if not self.blocks:
                raise KeyboardInterrupt
            return self.blocks.pop(0)

    device.query_devices = lambda kind: {"default_samplerate": 16_000.0}  # type: ignore[attr-defined]
    device.InputStream = InputStream  # type: ignore[attr-defined]
    device.PortAudioError = RuntimeError  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sounddevice", device)
    monkeypatch.setattr("kdcompress.cli.transcribe.live.SimpleQueue", Interrupting)
    write_live(streaming_tone_bundle, microphone=True)
    assert capfd.readouterr().out == "b a\n"
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(MissingExtra, match=r"pip install 'kdcompress\[microphone\]'"):
        write_live(streaming_tone_bundle, microphone=True)


@pytest.mark.parametrize(
    ("options", "data", "message"),
    [
        (["x.wav", "--live"], b"", "as audio give -"),
        (["-", "--live", "--microphone"], b"", "nothing beside --microphone"),
        (["-", "--microphone"], b"", "add --live"),
        (["-", "--live", "--format", "srt"], b"", "cannot be written as srt"),
        (["-", "--live", "--beam", "4"], b"", "best path of one stream"),
        (["-", "--live"], b"RIFF1234OggS", "send 16-bit PCM"),
    ],
)
def test_what_cannot_be_live_is_refused(
    streaming_tone_bundle: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    options: list[str],
    data: bytes,
    message: str,
) -> None:
    monkeypatch.setattr(sys, "argv", ["kdcompress", "transcribe", str(streaming_tone_bundle), *options])
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=io.BytesIO(data), isatty=lambda: False))
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code in {1, 2}
    assert message in " ".join(capfd.readouterr().err.split())
