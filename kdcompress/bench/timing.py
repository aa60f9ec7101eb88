"""Clocks and what is said about their readings (no model is known here)."""

import time
from collections.abc import Sequence
from types import TracebackType

from typing_extensions import Self

from kdcompress.report.measured import Spread


class Clock:
    """Wall and CPU time of a `with` block [s]."""

    wall: float = 0.0
    cpu: float = 0.0

    def __enter__(self) -> Self:
        self._cpu = time.process_time()
        self._wall = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.wall = time.perf_counter() - self._wall
        self.cpu = time.process_time() - self._cpu


def paired_speed(reference: Sequence[float], seconds: Sequence[float]) -> Spread:
    """Compare repeat with repeat: a machine that slows down for a while slows both.

    Raises:
        ValueError: the numbers of repeats differ.
    """
    return Spread.of([ours / theirs for ours, theirs in zip(reference, seconds, strict=True)])
