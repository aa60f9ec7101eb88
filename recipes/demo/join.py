"""Join Opus clips into one file, packet by packet: each decodes at its offset to the samples it had alone.

    python join.py OUT.opus CLIP.opus ...   # prints a line of a manifest for each

A decoder remembers the packets before. Opus forgets them where the coding changes (RFC 6716, 4.5): before
every clip, whose first packet is of the linear-prediction kind, stands silence of the transform kind. The few
milliseconds that fade from one into the other lie in what an encoder adds in front of a clip, and no offset
reaches them. The silence is longer than the 80 ms that a reader decodes before the place it seeks (RFC 7845).
"""

import json
import struct
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import soundfile

GRANULES = 48_000  # [Hz] in which Ogg counts Opus, at any rate of the audio
SILENCE = bytes([23 << 3, 0xFF, 0xFE])  # 20 ms of the transform coder at 16 kHz
LEAD_IN = 5  # [packets of silence]
PAGE = 50  # [packets], about a second
FIRST, LAST = 2, 4  # flags of pages


def pages(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Take an Ogg file apart: granule position, lengths and bytes of each page."""
    at = 0
    while at < len(data):
        _, _, _, granule, _, _, _, count = struct.unpack_from("<4sBBqIIIB", data, at)
        lengths = data[at + 27 : at + 27 + count]
        at += 27 + count
        yield granule, lengths, data[at : at + sum(lengths)]
        at += sum(lengths)


def packets(path: Path) -> list[bytes]:
    """Return the packets of an Ogg file, its two headers first."""
    found, rest = [], b""
    for _, lengths, body in pages(path.read_bytes()):
        at = 0
        for length in lengths:
            rest += body[at : at + length]
            at += length
            if length < 255:
                found.append(rest)
                rest = b""
    return found


def duration(packet: bytes) -> int:
    """Return how long a packet of one frame sounds [1/48000 s]."""
    coding, frames = packet[0] >> 3, packet[0] & 3
    if frames:
        raise ValueError("expected packets of one frame")
    if coding < 12:
        return (480, 960, 1920, 2880)[coding % 4]
    return (480, 960)[coding % 2] if coding < 16 else (120, 240, 480, 960)[coding % 4]


def checksum(data: bytes, table: Sequence[int]) -> int:
    value = 0
    for byte in data:
        value = (value << 8 & 0xFFFFFFFF) ^ table[value >> 24 ^ byte]
    return value


def checksum_table() -> list[int]:
    table = []
    for value in range(256):
        value <<= 24
        for _ in range(8):
            value = value << 1 ^ (0x104C11DB7 if value >> 31 else 0)
        table.append(value)
    return table


class Writer:
    """An Ogg file of one stream, page by page."""

    def __init__(self, path: Path) -> None:
        self.file, self.number, self.table = path.open("wb"), 0, checksum_table()

    def page(self, packets: Sequence[bytes], granule: int, flags: int = 0) -> None:
        lengths = b"".join(bytes([255] * (len(packet) // 255) + [len(packet) % 255]) for packet in packets)
        head = struct.pack("<4sBBqII", b"OggS", 0, flags, granule, 1, self.number)
        body = bytes([len(lengths)]) + lengths + b"".join(packets)
        check = checksum(head + bytes(4) + body, self.table)
        self.file.write(head + struct.pack("<I", check) + body)
        self.number += 1


def join(clips: Sequence[Path], target: Path) -> list[tuple[float, float]]:
    """Write clips of the same form one after the other; return the offset and the duration of each [s].

    Raises:
        ValueError: the clips differ in form, begin with a packet of another kind, or decode to other samples.
    """
    writer, now, starts = Writer(target), 0, []
    header = packets(clips[0])[0]
    with writer.file:
        writer.page([header], 0, FIRST)
        writer.page([b"OpusTags" + struct.pack("<II", 0, 0)], 0)
        for clip in clips:
            head, _, *sound = packets(clip)
            if head != header or sound[0][0] >> 3 >= 12:
                raise ValueError(f"{clip} has another form than {clips[0]}, or begins in the transform coder")
            now += LEAD_IN * duration(SILENCE)
            writer.page([SILENCE] * LEAD_IN, now)
            starts.append(now)
            for first in range(0, len(sound), PAGE):
                some = sound[first : first + PAGE]
                now += sum(map(duration, some))
                end = clip == clips[-1] and first + PAGE >= len(sound)
                writer.page(some, now, LAST if end else 0)
    stretches = []
    with soundfile.SoundFile(target) as joined:
        for clip, start in zip(clips, starts, strict=True):
            alone, rate = soundfile.read(clip, dtype="float32")
            joined.seek(start * rate // GRANULES)
            if not np.array_equal(joined.read(len(alone), dtype="float32"), alone):
                raise ValueError(f"{clip} decodes to other samples in {target}")
            stretches.append((start / GRANULES, len(alone) / rate))
    return stretches


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    target, clips = Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]]
    for clip, (offset, seconds) in zip(clips, join(clips, target), strict=True):
        line = {"audio_filepath": target.name, "offset": offset, "duration": seconds, "id": clip.stem}
        sys.stdout.write(json.dumps(line) + "\n")
