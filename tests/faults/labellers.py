"""Let four workers label one cache of 200 shards, each killed (SIGKILL) at ten random moments.

    python tests/faults/labellers.py [--workers 4] [--kills 10] [--shards 200] [--seed 0]

Every shard must be written once, and all bytes be those that one undisturbed worker writes.
"""

import argparse
import math
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

from artifacts import write_inputs
from crash_points import content
from kills import finish, start

from kdcompress.audio.corpus.pack import pack
from kdcompress.distill.posteriors import shard_worker


def note_writes(log: Path) -> None:
    """Let this process, and those that it forks, note each shard once it is written."""
    written = shard_worker.write_shard

    def write(cache: Path, entry: Any, *rest: Any) -> Any:
        done = written(cache, entry, *rest)
        with log.open("a") as file:
            file.write(f"{entry.file}\n")
        return done

    shard_worker.write_shard = write


def main() -> int:
    """Label undisturbed, label with kills, compare; return 1 where anything differs."""
    parser = argparse.ArgumentParser()
    for name, default in (("workers", 4), ("kills", 10), ("shards", 200), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    asked = parser.parse_args()
    draw = random.Random(asked.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_inputs(folder, files=asked.shards)
        (folder / "audio" / "broken.wav").unlink()
        pack(folder / "audio", folder / "packed", shard_size=1)
        settings = ("--set", "data.speed=[1.0]", "--set", "data.noise_share=0")
        arguments = ["cache", str(folder / "mine.yaml"), "--audio", str(folder / "packed"), *settings,
                     "--out", str(folder / "cache")]  # fmt: skip
        began = time.monotonic()
        code, said = finish(arguments, folder / "log")
        seconds, expected = time.monotonic() - began, content(folder / "cache")
        sys.stdout.write(f"undisturbed: {seconds:.1f} s; {said.strip().splitlines()[0]}\n")
        if code:
            return 2
        shutil.rmtree(folder / "cache")

        note_writes(folder / "written")
        kills, codes = [0] * asked.workers, [-1] * asked.workers
        running: dict[int, tuple[int, float]] = {}  # by worker: the process, and when it is to be killed
        while running or -1 in codes:
            for worker, code in enumerate(codes):
                if code == -1 and worker not in running:
                    life = seconds * draw.uniform(0.05, 0.5) if kills[worker] < asked.kills else math.inf
                    process = start(arguments, folder / f"log-{worker}")
                    running[worker] = process, time.monotonic() + life
            time.sleep(0.01)
            for worker, (process, moment) in list(running.items()):
                if time.monotonic() >= moment:
                    with suppress(ProcessLookupError):
                        os.killpg(process, signal.SIGKILL)
                ended, status = os.waitpid(process, os.WNOHANG)
                if ended:
                    del running[worker]
                    if os.WIFSIGNALED(status):
                        kills[worker] += 1
                    else:
                        codes[worker] = os.waitstatus_to_exitcode(status)
        written = Counter((folder / "written").read_text().split())
        twice = sorted(file for file, times in written.items() if times > 1)
        same = content(folder / "cache") == expected
        sys.stdout.write(
            f"{asked.workers} workers, kills {kills}, exit codes {codes}: {len(written)} shards noted, "
            f"{len(twice)} written twice {twice}; bytes {'equal' if same else 'DIFFER'}\n"
        )
    return int(any(codes) or bool(twice) or not same)


if __name__ == "__main__":
    sys.exit(main())
