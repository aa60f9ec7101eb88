"""Odd and damaged audio files, each read here and by FFmpeg: the right duration, or one line saying why not.

    python tests/faults/audio.py --count 2000 --speech DIR

A case follows from its number alone: a stretch of speech in one of many formats, joined, tagged, cut or
damaged. Cases run in processes of their own, by the hundred, since what is tested includes libraries in C.
tests/audio/test_faults.py runs a few.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from odd_audio import ape_tag, bare, cover_art, encoded, ffmpeg_seconds, write_with_ffmpeg

from kdcompress.audio.decode import probe, read_audio
from kdcompress.errors import AudioError

TOLERANCE = 0.05  # [s]
LONGEST = 400  # characters of an error

# Suffix, then container and codec of libsndfile, or the encoder of FFmpeg; rate [Hz], where only one will do.
FORMATS: list[tuple[str, str | None, str, int | None]] = [
    *[(".wav", "WAV", kind, None) for kind in ("PCM_16", "PCM_24", "PCM_U8", "FLOAT", "ULAW")],
    *[(".wav", "WAV", kind, None) for kind in ("IMA_ADPCM", "MS_ADPCM")],
    *[(".wav", "WAV", kind, 8000) for kind in ("GSM610", "G721_32")],
    *[(".flac", "FLAC", "PCM_16", None)] * 4,
    *[(".mp3", "MP3", kind, None) for kind in ("VARIABLE", "CONSTANT", "no count", "no count, constant")] * 2,
    *[(".ogg", "OGG", "VORBIS", None)] * 2,
    *[(".opus", "OGG", "OPUS", 48_000)] * 2,
    (".aiff", "AIFF", "PCM_16", None),
    (".au", "AU", "PCM_16", None),
    (".m4a", None, "aac", 44_100),
    (".mp4", None, "aac", 16_000),
    (".webm", None, "libopus", 48_000),
    (".wma", None, "wmav2", 22_050),
    (".amr", None, "libopencore_amrnb", 8000),
    (".aac", None, "aac", 16_000),
    (".mka", None, "flac", None),
]  # fmt: skip
JOINABLE = {".wav", ".flac", ".mp3", ".ogg", ".opus"}


@dataclass(frozen=True)
class Verdict:
    """What a case came to.

    Attributes:
        case: what was made of what.
        outcome: `right`, `refused`, `ours alone` where FFmpeg reads nothing, or a fault: `differs`, `probe
            differs`, `many lines`, `raised`.
        detail: durations, or the message.
    """

    number: int
    case: str
    outcome: str
    detail: str

    @property
    def is_fault(self) -> bool:
        return self.outcome not in {"right", "refused", "ours alone"}


def whole(path: Path, speech: Sequence[Path], rng: random.Random) -> tuple[str, bytes]:
    """Write a file that is sound; returns what it is, and its bytes."""
    suffix, container, codec, rate = rng.choice([one for one in FORMATS if one[0] == path.suffix])
    rate = rate or rng.choice([8000, 16_000, 44_100, 48_000])
    channels = rng.choice([1, 1, 2])
    if suffix == ".amr" or codec in {"GSM610", "G721_32"}:
        channels = 1
    samples = _speech(speech, rng, rate, channels)
    if container is None:
        write_with_ffmpeg(path, samples, rate, codec, video=suffix == ".mp4")
        return f"{codec} {rate} Hz", path.read_bytes()
    if container == "MP3":
        how: dict[str, Any] = {
            "bitrate_mode": "CONSTANT" if "onstant" in codec.lower() else "VARIABLE",
            "compression_level": rng.choice([0.1, 0.5, 0.9]),
        }
        data = encoded(samples, rate, "MP3", "MPEG_LAYER_III", **how)
        return f"mp3 {codec} {rate} Hz", bare(data) if codec.startswith("no count") else data
    return f"{container} {codec} {rate} Hz", encoded(samples, rate, container, codec)


def _speech(speech: Sequence[Path], rng: random.Random, rate: int, channels: int) -> npt.NDArray[np.float32]:
    if speech:
        found = read_audio(rng.choice(speech), sample_rate=rate)
        found = found[: round(rate * rng.uniform(0.5, 6))]
    else:
        random_samples = np.random.default_rng(rng.randrange(1 << 30))
        found = random_samples.normal(0, 0.1, round(rate * rng.uniform(0.5, 3))).astype(np.float32)
    # A second channel that is not the first, nor its opposite.
    return found if channels == 1 else np.stack([found, 0.5 * np.roll(found, 50)], axis=1)


def _flip(data: bytearray, rng: random.Random, first: int = 0, last: int | None = None) -> bytearray:
    for _ in range(rng.choice([1, 1, 3, 20])):
        data[rng.randrange(first, min(last or len(data), len(data)))] ^= 1 << rng.randrange(8)
    return data


def _hole(data: bytearray, rng: random.Random, filling: Callable[[int], bytes]) -> bytearray:
    at, size = rng.randrange(len(data)), rng.choice([10, 500, 5000])
    data[at : at + size] = filling(min(size, len(data) - at))
    return data


DAMAGES: dict[str, Callable[[bytearray, random.Random], bytes]] = {
    "nothing": lambda data, rng: data,
    "cut": lambda data, rng: data[: rng.randrange(1, len(data))],
    "cut by little": lambda data, rng: data[: -rng.randrange(1, min(2000, len(data)))],
    "bits": lambda data, rng: _flip(data, rng),
    "bits of the header": lambda data, rng: _flip(data, rng, 0, 100),
    "zeros within": lambda data, rng: _hole(data, rng, bytes),
    "noise within": lambda data, rng: _hole(data, rng, rng.randbytes),
    "bytes lost": lambda data, rng: _hole(data, rng, lambda size: b""),
    "bytes more": lambda data, rng: _hole(data, rng, lambda size: bytes(size) + rng.randbytes(size)),
    "beginning lost": lambda data, rng: data[rng.randrange(1, min(3000, len(data))) :],
    "zeros behind": lambda data, rng: bytes(data) + bytes(rng.randrange(1, 20_000)),
    "noise behind": lambda data, rng: bytes(data) + rng.randbytes(rng.randrange(1, 5000)),
    "tag behind": lambda data, rng: bytes(data) + ape_tag(rng.randrange(10, 3000)) + b"TAG" + bytes(125),
    "picture before": lambda data, rng: cover_art(rng.randrange(100, 100_000)) + bytes(data),
    "size of a pipe": lambda data, rng: data[:4] + b"\xff\xff\xff\xff" + data[8:],
}


# What leaves a recording as long as it was, whatever FFmpeg leaves out as faulty or counts of the zeros.
AS_LONG = {"bits", "bits of the header", "zeros within", "noise within", "zeros behind", "noise behind",
           "tag behind", "picture before"}  # fmt: skip


def judge(number: int, speech: Sequence[Path], folder: Path) -> Verdict:
    """Make a case, read it twice, and compare."""
    rng = random.Random(number)
    suffix = rng.choice([one[0] for one in FORMATS])
    path = folder / f"{number}{suffix}"
    made, data = whole(path, speech, rng)
    truth, tolerance, before = None, TOLERANCE, None
    if suffix in JOINABLE and rng.random() < 0.15:
        case = f"{made}, joined"
        seconds = []
        parts = [data, whole(path, speech, rng)[1]] if rng.random() < 0.3 else [data] * rng.choice([2, 3])
        for part in parts:
            path.write_bytes(part)
            seconds.append(_ffmpeg(path))
        path.write_bytes(b"".join(parts))
        truth = None if None in seconds else sum(filter(None, seconds))
        tolerance *= len(parts)
    else:
        damage = rng.choice(sorted(DAMAGES))
        if damage == "size of a pipe" and suffix != ".wav":
            damage = "nothing"
        case = f"{made}, {damage}"
        if damage in AS_LONG:
            path.write_bytes(data)
            before = _ffmpeg(path)
        path.write_bytes(DAMAGES[damage](bytearray(data), rng))
        truth = _ffmpeg(path)
    outcome, detail = _compare(path, truth, tolerance)
    if outcome == "differs" and before is not None:
        outcome, detail = _compare(path, before, tolerance)
    path.unlink()
    return Verdict(number, case, outcome, detail)


def _compare(path: Path, truth: float | None, tolerance: float) -> tuple[str, str]:
    try:
        seconds = len(read_audio(path)) / 16_000
        found = probe(path).duration
    except AudioError as error:
        message = str(error)
        return ("refused" if "\n" not in message and len(message) < LONGEST else "many lines"), message
    except BaseException as error:
        return "raised", f"{type(error).__name__}: {error}"
    detail = (
        f"ours {seconds:.3f} s, probe {found:.3f} s, FFmpeg {truth if truth is None else round(truth, 3)} s"
    )
    if abs(seconds - found) > 0.001:
        return "probe differs", detail
    if truth is None or not truth:
        return "ours alone", detail
    if abs(seconds - truth) > tolerance and path.suffix in {".wav", ".au", ".aiff"}:
        # FFmpeg leaves out blocks that it finds faulty, and reads on behind the samples; its header does not.
        truth = _ffmpeg_header(path) or truth
    return ("right" if abs(seconds - truth) <= tolerance else "differs"), detail


def _ffmpeg(path: Path) -> float | None:
    import av

    try:
        return ffmpeg_seconds(path)
    except (av.FFmpegError, ValueError, IndexError):
        return None


def _ffmpeg_header(path: Path) -> float | None:
    import av

    with av.open(str(path)) as file:
        stream = file.streams.audio[0]
        return None if stream.duration is None else float(stream.duration * stream.time_base)


def main() -> int:
    """Run the cases and print what they came to; 1 where there is a fault."""
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--count", type=int, default=2000)
    options.add_argument("--first", type=int, default=0)
    options.add_argument("--speech", type=Path, action="append", default=[], help="folders with speech")
    options.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    given = options.parse_args()
    speech = sorted(p for d in given.speech for p in d.rglob("*") if p.suffix in {".flac", ".opus", ".wav"})
    if given.worker:
        warnings.simplefilter("ignore")
        with tempfile.TemporaryDirectory() as folder:
            for number in range(given.first, given.first + given.count):
                verdict = judge(number, speech, Path(folder))
                sys.stdout.write(json.dumps(verdict.__dict__) + "\n")
                sys.stdout.flush()
        return 0
    verdicts: list[Verdict] = []
    end, noisy = given.first + given.count, 0
    while (first := given.first + len(verdicts)) < end:
        command = [
            sys.executable,
            __file__,
            "--worker",
            "--first",
            str(first),
            "--count",
            str(min(100, end - first)),
        ]
        command += [part for folder in given.speech for part in ("--speech", str(folder))]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
        verdicts += [Verdict(**json.loads(line)) for line in done.stdout.splitlines()]
        noisy += sum("mpg123" in line for line in done.stderr.splitlines())
        if done.returncode:
            verdicts.append(Verdict(given.first + len(verdicts), "?", "died", done.stderr[-300:]))
    counts = Counter(verdict.outcome for verdict in verdicts)
    for verdict in verdicts:
        if verdict.is_fault:
            sys.stdout.write(f"{verdict.number} {verdict.outcome}: {verdict.case}: {verdict.detail}\n")
    sys.stdout.write(f"{len(verdicts)} files: {dict(counts.most_common())}; {noisy} lines of libmpg123\n")
    return any(verdict.is_fault for verdict in verdicts)


if __name__ == "__main__":
    sys.exit(main())
