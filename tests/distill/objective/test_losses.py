"""Losses against float64 references written as sums over frames and classes."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from kdcompress.config.selection import SelectAll, SelectEliminate, SelectSymmetric
from kdcompress.distill.objective.frame_targets import FrameTargets, frame_targets
from kdcompress.distill.objective.losses import ctc, forward_kl_at, frame_kd, kl_divergence, occupancy_kd

BLANK = 0


def random_log_probs(seed: int, *shape: int, sharp: float = 4.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (sharp * torch.randn(*shape, generator=generator)).log_softmax(-1)


def targets_of(teacher: Tensor, lengths: list[int], n: int = 1) -> FrameTargets:
    return frame_targets(teacher, torch.tensor(lengths), BLANK, SelectSymmetric(frames=n), 0.04)


def softened(log_probs: Tensor, temperature: float) -> list[float]:
    weights = [math.exp(float(v) / temperature) for v in log_probs]
    return [w / sum(weights) for w in weights]


@given(seed=st.integers(0, 999), temperature=st.sampled_from([0.5, 1.0, 2.0]), n=st.integers(0, 3))
def test_frame_kd_is_the_sum_of_its_definition(seed: int, temperature: float, n: int) -> None:
    teacher, student = random_log_probs(seed, 2, 7, 5), random_log_probs(seed + 1, 2, 7, 5)
    targets = targets_of(teacher, [7, 4], n)
    expected = 0.0
    for row, frame in zip(targets.row.tolist(), targets.frame.tolist(), strict=True):
        q, p = softened(teacher[row, frame], temperature), softened(student[row, frame], temperature)
        expected += temperature**2 * sum(a * math.log(a / b) for a, b in zip(q, p, strict=True))
    loss = frame_kd(student, targets, temperature)
    assert loss.count == len(targets.row)
    assert float(loss.total) == pytest.approx(expected, rel=1e-4, abs=1e-4)


@given(seed=st.integers(0, 999))
def test_occupancy_is_the_two_class_divergence_over_all_valid_frames(seed: int) -> None:
    teacher, student = random_log_probs(seed, 2, 6, 5), random_log_probs(seed + 1, 2, 6, 5)
    expected, count = 0.0, 0
    for row, length in enumerate([6, 3]):
        for frame in range(length):
            q, p = math.exp(teacher[row, frame, BLANK]), math.exp(student[row, frame, BLANK])
            expected += q * math.log(q / p) + (1 - q) * math.log((1 - q) / (1 - p))
            count += 1
    loss = occupancy_kd(student, targets_of(teacher, [6, 3]), BLANK)
    assert loss.count == count
    assert float(loss.total) == pytest.approx(expected, rel=2e-3, abs=1e-4)


@given(seed=st.integers(0, 999), n=st.integers(0, 6))
def test_selected_frames_and_the_occupancy_of_the_rest_are_all_frames_but_for_one_part(
    seed: int, n: int
) -> None:
    """The chain rule: KL = KL of {blank, not blank} + the mass outside the blank × KL of what lies there."""
    lengths = [8, 5]
    teacher, student = (random_log_probs(seed + i, 2, 8, 5).double() for i in range(2))
    targets = targets_of(teacher, lengths, n)
    everywhere = frame_targets(teacher, torch.tensor(lengths), BLANK, SelectAll(), 0.04)
    left_out = 0.0
    chosen = set(zip(targets.row.tolist(), targets.frame.tolist(), strict=True))
    for row, length in enumerate(lengths):
        for frame in set(range(length)) - {frame for at, frame in chosen if at == row}:
            q, p = teacher[row, frame, 1:].exp(), student[row, frame, 1:].exp()
            left_out += float((q * ((q / q.sum()).log() - (p / p.sum()).log())).sum())
    rest = occupancy_kd(student, targets, BLANK, "rest")
    assert rest.count == sum(lengths)
    both = frame_kd(student, targets, 1.0).total + rest.total
    whole = float(frame_kd(student, everywhere, 1.0).total)
    assert float(both) + left_out == pytest.approx(whole, rel=1e-4, abs=1e-3)
    assert float(occupancy_kd(student, everywhere, BLANK, "rest").total) == 0


def test_both_are_zero_for_a_perfect_student() -> None:
    teacher = random_log_probs(3, 2, 9, 6)
    targets = targets_of(teacher, [9, 5])
    assert float(frame_kd(teacher, targets, 2.0).total) == pytest.approx(0, abs=1e-4)
    assert float(occupancy_kd(teacher, targets, BLANK).total) == pytest.approx(0, abs=1e-4)


def test_certainty_costs_no_nan() -> None:
    """A teacher certain of the blank: log mass of the rest far below what 1 - p can hold (fault 6)."""
    teacher = torch.tensor([[[0.0, -60.0, -70.0], [-200.0, 0.0, -200.0]]]).log_softmax(-1)
    student = random_log_probs(0, 1, 2, 3).requires_grad_()
    targets = frame_targets(teacher, torch.tensor([2]), BLANK, SelectAll(), 0.04)
    total = frame_kd(student, targets, 1.0).total + occupancy_kd(student, targets, BLANK).total
    total.backward()
    assert torch.isfinite(total)
    assert student.grad is not None
    assert torch.isfinite(student.grad).all()
    assert float(kl_divergence(torch.tensor([-torch.inf, 0.0]), torch.tensor([-1.0, -0.5]))) == 0.5


def test_nothing_selected_is_zero_with_a_graph() -> None:
    """An utterance without labels selects nothing and contributes exactly 0 (fault 4)."""
    teacher = torch.zeros(1, 5, 3)
    teacher[..., BLANK] = 9.0
    student = random_log_probs(0, 1, 5, 3).requires_grad_()
    targets = frame_targets(teacher.log_softmax(-1), torch.tensor([5]), BLANK, SelectEliminate(), 0.04)
    loss = frame_kd(student, targets, 2.0)
    loss.total.backward()
    assert (loss.total.item(), loss.count) == (0.0, 0)
    assert student.grad is not None
    assert not student.grad.any()


@given(seed=st.integers(0, 99), split=st.integers(1, 3))
def test_sums_over_parts_of_a_batch_add_up(seed: int, split: int) -> None:
    """What makes accumulation and data parallelism exact (fault 5)."""
    teacher, student = random_log_probs(seed, 4, 8, 5), random_log_probs(seed + 1, 4, 8, 5)
    lengths = [8, 6, 3, 7]
    whole = frame_kd(student, targets_of(teacher, lengths), 1.0)
    parts = [
        frame_kd(student[a:b], targets_of(teacher[a:b], lengths[a:b]), 1.0)
        for a, b in ((0, split), (split, 4))
    ]
    assert sum(p.count for p in parts) == whole.count
    assert float(sum(p.total for p in parts)) == pytest.approx(float(whole.total), rel=1e-5)


def test_padding_takes_no_part() -> None:
    """Fault 2: neither in the selection, nor in a sum, nor in a count; not in the gradient either."""
    teacher = random_log_probs(5, 2, 8, 5)
    student = random_log_probs(6, 2, 8, 5).requires_grad_()
    targets = targets_of(teacher, [8, 3], n=9)
    (frame_kd(student, targets, 1.0).total + occupancy_kd(student, targets, BLANK).total).backward()
    assert student.grad is not None
    assert not student.grad[1, 3:].any()
    assert student.grad[1, :3].any()


def test_targets_fit_a_student_with_a_frame_less() -> None:
    teacher, student = random_log_probs(1, 1, 9, 5), random_log_probs(2, 1, 8, 5)
    targets = frame_targets(teacher, torch.tensor([8]), BLANK, SelectAll(), 0.04)
    assert frame_kd(student, targets, 1.0).count == 8
    assert occupancy_kd(student, targets, BLANK).count == 8


def test_ctc_sums_all_paths() -> None:
    """Two frames, one label: the paths are aa, a-, -a."""
    log_probs = random_log_probs(0, 1, 2, 3)
    p = log_probs.exp()[0]
    expected = -math.log(float(p[0, 1] * p[1, 1] + p[0, 1] * p[1, 0] + p[0, 0] * p[1, 1]))
    loss = ctc(log_probs, torch.tensor([2]), torch.tensor([[1]]), torch.tensor([1]), BLANK)
    assert loss.count == 1
    assert float(loss.total) == pytest.approx(expected, rel=1e-5)


def test_ctc_without_room_for_its_labels_is_zero_not_infinite() -> None:
    loss = ctc(
        random_log_probs(0, 1, 2, 3), torch.tensor([2]), torch.tensor([[1, 1]]), torch.tensor([2]), BLANK
    )
    assert float(loss.total) == 0.0


@given(seed=st.integers(0, 100), share=st.floats(0, 1), piece=st.sampled_from([1, 3, 2048]))
def test_value_and_gradient_are_those_of_the_selected_kl_frames(seed: int, share: float, piece: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    student = torch.randn(3, 7, 5, generator=generator, dtype=torch.float64).log_softmax(-1).requires_grad_()
    teacher = torch.randn(3, 7, 5, generator=generator, dtype=torch.float64).log_softmax(-1)
    teacher[0, 0] = torch.tensor([0.0] + [-torch.inf] * 4)  # certain: 0 · log 0 is 0
    row, frame = (torch.rand(3, 7, generator=generator) < share).nonzero(as_tuple=True)
    loss = forward_kl_at(student, row, frame, teacher[row, frame], piece)
    (3 * loss).backward()
    mine, student.grad = student.grad, None
    expected = kl_divergence(teacher[row, frame], student[row, frame])
    (3 * expected).backward()
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(mine, student.grad)
