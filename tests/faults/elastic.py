"""Kill processes that torchrun launched (SIGKILL), let it start them again, compare with undisturbed ones.

    python tests/faults/elastic.py --trials 6 [--seed 0] [--only run] [--kills 1]

Each trial kills one of two workers at random moments, as often as asked; the first one while they start.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil
from artifacts import write_inputs
from crash_points import content

from kdcompress.audio.corpus.pack import pack

LAUNCH = ["--standalone", "--local_addr", "127.0.0.1", "--nproc_per_node", "2", "--max_restarts", "3"]
PATIENCE = 300  # [s] from the first of these on, a command that has not ended hangs


def commands(folder: Path) -> dict[str, Sequence[str]]:
    """Return what torchrun is to launch, by what it writes."""
    recipe, audio = str(folder / "mine.yaml"), str(folder / "audio")
    steps = ("training.steps=60", "training.validate_every=20", "training.checkpoint_minutes=0.005")
    chosen = [word for step in steps for word in ("--set", step)]
    return {
        "run": ["distill", recipe, "--audio", audio, "--out", str(folder / "run"), "--auto-resume", *chosen],
        "cache": ["cache", recipe, "--audio", str(folder / "packed"), "--out", str(folder / "cache")],
    }


def left(out: Path) -> object:
    """Return what a command has left: of a run the figures and the last checkpoint, of a cache everything."""
    if not (out / "metrics.jsonl").is_file():
        return content(out)
    last = (out / "last").read_text("utf-8").strip()
    return [content(out)[name] for name in ("metrics.jsonl", "best", "last", "skipped.jsonl")] + [
        content(out / "checkpoints" / last)
    ]


def progress(out: Path) -> int:
    """Return how far a command is: steps, or shards."""
    metrics = out / "metrics.jsonl"
    return (
        metrics.read_bytes().count(b"\n")
        if metrics.is_file()
        else len(list(out.glob("**/shard-*.safetensors")))
    )


def launched(arguments: Sequence[str], moments: Sequence[int] = (), draw: random.Random | None = None) -> str:
    """Run a command to its end, killing a worker at some stages; return what went wrong, if anything."""
    command = [sys.executable, "-m", "torch.distributed.run", *LAUNCH, "-m", "kdcompress", *arguments]
    environment = os.environ | {"GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    out, began, killed = Path(arguments[arguments.index("--out") + 1]), time.monotonic(), []
    with tempfile.TemporaryFile("w+") as said:
        launcher = subprocess.Popen(command, env=environment, stdout=said, stderr=said)
        try:
            for moment in moments:
                if moment == 0 and draw:  # while they start
                    time.sleep(draw.uniform(2, 20))
                while launcher.poll() is None and time.monotonic() - began < PATIENCE:
                    workers = psutil.Process(launcher.pid).children()
                    if workers and draw and progress(out) >= moment:
                        worker = draw.choice(workers)
                        with suppress(psutil.NoSuchProcess):
                            worker.send_signal(signal.SIGKILL)
                            killed.append(f"{progress(out)} ({time.monotonic() - began:.0f} s)")
                        break
                    time.sleep(0.01)
            code = launcher.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            if launcher.poll() is None:
                for process in psutil.Process(launcher.pid).children(recursive=True):
                    process.kill()
                launcher.kill()
                launcher.wait()
        said.seek(0)
        told = said.read()
    took = time.monotonic() - began
    sys.stdout.write(
        f"  {arguments[0]}: killed at {', '.join(killed) or '-'}; {took:.0f} s, exit code {code}\n"
    )
    sys.stdout.flush()
    if code == 0 and len(killed) < len(moments):
        return "ended before it was killed"
    return "" if code == 0 else f"{'hung' if code is None else f'exit code {code}'}: {told[-6000:]}"


def main() -> int:
    """Kill, wait, compare; return 1 where anything is not as it would have been."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=6)
    parser.add_argument("--kills", type=int, default=1, help="a trial")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=("run", "cache"))
    asked = parser.parse_args()
    draw, faults, trials = random.Random(asked.seed), 0, 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_inputs(folder)
        pack(folder / "audio", folder / "packed", shard_size=1)
        for what, arguments in commands(folder).items():
            if asked.only not in (None, what):
                continue
            out = folder / what
            wrong = launched(arguments)
            if wrong:
                sys.stdout.write(f"{what}, undisturbed: {wrong}\n")
                return 2
            expected, whole = left(out), progress(out)
            for trial in range(asked.trials):
                shutil.rmtree(out)
                moments = sorted(draw.randrange(whole * 4 // 5) for _ in range(asked.kills))
                wrong = launched(arguments, moments if trial else [0, *moments[1:]], draw)
                if not wrong and left(out) != expected:
                    wrong = "something else than an undisturbed one leaves"
                trials += 1
                faults += bool(wrong)
                if wrong:
                    sys.stdout.write(f"{what}, trial {trial}: {wrong}\n")
    sys.stdout.write(f"{trials} trials of {asked.kills} kills, {faults} not survived\n")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
