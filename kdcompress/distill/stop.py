"""Ctrl-C and SIGTERM end a run between two steps, where everything can be saved."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
from accelerate import Accelerator


@contextmanager
def stop_on_signal() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM in a list, so that the step in progress is finished and saved."""
    seen: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        seen.append(number)

    before: dict[signal.Signals, Any] = {}
    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            before[number] = signal.signal(number, note)
        except ValueError:  # not in the main thread: the host program owns the signals
            break
    try:
        yield seen
    finally:
        for caught, handler in before.items():
            signal.signal(caught, handler)


def stopped_anywhere(seen: list[int], accelerator: Accelerator) -> bool:
    """Tell whether any process of the run was told to stop: one that went on would wait for it for ever."""
    if accelerator.num_processes == 1:
        return bool(seen)
    return bool(accelerator.reduce(torch.tensor(len(seen), device=accelerator.device), "sum"))
