"""Keep to some cores while the clock runs: a process that wanders between cores is timed with its moves."""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from kdcompress.errors import ConfigError

_WATCH = 0.2  # [s] long enough to tell a busy core from an idle one


def read_cores(text: str, wanted: int) -> tuple[int, ...] | None:
    """Read what `--pin` says: `none`, `auto` or the numbers of cores.

    Auto takes as many cores as are wanted, of those that this process may use: different physical ones before
    two halves of one, and the idlest first.

    Raises:
        ConfigError: it is none of these, or names a core that this process may not use.
    """
    if text == "none" or (text == "auto" and not hasattr(os, "sched_setaffinity")):
        return None
    if not hasattr(os, "sched_setaffinity"):
        raise ConfigError("this system pins no process to cores: use --pin none")
    allowed = sorted(os.sched_getaffinity(0))
    if text == "auto":
        return (
            tuple(allowed) if wanted >= len(allowed) else choose(wanted, allowed, _idle(), _siblings(allowed))
        )
    parts = text.split(",")
    if not all(part.strip().isdecimal() for part in parts):
        raise ConfigError(f"--pin takes auto, none or cores such as 0,1; found {text!r}")
    cores = tuple(sorted({int(part) for part in parts}))
    if not set(cores) <= set(allowed):
        raise ConfigError(f"--pin {text}: this process may use the cores {', '.join(map(str, allowed))}")
    return cores


def choose(
    wanted: int, allowed: Sequence[int], idle: Mapping[int, float], siblings: Mapping[int, int]
) -> tuple[int, ...]:
    """Choose cores.

    Args:
        wanted: how many.
        allowed: to choose from.
        idle: time that each was idle for while it was watched, in any unit; 0 where unknown.
        siblings: the physical core of each, for those that are halves of one.
    """
    ranked = sorted(allowed, key=lambda core: (-idle.get(core, 0.0), core))
    chosen: list[int] = []
    taken: set[int] = set()
    for core in ranked:
        if siblings.get(core, core) not in taken:
            taken.add(siblings.get(core, core))
            chosen.append(core)
    chosen += [core for core in ranked if core not in chosen]
    return tuple(sorted(chosen[:wanted]))


@contextmanager
def pinned(cores: Sequence[int] | None) -> Iterator[None]:
    """Keep this process, and those that it starts meanwhile, to some cores; None changes nothing."""
    if cores is None or not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _idle() -> dict[int, float]:
    first = _idle_ticks()
    time.sleep(_WATCH)
    return {core: ticks - first.get(core, 0.0) for core, ticks in _idle_ticks().items()}


def _idle_ticks() -> dict[int, float]:
    try:
        lines = Path("/proc/stat").read_text(encoding="ascii").splitlines()
    except OSError:
        return {}
    rows = [line.split() for line in lines if line.startswith("cpu") and line[3:4].isdecimal()]
    return {int(row[0][3:]): float(row[4]) for row in rows}


def _siblings(cores: Sequence[int]) -> dict[int, int]:
    found = {}
    for core in cores:
        try:
            path = Path(f"/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list")
            found[core] = int(path.read_text(encoding="ascii").replace("-", ",").split(",")[0])
        except (OSError, ValueError):
            continue
    return found
