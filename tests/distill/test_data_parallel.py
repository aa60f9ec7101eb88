"""Two processes train as one process does on batches twice as large."""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import soundfile
import torch
from safetensors.torch import load_file

from kdcompress.audio.corpus.pack import pack
from kdcompress.config.recipe import Recipe, dump_recipe
from kdcompress.students.weights import load_student

STEPS = 6


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="the loopback device has another name there"),
]


def run(recipe: Recipe, out: Path, processes: int, *flags: str) -> list[tuple[int, str, str]]:
    """Return exit code, output and errors of each process; none may take longer than it could need."""
    path = out.with_suffix(".yaml")
    path.write_text(dump_recipe(recipe), encoding="utf-8")
    command = [sys.executable, "-m", "kdcompress", "distill", str(path), "--out", str(out), *flags]
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
        told = [process.communicate(timeout=900) for process in running]
    finally:
        for process in running:
            process.kill()
    return [(process.returncode, *texts) for process, texts in zip(running, told, strict=True)]


def trained(recipe: Recipe, out: Path, processes: int) -> list[dict[str, float]]:
    ended = run(recipe, out, processes)
    assert [code for code, *_ in ended] == [0] * processes, ended
    assert [f"{STEPS} steps" in said for _, said, _ in ended] == [True] + [False] * (processes - 1)
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
        "data__surround": {"share": 0},  # which depends on what is in a batch
        "training__delay_ms": 0,
        "training__spec_augment": {"time_masks": 0, "band_masks": 0},
        "training__steps": STEPS,
    }
    one = trained(recipe(**quiet, training__accumulate=2), tmp_path / "one", 1)
    two = trained(recipe(**quiet), tmp_path / "two", 2)
    assert len(one) == len(two) == STEPS
    for alone, shared in zip(one, two, strict=True):
        for key in ("loss", "gradient_norm", "blank_rate", "selected_share", "teacher_blank_rate"):
            assert shared[key] == pytest.approx(alone[key], rel=2e-4)
    both = [losses(tmp_path / name)[-1]["validation"] for name in ("one", "two")]
    assert both[1].pop("unit") == both[0].pop("unit")
    assert both[1] == pytest.approx(both[0], rel=1e-3)


