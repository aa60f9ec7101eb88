"""MP3 without guesses: a file's frames are counted, and decoded from wherever one likes.

Without a Xing, Info or VBRI frame nothing in an MP3 says how long it is, and a decoder divides the file's
size by the first frame's bit rate. That is wrong for a variable bit rate, for pictures in tags, and for
recordings joined one behind the other. Each frame's header says where the next one begins.
"""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from kdcompress.audio.mpeg_frames import (
    Header,
    frame_sizes,
    id3v2_length,
    mute_frame,
    parse_header,
    silent_frame,
    tag_length,
)
from kdcompress.audio.splice import Bytes, Splice
from kdcompress.errors import AudioError

_IN_A_ROW = 4  # frames that make a frame: two bytes of any data look like a header
_DECODER_DELAY = 529  # [samples] that a decoder is behind; an encoder's own delay comes on top
_RESERVOIR = 511  # [bytes] at most that a frame borrows from those before it
_RUN_UP = 3  # frames until the overlaps of the filters are full


@dataclass
class Part:
    """The frames of one recording.

    Attributes:
        offsets: [bytes] of its frames in the file.
        end: [bytes] of its last frame.
        skip: samples that encoder and decoder put in front.
        trim: samples that the encoder put behind.
        cut: [bytes] that its last frame lacks.
        promised: frames that its own first frame counts; None where it says nothing.
    """

    header: Header
    offsets: "array[int]" = field(default_factory=lambda: array("q"))
    end: int = 0
    skip: int = 0
    trim: int = 0
    cut: int = 0
    promised: int | None = None

    @property
    def samples(self) -> int:
        return max(len(self.offsets) * self.header.samples - self.skip - self.trim, 0)


def parts(path: Path, data: Bytes) -> list[Part]:
    """Find the recordings of an MP3 and the frames of each.

    Raises:
        AudioError: there are no frames, something else lies between them, or there are fewer than promised.
    """
    found: list[Part] = []
    sizes: dict[int, int] = {}  # [bytes] of the part's frames by the two bytes of a header that tell
    size_of = sizes.get
    infos = {at for mark in (b"Xing", b"Info", b"VBRI") for at in _all(data, mark)}
    part: Part | None = None
    at, end = 0, len(data)
    junk = None  # where something that is neither a frame nor a tag began
    while at + 4 <= end:
        size = size_of(data[at + 1] << 8 | data[at + 2]) if data[at] == 0xFF else None
        if part is not None and size is not None:
            if infos and infos & {at + 4 + part.header.side, at + 36}:
                part = None
                continue
            if part.promised is not None and len(part.offsets) == part.promised:
                # Frames beyond those that the first one counts are of a recording that was joined to it.
                part = Part(part.header)
                found.append(part)
            part.offsets.append(at)
            part.cut = max(at + size - end, 0)  # a recording may stop anywhere
            at = part.end = at + size
            continue
        header = _confirmed(data, at)
        if header is None:
            tag = tag_length(data, at)
            if tag:
                part, at = None, at + tag
            else:
                part, junk = None, at if junk is None else junk
                at = _next(data, at + 1)
            continue
        if junk is not None and (any(one.offsets for one in found) or _is_like(header, data, junk)):
            seconds = sum(p.samples / p.header.rate for p in found)
            raise AudioError(
                f"{path} is damaged after {seconds:.3f} s: {at - junk} bytes there are no MP3 frames; what "
                f"is left of it can be had: ffmpeg -i {path.name} -c copy mended.mp3"
            )
        junk = None
        part = _begin(data, at, header, infos)
        sizes.clear()
        sizes.update(frame_sizes(header))
        found.append(part)
        if part.end:  # it began with a frame that counts the others
            at = part.end
    found = [one for one in found if one.offsets]
    if not found:
        raise AudioError(f"{path} holds no MP3 frames: it is empty or cut short")
    _check_promises(path, found)
    return found


def splice(data: Bytes, part: Part, first: int) -> tuple[Splice, int]:
    """Make a stream that a decoder plays from sample `first` of a part on; its first frame tells its length.

    Returns:
        The stream, and how many samples lie in it before the one that was asked for.
    """
    first += part.skip
    header, frame = part.header, first // part.header.samples
    begin = run_up = max(frame - _RUN_UP, 0)
    borrowed = 0
    while begin and borrowed < _RESERVOIR and header.layer == 3:
        begin -= 1
        borrowed += part.offsets[begin + 1] - part.offsets[begin] - 6 - header.side
    silent = silent_frame(data[part.offsets[0] : part.offsets[0] + 4])
    if header.layer == 3:
        count = (1).to_bytes(4, "big") + (len(part.offsets) - begin + 1).to_bytes(4, "big")
        counting = silent[: 4 + header.side] + b"Xing" + count + silent[16 + header.side :]
        pieces: list[tuple[Bytes, int, int]] = [(counting, 0, len(counting)), (silent, 0, len(silent))]
        # What is borrowed from must be there, but itself borrows from frames that are not: it plays nothing.
        for index in range(begin, run_up):
            mute = mute_frame(bytes(data[part.offsets[index] : part.offsets[index + 1]]), header.side)
            pieces.append((mute, 0, len(mute)))
    else:
        pieces = [(silent, 0, len(silent))]
    whole = part.end - part.cut
    if part.cut and header.layer == 3 and len(part.offsets) > 1:
        whole = part.offsets[-1]
    pieces.append((data, part.offsets[run_up], whole))
    if whole == part.offsets[-1]:
        # A frame that is not all there has its length, and plays nothing.
        mute = mute_frame(bytes(data[whole : part.end]).ljust(part.end - whole, b"\0"), header.side)
        pieces.append((mute, 0, len(mute)))
    delay = _DECODER_DELAY if header.layer == 3 else 0  # is left out of what follows a frame that counts
    return Splice(pieces), first - (begin - 1) * header.samples - delay


