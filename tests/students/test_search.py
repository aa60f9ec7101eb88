"""Searches for cuts: the budget is kept, the same student is found again, and it is no worse than chance."""

import copy
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tiny_transformers import audio
from torch import Tensor

from kdcompress.config.student import ConformerConfig, PretrainedConfig
from kdcompress.distill.pretrained import make_pretrained
from kdcompress.errors import AudioError, ConfigError
from kdcompress.students.conformer import ConformerStudent
from kdcompress.students.pruning.budget import Budget
from kdcompress.students.pruning.probe import Calibration, probe, sizes_of
from kdcompress.students.pruning.prune import Cut, Place, prune
from kdcompress.students.pruning.search import search
from kdcompress.students.student import Student
from kdcompress.text.vocabulary import Vocabulary

UNITS = Vocabulary(("<blk>", "|", *"abcdef"), 0, "|")


def conformer() -> Student:
    torch.manual_seed(0)
    shape = {"width": 16, "layers": 2, "heads": 2, "feed_forward": 2.0, "kernel": 3, "stem_channels": 4}
    config = ConformerConfig(**shape, frame_shift_ms=40)
    student = ConformerStudent(config, len(UNITS)).eval()
    with torch.no_grad():
        student.head.weight.mul_(8)
    return student


def sounds() -> list[Tensor]:
    return [audio(12_000 + 2_000 * seed, seed) for seed in range(4)]


def test_the_budget_is_kept_and_the_same_student_found_again() -> None:
    teacher = conformer()
    steps: list[tuple[float, float]] = []
    found = search(teacher, UNITS, Budget.parse("0.5x"), sounds(), lambda _, *now: steps.append(now))
    again = search(teacher, UNITS, Budget.parse("0.5x"), sounds())
    whole = 4 * teacher.parameter_count()
    assert 0.3 * whole < found.chosen.bytes <= 0.5 * whole
    assert found.chosen.bytes == 4 * found.chosen.student.parameter_count()
    assert [trial.bytes for trial in found.trials] == sorted((t.bytes for t in found.trials), reverse=True)
    assert found.trials[0].kl < 1e-6
    assert steps[-1][0] == steps[-1][1]
    assert [done for done, _ in steps] == list(range(1, len(steps) + 1))
    for one, other in zip(found.chosen.student.parameters(), again.chosen.student.parameters(), strict=True):
        assert torch.equal(one, other)
    tried = found.to_json()["tried"]
    assert tried[0]["share"] == 1
    assert tried[-1]["share"] <= 0.5
    assert 0 < tried[-1]["time"]["low"] <= tried[-1]["time"]["high"]


@torch.no_grad()
def test_no_size_below_the_one_that_was_tried_has_a_cost() -> None:
    teacher, heard = conformer(), sounds()
    calibration = Calibration.of(teacher, heard, [audio(40_000, 99)])
    found = probe(teacher, teacher, [Place(0, 1), Place(1, 2)], calibration).parts
    for _, part in teacher.anatomy():
        sizes = sizes_of(part)
        assert list(found[part.name]) == sizes[: len(sizes) // 2 + 1]


@torch.no_grad()
def test_what_refitting_mends_is_not_what_a_cut_costs() -> None:
    """A student whose maps are all off: any cut, refitted, is better than what it is, and costs still."""
    teacher, heard = conformer(), sounds()
    student = copy.deepcopy(teacher)
    for layer in student.anatomy().layers:
        for part in layer.parts:
            part.last_of(layer.module).weight.mul_(0.5)
    calibration = Calibration.of(teacher, heard, [audio(40_000, 99)])
    found = probe(student, teacher, [Place(0, 1), Place(1, 2)], calibration).parts
    assert sum(max(curve.values()) > 0 for curve in found.values()) > len(found) / 2


@torch.no_grad()
@pytest.mark.slow
def test_it_is_closer_than_random_cuts_of_equal_size() -> None:
    teacher = conformer()
    heard = [audio(24_000 + 4_000 * (seed % 4), seed) for seed in range(12)]  # on four seconds rounds overfit
    found = search(teacher, UNITS, Budget.parse("0.6x"), heard)
    calibration = Calibration.of(teacher, heard, [audio(40_000, 99)])
    draw = random.Random(0)
    others = []
    while len(others) < 5:
        sizes = {part.name: draw.choice([part.units, *sizes_of(part)]) for _, part in teacher.anatomy()}
        drawn = prune(teacher, Cut(sizes), heard).student
        if 0.55 < drawn.parameter_count() * 4 / found.chosen.bytes * 0.6 < 0.65:
            others.append(calibration.of_student(drawn))
    assert calibration.of_student(found.chosen.student) <= min(others)


@pytest.mark.slow
def test_time_is_a_budget_too(saved: Callable[[str], Path]) -> None:
    teacher = make_pretrained(PretrainedConfig(source=str(saved("wav2vec2-layer"))), None, UNITS)
    found = search(teacher, UNITS, Budget.parse("rtf:0.9x"), sounds())
    assert len(found.trials) > 1
    assert found.chosen.bytes < found.trials[0].bytes


def test_what_cannot_be_reached_is_refused_in_one_line() -> None:
    with pytest.raises(ConfigError, match=r"cannot be reached: the smallest student has 0\.\d+"):
        search(conformer(), UNITS, Budget.parse("0.01x"), sounds()[:2])
    with pytest.raises(ConfigError, match="within the budget already"):
        search(conformer(), UNITS, Budget.parse("30MB"), sounds())
    with pytest.raises(AudioError, match="two files"):
        search(conformer(), UNITS, Budget.parse("0.5x"), sounds()[:1])
    for text in ("", "0.5", "1.5x", "0x", "1.2.3x", "30", "rtf:30MB", "0MB"):
        with pytest.raises(ConfigError, match="expected bytes"):
            Budget.parse(text)
