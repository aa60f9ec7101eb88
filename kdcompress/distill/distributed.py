"""Where training runs, beside which other processes, and how all of them stop together."""

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from accelerate import Accelerator, PartialState
from accelerate.utils import gather_object
from torch.distributed.rendezvous import rendezvous

T = TypeVar("T")


def processes() -> PartialState:
    """Join the processes that torchrun or accelerate launched, if any; the first call decides.

    Without a GPU Accelerate takes them for unrelated ones unless `cpu` is set.
    """
    launched = int(os.environ.get("LOCAL_RANK", -1)) >= 0
    where = _rendezvous_of_restart() if launched and not dist.is_initialized() else {}
    return PartialState(cpu=launched and not torch.cuda.is_available(), **where)


def _rendezvous_of_restart() -> dict[str, Any]:
    """Return where processes that torchrun started again find each other.

    It keeps one store for all its starts (pytorch issue 135712), and who reads there first finds the address
    of a process that was killed, and fails or waits for ever. Machines count restarts each for itself, so
    that several need another setting (docs/scale.md).
    """
    restarts = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    if restarts == "0" or os.environ.get("GROUP_WORLD_SIZE", "1") != "1":
        return {}
    store, rank, world_size = next(rendezvous("env://"))
    store = dist.PrefixStore(f"restart-{restarts}", store)  # type: ignore[attr-defined]  # it is there
    return {"store": store, "rank": rank, "world_size": world_size}


def training_device() -> torch.device:
    """Return the device of this process, set up for utterances of every length."""
    device = processes().device
    if device.type == "cuda":
        # cuDNN's attention builds a plan for every new shape, and hardly two batches of speech have the same
        # one: a step of a 0.2 M student took 165 ms on an H100 with it, and about 50 without.
        torch.backends.cuda.enable_cudnn_sdp(False)
    return device


def summed(numbers: Sequence[int], accelerator: Accelerator) -> list[int]:
    """Return the sums over all processes, each of which must call this."""
    if accelerator.num_processes == 1:
        return list(numbers)
    total: list[int] = accelerator.reduce(torch.tensor(numbers, device=accelerator.device), "sum").tolist()
    return total


def gathered(items: Sequence[T], accelerator: Accelerator) -> list[T]:
    """Return the items of all processes, in the order of these, each of which must call this."""
    if accelerator.num_processes == 1:
        return list(items)
    everyone: list[T] = gather_object(list(items))
    return everyone


@contextmanager
def stop_on_signal() -> Iterator[list[int]]:
    """Collect SIGINT, SIGTERM and SIGUSR1 in a list, so that the step in progress is finished and saved.

    Schedulers send one of the latter before they take a machine away.
    """
    seen: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        seen.append(number)

    before: dict[signal.Signals, Any] = {}
    warnings = [signal.SIGUSR1] if hasattr(signal, "SIGUSR1") else []  # Windows has none
    for number in (signal.SIGINT, signal.SIGTERM, *warnings):
        try:
            before[number] = signal.signal(number, note)
        except ValueError:  # not in the main thread: the host program owns the signals
            break
    try:
        yield seen
    finally:
        for caught, handler in before.items():
            signal.signal(caught, handler)


def anywhere(flags: Sequence[bool], accelerator: Accelerator) -> list[bool]:
    """Tell of each flag whether it is up in any process of the run, each of which must call this.

    Where one stopped by itself, the others would wait for it for ever.
    """
    return [count > 0 for count in summed([int(flag) for flag in flags], accelerator)]
