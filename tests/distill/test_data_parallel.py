"""Two processes train as one process does on batches twice as large."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kdcompress.config.recipe import Recipe, dump_recipe

STEPS = 6


pytestmark = pytest.mark.slow


def trained(recipe: Recipe, out: Path, processes: int) -> list[dict[str, float]]:
    path = out.with_suffix(".yaml")
    path.write_text(dump_recipe(recipe), encoding="utf-8")
    command = ["-m", "kdcompress", "distill", str(path), "--out", str(out)]
    if processes > 1:
        command = [
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc_per_node",
            str(processes),
            *command,
        ]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(f"{STEPS} steps") == 1  # one process speaks
    lines = (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [step for step in map(json.loads, lines) if "loss" in step]


def test_two_processes_are_one_with_twice_the_batch(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    # Everything random is switched off: each process draws for itself.
    quiet = {
        "student__dropout": 0.0,
        "data__speed": [1.0],
        "data__buckets": 1,
        "data__batch_seconds": 2.4,
        "data__noise_share": 0.1,
        "training__delay_ms": 0,
        "training__spec_augment": {"time_masks": 0, "band_masks": 0},
        "training__steps": STEPS,
    }
    one = trained(recipe(**quiet, training__accumulate=2), tmp_path / "one", 1)
    two = trained(recipe(**quiet), tmp_path / "two", 2)
    assert len(one) == len(two) == STEPS
    for alone, shared in zip(one, two, strict=True):
        for key in ("loss", "gradient_norm"):
            assert shared[key] == pytest.approx(alone[key], rel=2e-4)
