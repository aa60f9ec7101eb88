"""Students that come later than their teacher."""

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from kdcompress.distill.objective.alignment import FrameAlignment
from kdcompress.distill.objective.delay import best_alignment, delayed
from kdcompress.errors import ConfigError
from kdcompress.teachers.teacher import Posteriors

BLANK = 0


def peaky(tokens: list[int], sure: float = 6.0) -> Tensor:
    """Return log posteriors [1, T, 4] whose best tokens are these."""
    return torch.nn.functional.one_hot(torch.tensor([tokens]), 4).mul(sure).float().log_softmax(-1)


def cost(teacher: Tensor, student: Tensor, path: list[int]) -> float:
    matched = teacher[0, path]
    return float((matched.exp() * (matched - student[0, : len(path)])).sum())


@given(data=st.data(), frames=st.integers(1, 6), most=st.integers(0, 3), seed=st.integers(0, 999))
@settings(max_examples=40)
def test_no_other_alignment_is_better(data: st.DataObject, frames: int, most: int, seed: int) -> None:
    """Every way through a few frames is tried."""
    tokens = data.draw(st.lists(st.integers(0, 3), min_size=frames, max_size=frames))
    teacher = peaky(tokens)
    student = torch.randn(1, frames, 4, generator=torch.Generator().manual_seed(seed)).log_softmax(-1)
    found = best_alignment(teacher, student, torch.tensor([frames]), BLANK, most)[0].tolist()

    def allowed(path: tuple[int, ...]) -> bool:
        if path[0] != 0 or any(not 0 <= s - a <= most for s, a in enumerate(path)):
            return False
        left_out = set(range(frames)) - set(path)
        steps = np.diff(path)
        return bool(((steps >= 0) & (steps <= 2)).all()) and all(tokens[a] == BLANK for a in left_out)

    paths = [path for path in product(range(frames), repeat=frames) if allowed(path)]
    assert allowed(tuple(found))
    best = min(cost(teacher, student, list(path)) for path in paths)
    assert cost(teacher, student, found) == pytest.approx(best, abs=1e-4)


@given(late=st.integers(0, 3), most=st.integers(0, 3))
def test_a_late_student_is_found_to_be_right(late: int, most: int) -> None:
    teacher = peaky([0, 0, 1, 0, 2, 2, 0, 0, 3, 0, 0, 0, 0])
    student = delayed(teacher, late)[:, :13]
    at = best_alignment(teacher, student, torch.tensor([13]), BLANK, most)
    error = cost(teacher, student, at[0].tolist())
    assert (error < 1e-3) == (late <= most)


def test_padding_and_company_change_no_alignment() -> None:
    generator = torch.Generator().manual_seed(0)
    teacher, student = (torch.randn(3, 20, 4, generator=generator).log_softmax(-1) for _ in range(2))
    lengths = torch.tensor([20, 7, 0])
    together = best_alignment(teacher, student, lengths, BLANK, 3)
    alone = best_alignment(teacher[1:2, :7], student[1:2, :7], lengths[1:2], BLANK, 3)
    assert together[1, :7].tolist() == alone[0].tolist()


def test_a_fixed_delay_moves_what_is_compared() -> None:
    alignment = FrameAlignment.between(0.04, 0.04, BLANK, delay_ms=80)
    teacher = peaky([0, 1, 0, 2, 0, 0])
    aligned = alignment(Posteriors(teacher, torch.tensor([6]), 0.04), torch.tensor([7]), ["one"])
    assert aligned.lengths.tolist() == [7]
    assert aligned.log_probs[0, :7].argmax(-1).tolist() == [0, 0, 0, 1, 0, 2, 0]
    with pytest.raises(ConfigError, match="delay_ms is 50, expected a multiple"):
        FrameAlignment.between(0.04, 0.04, BLANK, delay_ms=50)
