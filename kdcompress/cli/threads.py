"""Threads of the commands that compute with torch: chosen before torch is imported, which reads them once."""

import os
import sys

_THREADS, _POLICY = "OMP_NUM_THREADS", "OMP_WAIT_POLICY"


def choose_threads() -> None:
    """Set the number of threads and how they wait, where the user has not, and say so in one line.

    Threads that wait for each other spin, which is fastest on an idle machine. Where others compute on the
    same cores, a thread spins for one that does not run: on two cores beside busy neighbours a training step
    took 1.2 to 2.2 times as long as with sleeping threads, and twice the CPU time; sleeping ones take a third
    longer when nobody is there.
    """
    # Too late: a notebook, a test. And where all is said already there is nothing to look for.
    if "torch" in sys.modules or _single(os.environ.get(_THREADS)) or {_THREADS, _POLICY} <= {*os.environ}:
        return
    from rich.console import Console

    from kdcompress.cli.progress import leads
    from kdcompress.cores import advise_here

    advice = advise_here(int(os.environ.get("LOCAL_WORLD_SIZE", 1)))
    chosen = [f"{advice.threads} thread{'s' * (advice.threads > 1)}"]
    if _THREADS in os.environ:
        chosen = [f"{os.environ[_THREADS]} threads as {_THREADS} says"]
    else:
        os.environ[_THREADS] = str(advice.threads)
    if _POLICY not in os.environ and advice.crowded and not _single(os.environ[_THREADS]):
        os.environ[_POLICY] = "PASSIVE"
        chosen.append(f"asleep while they wait ({_POLICY}=PASSIVE)")
    Console(stderr=True, quiet=not leads()).print(
        f"{', '.join(chosen)}: {advice.reason}", highlight=False, markup=False, soft_wrap=True
    )


def _single(threads: str | None) -> bool:
    return threads is not None and threads.partition(",")[0].strip() == "1"
