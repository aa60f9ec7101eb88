"""How many cores this process may use, and how busy others keep them.

Every default number of threads comes from here. Where a function reads files of the system, `root` stands for
`/`.
"""

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kdcompress.errors import KdcompressError

_ROOT = Path("/")
_WATCH = 0.2  # [s] long enough to tell a busy core from an idle one
# Version 1 has a folder for the controller `cpu`; version 2 has one tree, in place of it or beside it.
_V1 = ("cpu", "cpu,cpuacct", "cpuacct,cpu")
_V2 = (".", "unified")
# Of a core: below it others are background noise, from it on a spinning thread waits for them.
_BUSY = 0.5


@dataclass(frozen=True)
class ThreadAdvice:
    """How to run matrix products in parallel here.

    Attributes:
        threads: of one process.
        passive: whether threads that wait are to sleep (`OMP_WAIT_POLICY=PASSIVE`) instead of spinning. On an
            idle machine spinning is faster; beside a busy neighbour a thread spins for one that does not run.
        crowded: whether others compute on these cores.
        reason: what it follows from, half a line.
    """

    threads: int
    passive: bool
    crowded: bool
    reason: str


def available_cores(root: Path = _ROOT) -> int:
    """Return how many cores this process may keep busy: those it is pinned to, or fewer by its CPU quota.

    A quota of 1.5 cores counts as one: of two threads each would be stopped for a quarter of the time, and
    the other would wait for it.
    """
    return _granted(len(allowed_cores()), cpu_quota(root))


def allowed_cores() -> tuple[int, ...]:
    """Return the numbers of the cores that the system may run this process on."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


def cpu_quota(root: Path = _ROOT) -> float | None:
    """Return how much CPU time a container grants [cores], by the tightest of the control groups around us.

    None where there is no limit, or no such thing as control groups.
    """
    found = [quota for folder in _control_groups(root) if (quota := _quota_of(folder)) is not None]
    return min(found, default=None)


def core_siblings(cores: Sequence[int], root: Path = _ROOT) -> dict[int, int]:
    """Return the physical core of each logical one, where the system tells."""
    found = {}
    for core in cores:
        path = root / f"sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list"
        try:
            found[core] = int(path.read_text(encoding="ascii").replace("-", ",").split(",")[0])
        except (OSError, ValueError):
            continue
    return found


def busy_cores(seconds: float = _WATCH) -> Mapping[int, float]:
    """Watch all cores for a while; returns the share of time for which each was busy, by its number."""
    import psutil  # not above: whoever transcribes need not know

    return {core: busy / 100 for core, busy in enumerate(psutil.cpu_percent(seconds, percpu=True))}


def advise_threads(
    allowed: int, quota: float | None, physical: int, others: float, processes: int = 1
) -> ThreadAdvice:
    """Choose threads and what they do while they wait.

    The number of threads depends on what is granted, not on who is busy just now: sums in another order
    differ in the last digit, and a run that is resumed is to go on exactly.

    Args:
        allowed: cores that the process may run on.
        quota: granted CPU time [cores]; None: no limit.
        physical: of the cores, without those that hyper-threading adds.
        others: cores' worth of time that others take of the allowed ones.
        processes: of ours that share them.

    Raises:
        KdcompressError: a number is not positive.
    """
    if min(allowed, physical, processes) < 1:
        raise KdcompressError(f"cores and processes are positive, found {allowed}, {physical}, {processes}")
    granted = _granted(allowed, quota)
    threads = max(1, min(granted, physical) // processes)
    parts = [f"{granted} core{'s' * (granted > 1)} available"]
    if quota is not None and granted < allowed:
        parts[0] += f" by a CPU quota of {quota:g}"
    if physical < granted:
        parts.append(f"{physical} of them physical")
    if processes > 1:
        parts.append(f"{processes} processes")
    crowded = threads * processes + others >= allowed + _BUSY
    if crowded:
        parts.append(f"others keep {others:.1f} of {allowed} busy")
    return ThreadAdvice(threads, threads > 1 and crowded, crowded, ", ".join(parts))


def advise_here(processes: int = 1) -> ThreadAdvice:
    """Watch this machine for a moment, and choose for it; see `advise_threads`."""
    allowed = allowed_cores()
    busy = busy_cores()
    siblings = core_siblings(allowed)
    return advise_threads(
        len(allowed),
        cpu_quota(),
        len({siblings.get(core, core) for core in allowed}),
        sum(busy.get(core, 0.0) for core in allowed),
        processes,
    )


def _granted(allowed: int, quota: float | None) -> int:
    return allowed if quota is None else max(1, min(allowed, math.floor(quota)))


def _control_groups(root: Path) -> Iterator[Path]:
    """Yield the folders of this process's control groups and of all around them.

    In a container the path may be that of the host, of which only the container's own group is there, at the
    top.
    """
    mounted = root / "sys/fs/cgroup"
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    for line in [*lines, "0::/", "0:cpu:/"]:
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controllers and "cpu" not in controllers.split(","):
            continue
        parts = [part for part in path.split("/") if part]
        for tree in _V1 if controllers else _V2:
            for depth in range(0 if ".." in parts else len(parts), -1, -1):
                yield mounted.joinpath(tree, *parts[:depth])


def _quota_of(group: Path) -> float | None:
    try:
        if (group / "cpu.max").is_file():
            words = (group / "cpu.max").read_text(encoding="ascii").split()
        else:
            names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
            words = [(group / name).read_text(encoding="ascii").strip() for name in names]
        allowed, period = (int(word) for word in words)
    except (OSError, ValueError):  # no such file, or "max": no limit
        return None
    return allowed / period if allowed > 0 and period > 0 else None
