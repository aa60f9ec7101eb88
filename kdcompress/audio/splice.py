"""A stream made of stretches of files, for a decoder that would stop at the first of them."""

import io
import mmap
from collections.abc import Sequence
from typing import TypeAlias

Bytes: TypeAlias = "mmap.mmap | bytes"


class Splice(io.RawIOBase):
    """Read stretches of bytes one behind the other; nothing is copied before it is read."""

    def __init__(self, stretches: Sequence[tuple[Bytes, int, int]]) -> None:
        """Take (bytes, first, end) each."""
        self._stretches = [one for one in stretches if one[1] < one[2]]
        self._size = sum(end - first for _, first, end in self._stretches)
        self._at, self._index, self._before = 0, 0, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(base + offset, 0)
        self._index = self._before = 0
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: "memoryview | bytearray") -> int:  # type: ignore[override]
        view, filled = memoryview(buffer).cast("B"), 0
        while filled < len(view) and self._index < len(self._stretches):
            data, first, end = self._stretches[self._index]
            begin = first + self._at - self._before
            if begin >= end:
                self._before += end - first
                self._index += 1
                continue
            count = min(end - begin, len(view) - filled)
            view[filled : filled + count] = data[begin : begin + count]
            filled += count
            self._at += count
        return filled
