"""How much memory this process takes; nothing here is an error where it cannot be found out."""

import os
import subprocess
import sys
from pathlib import Path


def rss_bytes() -> int | None:
    """Return the main memory that this process holds now."""
    return _status("VmRSS")


def peak_rss_bytes() -> int | None:
    """Return the most that this process has held since it was started."""
    # Where it is known, better than getrusage, whose maximum a process inherits from whoever started it.
    found = _status("VmHWM")
    if found is not None:
        return found
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def gpu_bytes() -> int | None:
    """Ask the driver how much memory of all GPUs this process holds."""
    command = ("nvidia-smi", "--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits")
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return _used(done.stdout, os.getpid())


def _used(listing: str, process: int) -> int | None:
    """Add up the MiB of a process in lines of `pid, used`."""
    rows = [line.split(",") for line in listing.splitlines()]
    used = [row[1].strip() for row in rows if len(row) == 2 and row[0].strip() == str(process)]
    # In a container the driver may see other numbers of processes, or no sizes.
    known = [int(value) for value in used if value.isdecimal()]
    return sum(known) << 20 if known else None


def _status(key: str) -> int | None:
    try:
        text = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name == key:
            return int(value.split()[0]) * 1024
    return None
