"""What a file's first bytes say that it is, and which names are taken for audio."""

from typing import BinaryIO

AUDIO_SUFFIXES: tuple[str, ...] = (".wav", ".flac", ".mp3", ".ogg", ".opus")
"""What is read without an extra."""

AV_SUFFIXES: tuple[str, ...] = (
    ".m4a", ".mp4", ".webm", ".aac", ".wma", ".amr", ".mkv", ".mka", ".mov", ".3gp", ".m4b", ".m4v", ".avi",
    ".asf", ".wmv", ".flv", ".ts", ".mpg", ".wv",
)  # fmt: skip
"""What takes the extra `av`."""

NEEDS_AV: dict[str, str] = {
    "mov": "mov", "matroska": "matroska", "asf": "asf", "amr": "amr", "adts": "aac", "avi": "avi",
    "flv": "flv", "mpegts": "mpegts", "mpeg": "mpeg", "wavpack": "wv", "wav": "wav", "ogg": "ogg",
    "caf": "caf", "aiff": "aiff",
}  # fmt: skip
"""FFmpeg's name of each kind. It is told, since its own guess may be a playlist that opens other files."""

_MAGIC = (
    (0, b"fLaC", "flac"),
    (0, b"OggS", "ogg"),
    (4, b"ftyp", "mov"),
    (4, b"moov", "mov"),
    (4, b"mdat", "mov"),
    (4, b"wide", "mov"),
    (0, b"\x1aE\xdf\xa3", "matroska"),
    (0, b"0&\xb2u\x8ef\xcf\x11", "asf"),
    (0, b"#!AMR", "amr"),
    (0, b"FLV\x01", "flv"),
    (0, b"\0\0\1\xba", "mpeg"),
    (0, b"wvpk", "wavpack"),
    (0, b"caff", "caf"),
    (0, b"FORM", "aiff"),
)


def kind_of(head: bytes, file: BinaryIO) -> str:
    """Return what a file is by its first 64 bytes: `wav`, `mp3`, `mov`, …, or nothing known."""
    for at, magic, kind in _MAGIC:
        if head[at : at + len(magic)] == magic:
            return kind
    if head[:4] == b"RIFF":
        return "avi" if head[8:11] == b"AVI" else "wav"
    if head[:3] == b"ID3" and len(head) >= 10:
        size = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
        file.seek(10 + size)
        head = file.read(64)
        inside = "" if head[:3] == b"ID3" else kind_of(head, file)
        return f"tagged {inside}" if inside not in {"", "mp3", "adts"} else inside or "mp3"
    if _adts(head):
        return "adts"
    if head[:1] == b"\xff" and head[1] & 0xE0 == 0xE0:
        return "mp3"
    if head[:1] == b"G" and len(head) > 4:
        file.seek(188)
        if file.read(1) == b"G":
            return "mpegts"
    return ""


def _adts(head: bytes) -> bool:
    return head[:1] == b"\xff" and len(head) > 1 and head[1] & 0xF6 == 0xF0
