"""Keep to some cores while the clock runs: a process that wanders between cores is timed with its moves."""

import os
from collections.abc import Mapping, Sequence

from kdcompress.cores import busy_cores, core_siblings
from kdcompress.errors import ConfigError


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
            tuple(allowed)
            if wanted >= len(allowed)
            else choose(wanted, allowed, busy_cores(), core_siblings(allowed))
        )
    parts = text.split(",")
    if not all(part.strip().isdecimal() for part in parts):
        raise ConfigError(f"--pin takes auto, none or cores such as 0,1; found {text!r}")
    cores = tuple(sorted({int(part) for part in parts}))
    if not set(cores) <= set(allowed):
        raise ConfigError(f"--pin {text}: this process may use the cores {', '.join(map(str, allowed))}")
    return cores


def choose(
    wanted: int, allowed: Sequence[int], busy: Mapping[int, float], siblings: Mapping[int, int]
) -> tuple[int, ...]:
    """Choose cores.

    Args:
        wanted: how many.
        allowed: to choose from.
        busy: the share of time for which each was busy; unknown counts as idle.
        siblings: the physical core of each, for those that are halves of one.
    """
    ranked = sorted(allowed, key=lambda core: (busy.get(core, 0.0), core))
    chosen: list[int] = []
    taken: set[int] = set()
    for core in ranked:
        if siblings.get(core, core) not in taken:
            taken.add(siblings.get(core, core))
            chosen.append(core)
    chosen += [core for core in ranked if core not in chosen]
    return tuple(sorted(chosen[:wanted]))
