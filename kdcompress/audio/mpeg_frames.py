"""Frames of MPEG audio and the tags around them, as their first bytes tell."""

from collections.abc import Iterator
from dataclasses import dataclass

from kdcompress.audio.splice import Bytes

# [kbit/s] by index, of layer I, II, III in MPEG 1 and of layer I, then of II and III, in MPEG 2 and 2.5.
_RATES = {
    (1, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_HERTZ = (44_100, 48_000, 32_000)  # of MPEG 1; half of it in MPEG 2, a quarter in 2.5


@dataclass(frozen=True)
class Header:
    """What a frame's first four bytes say.

    Attributes:
        size: of the frame [bytes].
        samples: in it, per channel.
        rate: [Hz].
        side: [bytes] of side information, layer III.
    """

    version: float
    layer: int
    size: int
    samples: int
    rate: int
    channels: int
    side: int


def parse_header(data: bytes) -> Header | None:
    """Read a frame's header of four bytes; None where it is none, or of a free bit rate."""
    if len(data) < 4 or data[0] != 0xFF or data[1] & 0xE0 != 0xE0:
        return None
    version = (2.5, 0, 2.0, 1.0)[data[1] >> 3 & 3]
    layer = (0, 3, 2, 1)[data[1] >> 1 & 3]
    rate_index, hertz_index = data[2] >> 4, data[2] >> 2 & 3
    if not version or not layer or rate_index in {0, 15} or hertz_index == 3:
        return None
    rate = int(_HERTZ[hertz_index] / {1.0: 1, 2.0: 2, 2.5: 4}[version])
    bits = 1000 * _RATES[1 if version == 1 else 2, layer][rate_index]
    padding = data[2] >> 1 & 1
    channels = 1 if data[3] >> 6 == 3 else 2
    if layer == 1:
        return Header(version, 1, (12 * bits // rate + padding) * 4, 384, rate, channels, 0)
    samples = 576 if layer == 3 and version != 1 else 1152
    side = (17, 32) if version == 1 else (9, 17)
    return Header(
        version, layer, samples // 8 * bits // rate + padding, samples, rate, channels, side[channels - 1]
    )


def frame_sizes(header: Header) -> Iterator[tuple[int, int]]:
    """Yield the two bytes behind the first of a header, and the frame's size, of frames of one kind."""
    for second in range(0xE0, 0x100):
        for third in range(0x100):
            other = parse_header(bytes((0xFF, second, third, 0)))
            if other is not None and (other.version, other.layer, other.rate) == (
                header.version,
                header.layer,
                header.rate,
            ):
                yield second << 8 | third, other.size


def tag_length(data: Bytes, at: int) -> int:
    """Return how long the tag at an offset is [bytes], or the zeros up to the end; 0 if there are none."""
    head = bytes(data[at : at + 32])
    if head[:3] == b"ID3":
        return id3v2_length(head)
    if head[:3] == b"TAG" and len(data) - at == 128:
        return 128
    if head[:8] == b"APETAGEX" and len(head) == 32:
        # The size counts what follows this header, its twin at the end included; it may stand there only.
        return 32 + (int.from_bytes(head[12:16], "little") if head[23] & 0x20 or len(data) - at > 160 else 0)
    if head[:11] == b"LYRICSBEGIN":
        end = data.find(b"LYRICS200", at)
        return end + 9 - at if end > 0 else 0
    if head[:1] == b"\0" and not any(data[at:]):
        return len(data) - at
    return 0


def id3v2_length(head: bytes) -> int:
    if head[:3] != b"ID3" or len(head) < 10 or max(head[6:10]) > 0x7F:
        return 0
    size = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
    return 10 + size + (10 if head[5] & 0x10 else 0)


def silent_frame(head: bytes) -> bytes:
    """Return the largest frame of the kind that a header is of; it plays nothing, all in it is zero."""
    for rate in range(14, 0, -1):
        plain = bytes((0xFF, head[1] | 1, rate << 4 | (head[2] & 0x0C), head[3]))
        header = parse_header(plain)
        if header is not None:
            return plain.ljust(header.size, b"\0")
    raise AssertionError(head)


def mute_frame(frame: bytes, side: int) -> bytes:
    """Return a frame that plays nothing, while what later frames borrow from it and before it stays there."""
    body = frame[(4 if frame[1] & 1 else 6) + side :]
    # The side information begins with how many bytes are borrowed, 9 bits in MPEG 1, 8 in MPEG 2: all.
    head = bytes((frame[0], frame[1] | 1)) + frame[2:4] + (b"\xff\x80" if side in {17, 32} else b"\xff")
    return head.ljust(len(frame) - len(body), b"\0") + body
