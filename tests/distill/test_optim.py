"""The running average against its definition, and runs that keep it."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from kdcompress.config.recipe import Recipe
from kdcompress.config.student import ConformerConfig
from kdcompress.distill.loop import distill
from kdcompress.distill.optim import AveragedStudent
from kdcompress.students.conformer import ConformerStudent
from kdcompress.students.weights import load_student

Make = Callable[..., Recipe]
TINY = {"width": 16, "layers": 1, "heads": 2, "kernel": 3, "stem_channels": 4, "frame_shift_ms": 40}


def observer(at: int | None = None) -> Any:
    def step(step: int, total: int, figures: dict[str, Any]) -> None:
        if step == at:
            os.kill(os.getpid(), signal.SIGTERM)

    def nothing(*rest: Any) -> None: ...

    return SimpleNamespace(stage=nothing, step=step, validated=nothing, say=nothing)


def test_it_is_the_recursion_that_it_states() -> None:
    student = ConformerStudent(ConformerConfig(**TINY), 4)
    averaged = AveragedStudent(student, 0.8)
    expected = student.head.weight.detach().double().clone()
    for step in range(1, 60):
        with torch.no_grad():
            student.head.weight.copy_(torch.randn_like(student.head.weight))
        averaged.update(step)
        decay = min(0.8, step / (step + 9))
        expected = decay * expected + (1 - decay) * student.head.weight.detach().double()
    assert torch.allclose(averaged.model.head.weight.double(), expected, atol=1e-5)
    assert not torch.equal(averaged.model.head.weight, student.head.weight)


def test_without_decay_it_is_the_student_itself() -> None:
    student = ConformerStudent(ConformerConfig(**TINY), 4)
    assert AveragedStudent(student, None).model is student


def last(run: Path) -> Path:
    return run / "checkpoints" / (run / "last").read_text().strip()


def test_the_average_is_kept_validated_and_resumed_exactly(recipe: Make, tmp_path: Path) -> None:
    made = recipe(training__ema_decay=0.9)
    whole, run, plain = tmp_path / "whole", tmp_path / "run", tmp_path / "plain"
    distill(made, whole, observer())
    assert not distill(made, run, observer(at=4)).finished
    assert distill(None, run, observer(), resume=True).finished
    distill(recipe(), plain, observer())
    for name in ("model.safetensors", "optimizer.safetensors"):
        one, other = load_file(last(whole) / name), load_file(last(run) / name)
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one)
    # What the optimiser moves is as without an average; what is kept for use is not.
    trained = load_file(last(whole) / "optimizer.safetensors")["trained/head.weight"]
    unaveraged = load_student(last(plain)).model.head.weight
    assert torch.equal(trained, unaveraged)
    assert not torch.equal(load_student(last(whole)).model.head.weight, unaveraged)
    kl = [
        json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])["validation"]["kl"]
        for run in (whole, plain)
    ]
    assert kl[0] != pytest.approx(kl[1], rel=1e-4)
