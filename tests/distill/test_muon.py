"""Muon against torch's own, its law, and runs that were begun when there was AdamW alone."""

import json
from collections.abc import Callable
from copy import deepcopy
from hashlib import sha256
from pathlib import Path

import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import nn
from torch.optim import AdamW

from kdcompress.config.recipe import Recipe
from kdcompress.distill.loop import distill
from kdcompress.distill.muon import Muon, semi_orthogonal
from tests.distill.test_optim import last, observer

Make = Callable[..., Recipe]


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