def promised_samples(file: BinaryIO, size: int) -> tuple[int, Header] | None:
    """Return the length that an MP3's first frame promises, where its count of bytes is that of the file."""
    file.seek(0)
    begin = id3v2_length(file.read(10))
    file.seek(begin)
    frame = file.read(2048)
    header = parse_header(frame)
    if header is None or header.layer != 3:
        return None
    mark = 4 + header.side
    if frame[mark : mark + 4] not in {b"Xing", b"Info"} or frame[mark + 7] & 3 != 3:
        return None
    part = _begin(frame, 0, header, {mark})
    counted = int.from_bytes(frame[mark + 12 : mark + 16], "big")
    file.seek(max(size - 128, 0))
    end = size - 128 if size >= 128 and file.read(3) == b"TAG" else size
    if begin + counted != end or part.promised is None:
        return None
    return max(part.promised * header.samples - part.skip - part.trim, 0), header


def _begin(data: Bytes, at: int, header: Header, infos: set[int]) -> Part:
    """Begin a part; where its first frame only says what follows, `end` is that frame's."""
    part = Part(header)
    xing, vbri = at + 4 + header.side, at + 36
    if header.layer != 3 or not infos & {xing, vbri}:
        return part
    part.end = at + header.size
    if xing in infos:
        flags, there = data[xing + 7], xing + 8
        if flags & 1:
            part.promised = int.from_bytes(data[there : there + 4], "big") or None
        there += 4 * (flags & 1) + 4 * (flags >> 1 & 1) + 100 * (flags >> 2 & 1) + 4 * (flags >> 3 & 1)
        encoder = bytes(data[there : there + 24])
        if len(encoder) == 24 and encoder[:4] in {b"LAME", b"Lavf", b"Lavc"}:
            padding = int.from_bytes(encoder[21:24], "big")
            part.skip = (padding >> 12) + _DECODER_DELAY
            part.trim = max((padding & 0xFFF) - _DECODER_DELAY, 0)
    elif vbri in infos:
        part.promised = int.from_bytes(data[vbri + 14 : vbri + 18], "big") or None
    return part


def _check_promises(path: Path, found: list[Part]) -> None:
    for part in found:
        missing = (part.promised or 0) - len(part.offsets)
        # Encoders disagree whether the frame that counts is counted.
        if missing > 1:
            per_second = part.header.rate / part.header.samples
            raise AudioError(
                f"{path} is cut short: its header promises {(part.promised or 0) / per_second:.3f} s, "
                f"it has frames for {len(part.offsets) / per_second:.3f} s"
            )
        if missing == 1:
            part.trim = max(part.trim - part.header.samples, 0)
    if len({one.header.rate for one in found}) > 1:
        rates = " and ".join(sorted({f"{one.header.rate} Hz" for one in found}))
        raise AudioError(
            f"{path} is joined of recordings with {rates}; make it one: "
            f"ffmpeg -i {path.name} {path.stem}.flac"
        )


def _confirmed(data: Bytes, at: int) -> Header | None:
    """Return the header at an offset if more frames of its kind follow it, or the file's end does."""
    first = header = parse_header(bytes(data[at : at + 4]))
    for _ in range(_IN_A_ROW):
        if header is None or first is None:
            return None
        at += header.size
        if at >= len(data) or tag_length(data, at):
            return first
        header = parse_header(bytes(data[at : at + 4]))
        if header is not None and not _is_like(first, data, at):
            return None
    return first


def _is_like(header: Header, data: Bytes, at: int) -> bool:
    """Tell whether a frame of a kind begins at an offset, though nothing that follows confirms it."""
    other = parse_header(bytes(data[at : at + 4]))
    return other is not None and (other.version, other.layer, other.rate) == (
        header.version,
        header.layer,
        header.rate,
    )


def _next(data: Bytes, at: int) -> int:
    """Return where the next byte is that may begin a frame or a tag."""
    marks = (data.find(mark, at) for mark in (b"\xff", b"ID3", b"TAG", b"APETAGEX"))
    return min((found for found in marks if found >= 0), default=len(data))


def _all(data: Bytes, mark: bytes) -> Iterator[int]:
    at = data.find(mark)
    while at >= 0:
        yield at
        at = data.find(mark, at + 1)
