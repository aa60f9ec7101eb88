"""A step does not wait for the device, and asks it for little.

There is no device here: training runs on `cpu:0`, the host is `cpu`. What lies on the device (weights, what
is moved or made there, and what follows from it) is marked, and the host's looks at it are counted.
"""

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from kdcompress.config.recipe import Recipe
from kdcompress.distill import loop, setup
from kdcompress.distill.loop import distill
from kdcompress.distill.loop import set_up as real_set_up

Make = Callable[..., Recipe]

DEVICE = torch.device("cpu", 0)
LOOKS = {f"aten::{name}" for name in ("_local_scalar_dense", "nonzero", "equal", "masked_select")}


class Device(TorchDispatchMode):
    """Counts the operations of some steps, and the looks of the host at what would lie on a device."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self.counts = False
        self.marked: set[int] = set()
        self.kept: list[Tensor] = []  # a storage that is freed gives its address to another
        self.calls: Counter[str] = Counter()
        self.waits: Counter[str] = Counter()
        original = {name: getattr(Tensor, name) for name in ("to", "cpu", "tolist", "numpy")}

        def to(tensor: Tensor, *arguments: Any, **options: Any) -> Tensor:
            target = (*arguments, options.get("device"))[0]
            moved: Tensor = original["to"](tensor, *arguments, **options)
            if not isinstance(target, torch.device):
                return moved
            if target == DEVICE:
                moved = moved.clone() if moved is tensor and not self.is_marked(tensor) else moved
                self.mark(moved)
            elif self.is_marked(tensor) and "torch" not in Path(sys._getframe(1).f_code.co_filename).parts:
                self.waits["to"] += self.counts  # torch itself names the host so where the device is meant
                moved = moved.clone()
            return moved

        def looking(name: str) -> Callable[..., Any]:
            def look(tensor: Tensor, *arguments: Any, **options: Any) -> Any:
                if self.is_marked(tensor):
                    self.waits[name] += self.counts
                return original[name](tensor, *arguments, **options)

            return look

        monkeypatch.setattr(Tensor, "to", to)
        for name in ("cpu", "tolist", "numpy"):
            monkeypatch.setattr(Tensor, name, looking(name))

    def mark(self, tensor: Tensor) -> None:
        self.marked.add(tensor.untyped_storage()._cdata)
        self.kept.append(tensor.detach())

    def is_marked(self, tensor: Tensor) -> bool:
        return tensor.untyped_storage()._cdata in self.marked

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name
        self.calls[name] += 1
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        on_device = any(self.is_marked(tensor) for tensor in tensors)
        masks = [t for t in tensors[1:] if t.dtype == torch.bool] if name.startswith("aten::index") else []
        if on_device and (name in LOOKS or any(self.is_marked(mask) for mask in masks)):
            self.waits[name] += 1
        result = func(*args, **(kwargs or {}))
        if on_device or (kwargs or {}).get("device") == DEVICE:
            for leaf in tree_leaves(result):
                if isinstance(leaf, Tensor):
                    self.mark(leaf)
        return result


def followed(recipe: Recipe, out: Path, monkeypatch: pytest.MonkeyPatch, steps: range) -> Device:
    """Train, and count what happens in some steps, which are neither logged nor validated."""
    device = Device(monkeypatch)

    def marked_set_up(*arguments: Any, **options: Any) -> Any:
        training = real_set_up(*arguments, **options)
        for tensor in (*training.student.parameters(), *training.student.buffers()):
            device.mark(tensor)
        return training

    class Steps:
        def stage(self, *_: Any) -> None: ...
        def say(self, *_: Any) -> None: ...
        def validated(self, *_: Any) -> None: ...
        def step(self, step: int, total: int, figures: dict[str, Any]) -> None:
            if step == steps.start:
                device.calls.clear()
                device.waits.clear()
                device.counts = True
                device.__enter__()
            elif step == steps.stop:
                device.counts = False
                device.__exit__(None, None, None)

    monkeypatch.setattr(loop, "set_up", marked_set_up)
    monkeypatch.setattr(setup, "training_device", lambda: DEVICE)
    monkeypatch.setattr(Accelerator, "device", property(lambda _: DEVICE))
    distill(recipe, out, Steps())
    return device


OBJECTIVES: dict[str, dict[str, Any]] = {
    "default": {},
    "frames alone": {"pseudo_label": {"weight": 0}},
    "all occupancy": {"occupancy_frames": "all"},
    "reverse divergence": {"divergence": {"kind": "reverse-kl"}},
    "sure transcripts": {"pseudo_label": {"min_confidence": 0.5}},
    "two views": {"consistency_weight": 0.3},
}


@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)
def test_no_step_waits_for_the_device(
    recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, objective: dict[str, Any]
) -> None:
    made = recipe(objective=objective, training__steps=8, training__log_every=8, training__validate_every=8)
    device = followed(made, tmp_path / "run", monkeypatch, range(2, 7))
    assert not +device.waits
    assert sum(device.calls.values()) > 500  # it did look


def test_logging_waits_once_and_counting_sees_it(
    recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = recipe(training__steps=8, training__log_every=4, training__validate_every=8)
    device = followed(made, tmp_path / "run", monkeypatch, range(2, 7))
    assert +device.waits == {"tolist": 1}


@pytest.mark.parametrize(("optimizer", "most"), [("adamw", 900), ("muon", 1100)])
def test_a_step_is_few_calls(
    recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, optimizer: str, most: int
) -> None:
    """One block: about 300 forward and backward, 100 for the targets, the rest is clipping and counting.

    Muon makes some 30 for each shape of a matrix.
    """
    training = {"steps": 8, "log_every": 8, "validate_every": 8, "optimizer": optimizer}
    device = followed(recipe(training=training), tmp_path / "run", monkeypatch, range(2, 7))
    assert sum(device.calls.values()) / 5 < most
