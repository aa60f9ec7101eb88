"""Kill commands at random moments (SIGKILL), give them again, and compare with what is left undisturbed.

    python tests/faults/kills.py --kills 50 [--seed 0] [--only distill]

Commands run in forks of this process, which has imported what they need: a kill then falls into their work.
"""

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: what has threads cannot be forked

from artifacts import commands, write_inputs
from crash_points import content

import kdcompress.analysis.comparison
import kdcompress.cli.app
import kdcompress.distill.cache_writer
import kdcompress.graph.write
import kdcompress.runtime.recognizer  # noqa: F401  # imported for the forks
from kdcompress.cli.start import main as kdcompress_command
from kdcompress.report.record import read_report

# Of a command that is given again: what says that nothing is left to do, and what to add.
DONE, GO_ON = "already holds a bundle", "--resume"


def all_commands(folder: Path) -> dict[str, Sequence[str]]:
    """Return the commands by what they write; those that read what another writes come after it."""
    known = dict(commands(folder))
    known["run"] = [*known["run"], "--set", "training.steps=6"]
    known["compared"] = ["compare", str(folder / "c.yaml"), "--teacher", str(folder / "teacher"),
                         "--audio", str(folder / "audio"), "--test", str(folder / "m.jsonl"),
                         "--out", str(folder / "compared")]  # fmt: skip
    known["texts"] = [
        "transcribe",
        str(folder / "bundle"),
        str(folder / "spoken"),
        "--out",
        str(folder / "texts"),
    ]
    return known


def start(arguments: Sequence[str], log: Path) -> int:
    """Run a command in a process group of its own, and return its number."""
    number = os.fork()
    if number:
        return number
    os.setpgid(0, 0)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.argv = ["kdcompress", *arguments]
    code = 1
    try:
        kdcompress_command()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        import traceback

        traceback.print_exc()
        code = 70
    finally:
        sys.stderr.flush()
        os._exit(code)


def finish(arguments: Sequence[str], log: Path) -> tuple[int, str]:
    """Run a command to its end, and return its exit code and what it said."""
    _, status = os.waitpid(start(arguments, log), 0)
    return os.waitstatus_to_exitcode(status), log.read_text(errors="replace")


def again(arguments: Sequence[str], out: Path, log: Path) -> str | None:
    """Give a command once more; return what went wrong, if anything."""
    code, said = finish(arguments, log)
    if code and GO_ON in said and arguments[0] == "distill":
        code, said = finish(["distill", "--out", str(out), GO_ON], log)
    if code and DONE in said:
        return None
    return None if code == 0 else f"exit code {code}: {said.strip()[-300:]}"


def left(out: Path) -> object:
    """Return what a command has left, figures of time apart."""
    if out.suffix == ".json":
        return {found.name: found.hypotheses for found in read_report(out).results}
    return content(out)


def remove(out: Path) -> None:
    """Remove what a command has left."""
    if out.is_dir():
        shutil.rmtree(out)
    else:
        out.unlink(missing_ok=True)


def killed(arguments: Sequence[str], out: Path, log: Path, moment: float) -> bool:
    """Start a command and kill it after a time [s]; return whether it was still at work."""
    number = start(arguments, log)
    time.sleep(moment)
    with suppress(ProcessLookupError):
        os.killpg(number, signal.SIGKILL)
    _, status = os.waitpid(number, 0)
    return os.WIFSIGNALED(status)


def main() -> int:
    """Kill, go on, compare; return 1 where anything is not as it would have been."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", help="run cache bundle report.json compared texts")
    asked = parser.parse_args()
    draw, counts, faults = random.Random(asked.seed), Counter[str](), []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_inputs(folder)
        shutil.copytree(folder / "audio", folder / "spoken")
        (folder / "spoken" / "broken.wav").unlink()
        known, expected, seconds = all_commands(folder), {}, {}
        for what, arguments in known.items():
            began = time.monotonic()
            code, said = finish(arguments, folder / "log")
            if code:
                sys.stdout.write(f"{what}: exit code {code}: {said[-500:]}\n")
                return 2
            seconds[what], expected[what] = time.monotonic() - began, left(folder / what)
        chosen = [what for what in known if asked.only is None or what in asked.only]
        for number in range(asked.kills):
            what = chosen[number % len(chosen)]
            out = folder / what
            kept = folder / "kept"
            out.rename(kept)  # what others read is put back afterwards
            while not killed(known[what], out, folder / "log", draw.uniform(0.02, 1.0) * seconds[what]):
                counts["too late, tried again"] += 1
                seconds[what] *= 0.8  # it was slower when it was timed
                remove(out)
            counts[what] += 1
            if draw.random() < 1 / 3:  # at times what goes on is killed, too
                killed(known[what], out, folder / "log", draw.uniform(0.02, 1.0) * seconds[what])
            wrong = again(known[what], out, folder / "log")
            if wrong is None and left(out) != expected[what]:
                wrong = "something else than an undisturbed one leaves"
            remains = [path.name for path in folder.iterdir() if path.name.startswith(".kdcompress-")]
            if wrong is None and remains:
                wrong = f"left behind: {remains}"
            if wrong is not None:
                faults.append(f"kill {number}, {what}: {wrong}")
                sys.stdout.write(faults[-1] + "\n")
            remove(out)
            kept.rename(out)
    sys.stdout.write(f"{asked.kills} kills, {len(faults)} not survived: {dict(sorted(counts.items()))}\n")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
