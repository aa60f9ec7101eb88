"""Signals wait while something must not be cut in two."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


@contextmanager
def signals_wait() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM take effect after the block; a second one takes effect at once.

    torch's exporter takes the exceptions that they raise for faults of the model, or aborts on them; a stream
    between its samples and its state would lose some; a file made and not yet noted would stay behind.
    """
    came: list[int] = []
    before: dict[signal.Signals, Any] = {}

    def note(number: int, frame: FrameType | None) -> None:
        came.append(number)
        if len(came) > 1 and callable(before[signal.Signals(number)]):
            before[signal.Signals(number)](number, frame)

    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is None:  # not set from Python, which could not set it again
            continue
        try:
            before[number] = signal.signal(number, note)
        except ValueError:  # not in the main thread: the host program owns the signals
            break
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])
