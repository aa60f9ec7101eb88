"""Two processes train as one process does on batches twice as large."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kdcompress.config.recipe import Recipe, dump_recipe

STEPS = 6


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="the loopback device has another name there"),
]


def trained(recipe: Recipe, out: Path, processes: int) -> list[dict[str, float]]:
    path = out.with_suffix(".yaml")
    path.write_text(dump_recipe(recipe), encoding="utf-8")
    command = [sys.executable, "-m", "kdcompress", "distill", str(path), "--out", str(out)]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    # What torchrun sets, which would ask for this machine's name: not every sandbox can resolve that.
    together = {"WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    together |= {"GLOO_SOCKET_IFNAME": "lo", "LOCAL_WORLD_SIZE": str(processes)}
    running = [
        subprocess.Popen(
            command,
            env=os.environ
            | (together | {"RANK": str(rank), "LOCAL_RANK": str(rank)} if processes > 1 else {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(processes)
    ]
    try:
        told = [process.communicate(timeout=300) for process in running]
    finally:
        for process in running:
            process.kill()
    assert [process.returncode for process in running] == [0] * processes, told
    assert [f"{STEPS} steps" in said for said, _ in told] == [True] + [False] * (processes - 1)
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