def test_a_run_of_two_is_random_twice_and_goes_on_exactly_with_two_only(
    recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    """Begun by --auto-resume, broken off, and gone on with by the same command."""
    made = recipe(training__steps=4, training__validate_every=2, data__speed=[1.0])
    assert [code for code, *_ in run(made, tmp_path / "whole", 2)] == [0, 0]
    broken = tmp_path / "broken"
    assert [code for code, *_ in run(made, broken, 2, "--auto-resume")] == [0, 0]
    shutil.rmtree(broken / "checkpoints" / "step-000004")
    for pointer in ("last", "best"):
        (broken / pointer).write_text("step-000002\n")
    states = load_file(broken / "checkpoints" / "step-000002" / "optimizer.safetensors")
    assert not torch.equal(states["random/cpu"], states["random/cpu/1"])
    ((code, _, errors),) = run(made, broken, 1, "--auto-resume")
    assert code == 1
    assert "among 2 processes, now there are 1: go on with 2" in " ".join(errors.split())
    ended = run(made, broken, 2, "--auto-resume")
    assert [code for code, *_ in ended] == [0, 0], ended
    one, other = (losses(folder) for folder in (tmp_path / "whole", broken))
    assert one == other


def losses(folder: Path) -> list[dict[str, float]]:
    lines = map(json.loads, (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    timing = {"seconds", "audio_per_second"}
    return [{key: value for key, value in line.items() if key not in timing} for line in lines]


def damaged(audio: Path, folder: Path, names: set[str]) -> Path:
    """Copy audio as FLAC; those named have a sound header and nothing behind it that can be decoded."""
    folder.mkdir()
    for path in sorted(audio.iterdir()):
        file = folder / f"{path.stem}.flac"
        soundfile.write(file, *soundfile.read(path))
        if path.stem in names:
            content = file.read_bytes()
            file.write_bytes(content[: len(content) // 2])
    return folder


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_process_with_nothing_to_read_stops_nobody(
    recipe: Callable[..., Recipe], audio_folder: Path, tmp_path: Path, accumulate: int
) -> None:
    """One utterance a batch: where it cannot be decoded its process has no batch, the other one has."""
    bad = {"u03", "u08", "u15"}
    made = recipe(
        data__audio=str(damaged(audio_folder, tmp_path / "audio", bad)),
        data__batch_seconds=0.5,
        data__speed=[1.0],
        data__max_bad_share=0.5,
        training__steps=STEPS,
        training__accumulate=accumulate,
        training__teacher_memory_mb=0,
        training__validate_every=STEPS,
    )
    steps = trained(made, tmp_path / "run", 2)
    assert len(steps) == STEPS
    assert all(step["loss"] > 0 for step in steps)
    skipped = (tmp_path / "run" / "skipped.jsonl").read_text(encoding="utf-8").splitlines()
    assert {Path(json.loads(line)["path"]).stem for line in skipped} <= bad
    assert len(skipped) > 1
    assert not list((tmp_path / "run").glob("skipped-*"))


def test_bad_files_of_all_processes_count(
    recipe: Callable[..., Recipe], audio_folder: Path, tmp_path: Path
) -> None:
    """Neither process meets more bad files than are allowed; both together do, and both end."""
    bad = {f"u{index:02}" for index in range(0, 20, 2)}
    made = recipe(
        data__audio=str(damaged(audio_folder, tmp_path / "audio", bad)),
        data__batch_seconds=0.5,
        data__speed=[1.0],
        data__max_bad_share=0.35,  # seven of twenty
        training__steps=40,
        training__teacher_memory_mb=0,
        training__validate_every=40,
    )
    ended = run(made, tmp_path / "run", 2)
    assert [code for code, *_ in ended] == [1, 1], ended
    assert all("more than data.max_bad_share 35%" in " ".join(errors.split()) for *_, errors in ended), ended


def test_packed_audio_gives_two_and_four_processes_what_it_gives_one(
    recipe: Callable[..., Recipe], audio_folder: Path, tmp_path: Path
) -> None:
    """Each process has its own shards, and goes on with them where it was."""
    pack(audio_folder, tmp_path / "packed", shard_size=5)
    quiet = {
        "student__dropout": 0.0,
        "data__audio": str(tmp_path / "packed"),
        "data__batch_seconds": 1.2,
        "data__noise_share": 0.1,
        "training__delay_ms": 0,
        "training__spec_augment": {"time_masks": 0, "band_masks": 0},
        "training__steps": STEPS,
    }
    quiet["training__keep"] = 3
    one = trained(recipe(**quiet, training__accumulate=4), tmp_path / "one", 1)
    two = trained(recipe(**quiet, training__accumulate=2), tmp_path / "two", 2)
    four = trained(recipe(**quiet), tmp_path / "four", 4)
    assert len(one) == len(two) == len(four) == STEPS
    for shared in (two, four):
        for ours, alone in zip(shared, one, strict=True):
            assert ours["loss"] == pytest.approx(alone["loss"], rel=1e-5)
            assert ours["epoch"] == alone["epoch"]
    shutil.copytree(tmp_path / "two", tmp_path / "again")
    shutil.rmtree(tmp_path / "again" / "checkpoints" / "step-000006")
    (tmp_path / "again" / "last").write_text("step-000003\n")
    (tmp_path / "again" / "best").write_text("step-000003\n")
    ended = run(recipe(**quiet, training__accumulate=2), tmp_path / "again", 2, "--auto-resume")
    assert [code for code, *_ in ended] == [0, 0], ended
    assert losses(tmp_path / "again") == losses(tmp_path / "two")


def test_one_cuts_to_a_budget_and_both_train_what_it_made(
    recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    student = {"kind": "pretrained", "budget": "0.6x"}
    trained(recipe(student=student, training__steps=STEPS), tmp_path / "run", 2)
    begun, ended = (load_student(tmp_path / "run" / name).model for name in ("cut", ""))
    assert ended.config == begun.config
    frontier = json.loads((tmp_path / "run" / "cut" / "frontier.json").read_text())
    assert frontier["tried"][-1]["bytes"] == 4 * ended.parameter_count()
    too_little = recipe(student=student | {"budget": "0.01x"})
    both = run(too_little, tmp_path / "refused", 2)
    assert all(code for code, *_ in both), "neither waits for the other"
    assert "the budget cannot be reached" in " ".join(both[0][2].split())
