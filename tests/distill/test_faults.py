"""Faults of existing implementations that no single module can have; one test each.

The others are beside what they would break: wrapping dilation and selected padding in test_selection, lengths
and partly padded frames in test_alignment, empty selections, sums and underflow in test_losses, attention
masks and dropout in tests/teachers.
"""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors import safe_open

from kdcompress.config.objective import ObjectiveConfig
from kdcompress.config.recipe import Recipe
from kdcompress.distill.data.audio_batch import Batch
from kdcompress.distill.loop import distill
from kdcompress.distill.objective.alignment import FrameAlignment
from kdcompress.distill.objective.objective import Objective
from kdcompress.students.weights import load_student
from kdcompress.teachers.open import open_teacher
from kdcompress.teachers.teacher import Posteriors
from kdcompress.text.tokenizer import LongestMatch
from kdcompress.text.vocabulary import Vocabulary

Make = Callable[..., Recipe]
VOCABULARY = Vocabulary(("<blk>", "a", "b", "c"), blank=0)
PATTERNS: list[dict[str, Any]] = [
    {"kind": "all"},
    {"kind": "eliminate"},
    {"kind": "symmetric", "frames": 1},
    {"kind": "sides", "left": {"frames": 2}},
    {"kind": "trim"},
    {"kind": "threshold", "mass": 0.01},
    {"kind": "random", "ratio": 0.5},
]


def observer(step: Callable[[dict[str, Any]], None]) -> Any:
    def nothing(*rest: Any) -> None: ...

    return SimpleNamespace(
        stage=nothing, step=lambda at, total, figures: step(figures), validated=nothing, say=nothing
    )


FRAMES_ALONE = {"pseudo_label": {"weight": 0}}


def make_objective(config: ObjectiveConfig) -> Objective:
    return Objective(config, LongestMatch(VOCABULARY), alignment=FrameAlignment.between(0.04, 0.04, 0))


def terms(objective: Objective, teacher: torch.Tensor, student: torch.Tensor, lengths: torch.Tensor) -> Any:
    """Return (loss of the step, counts) of one batch."""
    ids = tuple(f"u{row}" for row in range(len(lengths)))
    nothing = torch.zeros(0)
    batch = Batch(ids, (1.0,) * len(ids), nothing, nothing, None, None, ())
    targets = objective.targets(batch, Posteriors(teacher, lengths, 0.04), lengths)
    counts = objective.counts([targets])
    sums = objective.terms(student[None], lengths, targets)
    pairs = zip(objective.weights, sums, counts, strict=True)
    return sum(weight * term.total / max(1, count) for weight, term, count in pairs), counts


def test_training_leaves_the_teacher_as_it_was(recipe: Make, tmp_path: Path) -> None:
    """Fault 3: in eval mode at every step, its weights untouched, none of them in the optimiser."""
    teacher = open_teacher(recipe().teacher)  # type: ignore[arg-type]
    model = teacher._model  # type: ignore[attr-defined]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes: set[bool] = set()

    def look(figures: dict[str, Any]) -> None:
        modes.update(module.training for module in model.modules())
        assert all(parameter.grad is None for parameter in model.parameters())

    made = recipe(training__steps=4, training__teacher_memory_mb=0)
    distill(made, tmp_path / "run", observer(look), teacher=teacher)
    assert modes == {False}
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    state = tmp_path / "run" / "checkpoints" / (tmp_path / "run" / "last").read_text().strip()
    with safe_open(state / "optimizer.safetensors", "pt") as file:
        held = {key.split("/")[1] for key in file.keys() if key.startswith("optimizer/")}  # noqa: SIM118  # it is no mapping
    assert len(held) == len(list(load_student(tmp_path / "run").model.parameters()))


@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda pattern: pattern["kind"])
def test_one_normaliser_for_every_pattern(pattern: dict[str, Any]) -> None:
    """Fault 5: where each frame costs the same, so does each pattern, however many frames a pattern keeps."""
    # Each frame is a permutation of one distribution, and the student's are uniform.
    best = torch.tensor([[0, 0, 1, 0, 0, 2, 2, 0, 0, 0], [0, 3, 0, 0, 0, 0, 0, 0, 0, 0]])
    probabilities = torch.full((2, 10, 4), 0.05).scatter(2, best[..., None], 0.85)
    student = torch.zeros(2, 10, 4).log_softmax(-1)
    config = ObjectiveConfig.model_validate(
        {"selection": pattern, "occupancy_weight": 0, "temperature": 2} | FRAMES_ALONE
    )
    objective = make_objective(config)
    loss, counts = terms(objective, probabilities.log(), student, torch.tensor([10, 6]))
    q = probabilities[0, 0].sqrt() / probabilities[0, 0].sqrt().sum()
    assert float(loss) == pytest.approx(4 * float((q * (q / 0.25).log()).sum()), rel=1e-5)
    assert 4 <= counts[0] <= 16


@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda pattern: pattern["kind"])
def test_silence_costs_nothing_and_breaks_nothing(pattern: dict[str, Any]) -> None:
    """Fault 4: a batch without a label gives zero, not NaN, and gradients that can be stepped on."""
    teacher = torch.tensor([8.0, 0.0, 0.0, 0.0]).expand(2, 5, 4).log_softmax(-1)
    student = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    config = ObjectiveConfig.model_validate({"selection": pattern, "occupancy_weight": 0} | FRAMES_ALONE)
    loss, counts = terms(make_objective(config), teacher, student.log_softmax(-1), torch.tensor([5, 0]))
    loss.backward()
    assert student.grad is not None
    assert torch.isfinite(student.grad).all()
    if pattern["kind"] != "all":
        assert (loss.item(), counts) == (0.0, [0])
        assert not student.grad.any()


def test_standard_distillation_reads_no_transcript(audio_folder: Path, recipe: Make, tmp_path: Path) -> None:
    """Fault 8: not even for a normaliser: transcripts change no number where λ = 1."""
    trajectories = []
    for name, text in (("with", {"text": "a b c a b"}), ("without", {})):
        manifest = tmp_path / f"{name}.jsonl"
        lines = [{"audio_filepath": str(p), "duration": 0.4, **text} for p in sorted(audio_folder.iterdir())]
        manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
        found: list[dict[str, Any]] = []
        made = recipe(data__audio=str(manifest), training__steps=3, objective={"selection": {"kind": "all"}})
        distill(made, tmp_path / name, observer(found.append))
        trajectories.append(found)
    assert trajectories[0] == trajectories[1]


def test_occupancy_gives_silence_the_target_that_selection_denies_it() -> None:
    """Fault 9: with λ = 1 nothing else stops insertions where the teacher says blank for long."""
    teacher = torch.tensor([[[8.0, 0.0, 0.0, 0.0]] * 30 + [[0.0, 8.0, 0.0, 0.0]]]).log_softmax(-1)
    for weight, heard in ((0.0, False), (1.0, True)):
        student = torch.zeros(1, 31, 4, requires_grad=True)
        selection = {"kind": "symmetric", "frames": 2}
        config = ObjectiveConfig.model_validate(
            {"selection": selection, "occupancy_weight": weight} | FRAMES_ALONE
        )
        loss, _ = terms(make_objective(config), teacher, student.log_softmax(-1), torch.tensor([31]))
        loss.backward()
        assert student.grad is not None
        silence = student.grad[0, :28]
        assert bool(silence.any()) == heard
        if heard:
            assert (silence[:, 0] < 0).all(), "towards the blank"
            assert (silence[:, 1:] > 0).all()
        assert student.grad[0, 28:].any()
