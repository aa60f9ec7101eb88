"""Damage whatever kdcompress writes, thousands of times, and see that each copy is refused in one line.

    python tests/faults/campaign.py --variants 10000 [--first 0] [--jobs 2] [--json outcomes.jsonl]

A variant follows from its number alone. Readers run in processes of their own, some hundred variants each,
since what is tested includes libraries in C. tests/faults/test_damage.py runs a few.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

BATCH = 250


def main() -> int:
    """Run the campaign, or one batch of it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--variants", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--json", type=Path)
    parser.add_argument(
        "--artifacts", type=Path, help=argparse.SUPPRESS
    )  # a batch of a campaign that goes on
    asked = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if asked.artifacts is not None:
        return batch(asked.artifacts, range(asked.first, asked.first + asked.variants))
    with tempfile.TemporaryDirectory() as folder:
        from artifacts import make_artifacts

        make_artifacts(Path(folder))
        starts = range(asked.first, asked.first + asked.variants, BATCH)
        with ThreadPoolExecutor(asked.jobs) as threads:
            ends = asked.first + asked.variants
            lines = threads.map(lambda first: process(Path(folder), first, min(BATCH, ends - first)), starts)
            outcomes = [line for found in lines for line in found]
    if asked.json is not None:
        asked.json.write_text("".join(json.dumps(line) + "\n" for line in outcomes), encoding="utf-8")
    faults = [line for line in outcomes if line["fault"]]
    sys.stdout.write(f"{len(outcomes)} variants: {dict(Counter(line['verdict'] for line in outcomes))}\n")
    for line in faults[:200]:
        sys.stdout.write(json.dumps(line) + "\n")
    return bool(faults)


def process(artifacts: Path, first: int, count: int) -> list[dict[str, object]]:
    """Run a batch in a process; where it dies, that variant is a fault, and another goes on behind it."""
    found: list[dict[str, object]] = []
    while count > 0:
        command = [sys.executable, __file__, "--artifacts", str(artifacts)]
        command += ["--first", str(first), "--variants", str(count)]
        done = subprocess.run(command, capture_output=True, text=True)
        lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"number"')]
        found += lines
        first, count = first + len(lines), count - len(lines)
        if count > 0:
            ended = f"crash {done.returncode}"
            found.append({"number": first, "verdict": ended, "detail": done.stderr[-300:], "fault": True})
            first, count = first + 1, count - 1
    return found


def batch(artifacts: Path, numbers: range) -> int:
    """Try some variants, and print a line for each."""
    from artifacts import open_artifacts
    from damage import Campaign, limit_memory

    with tempfile.TemporaryDirectory() as work:
        campaign = Campaign(open_artifacts(artifacts), Path(work))
        limit_memory(24)
        for number in numbers:
            outcome = campaign.attempt(number)
            print(json.dumps(asdict(outcome) | {"fault": outcome.is_fault}), flush=True)  # noqa: T201  # a process reads it
    return 0


if __name__ == "__main__":
    sys.exit(main())
