"""Muon against torch's own and its law, the running average against its definition, and runs with both."""

import json
import os
import signal
from collections.abc import Callable
from copy import deepcopy
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import nn
from torch.optim import AdamW

from kdcompress.config.recipe import Recipe
from kdcompress.config.student import ConformerConfig
from kdcompress.distill.loop import distill
from kdcompress.distill.optim import AveragedStudent, Muon, semi_orthogonal
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


def split(net: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    return [p for p in net.parameters() if p.ndim == 2], [p for p in net.parameters() if p.ndim != 2]


def test_it_moves_as_torchs_muon_and_adamw_do_each_its_own() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(20, 30), nn.Linear(30, 10), nn.Linear(10, 30), nn.Linear(30, 10))
    start, other = deepcopy(net), deepcopy(net)
    rates = {"lr": 1e-2, "weight_decay": 0.1}
    one = Muon(split(net)[0], AdamW(split(net)[1], fused=True, **rates), **rates)
    theirs = torch.optim.Muon(split(other)[0], adjust_lr_fn="match_rms_adamw", **rates)
    rest = AdamW(split(other)[1], **rates)
    for _ in range(20):
        x = torch.randn(8, 20)
        for optimizers, model in (((one,), net), ((theirs, rest), other)):
            model(x).square().mean().backward()
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad()
        one.load_state_dict(deepcopy(one.state_dict()))  # as resuming does
    for ours, expected, begun in zip(net.parameters(), other.parameters(), start.parameters(), strict=True):
        # Theirs are products in bfloat16, of three digits.
        assert (ours - expected).norm() < 0.05 * (expected - begun).norm()


@given(
    rows=st.integers(1, 24),
    columns=st.integers(1, 24),
    scale=st.sampled_from([1e-6, 1.0, 1e6]),
    seed=st.integers(0, 99),
)
def test_singular_vectors_stay_and_values_come_near_one(
    rows: int, columns: int, scale: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    wide = torch.randn(3, min(rows, columns), max(rows, columns), generator=generator)
    left, _, right = torch.linalg.svd(wide, full_matrices=False)
    values = 0.1 + 0.9 * torch.rand(3, min(rows, columns), generator=generator)
    found = semi_orthogonal(scale * left @ torch.diag_embed(values) @ right)
    inside = left.mT @ found @ right.mT
    kept = inside.diagonal(dim1=1, dim2=2)
    assert torch.allclose(inside, torch.diag_embed(kept), atol=1e-3)
    assert kept.min() > 0.6
    assert kept.max() < 1.3
    assert torch.allclose(left @ inside @ right, found, atol=1e-3)


def test_no_gradient_moves_nothing_and_makes_no_number_that_is_none() -> None:
    matrix, vector = nn.Parameter(torch.ones(3, 4)), nn.Parameter(torch.ones(3))
    optimizer = Muon([matrix], AdamW([vector]), lr=0.1, weight_decay=0)
    optimizer.step()
    matrix.grad = torch.zeros_like(matrix)
    optimizer.step()
    assert torch.equal(matrix, torch.ones(3, 4))
    assert torch.equal(vector, torch.ones(3))


def test_a_run_that_names_no_optimiser_goes_on_with_adamw(recipe: Make, tmp_path: Path) -> None:
    made = recipe(training__optimizer="adamw")
    whole, run, anew = tmp_path / "whole", tmp_path / "run", tmp_path / "anew"
    distill(made, whole, observer())
    assert not distill(made, run, observer(at=4)).finished
    kept = [line for line in (run / "recipe.yaml").read_text().splitlines() if "optimizer" not in line]
    (run / "recipe.yaml").write_text("\n".join(kept) + "\n")
    about = json.loads((run / "environment.json").read_text())
    about["recipe_sha256"] = sha256((run / "recipe.yaml").read_bytes()).hexdigest()
    (run / "environment.json").write_text(json.dumps(about))
    assert distill(None, run, observer(), resume=True).finished
    distill(recipe(training__optimizer="muon"), anew, observer())
    one, other, muon = (load_file(last(each) / "model.safetensors") for each in (whole, run, anew))
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert not torch.equal(one["head.weight"], muon["head.weight"])
