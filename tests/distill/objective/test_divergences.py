"""Divergences against float64 loops, dense and sparse, and the laws that tie them together."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from kdcompress.config.objective import DecoupledKD, Divergence, ForwardKL, JensenShannon, ReverseKL
from kdcompress.config.selection import SelectAll, SelectEliminate, SelectSymmetric
from kdcompress.distill.objective.divergences import decoupled_parts, make_divergence, paired
from kdcompress.distill.objective.frame_targets import FrameTargets, frame_targets
from kdcompress.distill.objective.losses import frame_kd

BLANK = 2
V = 6
ALL: list[Divergence] = [ForwardKL(), ReverseKL(), JensenShannon(), DecoupledKD(rest_weight=0.7)]
EACH = pytest.mark.parametrize("config", ALL, ids=lambda config: config.kind)


def random_log_probs(seed: int, *shape: int, sharp: float = 3.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (sharp * torch.randn(*shape, generator=generator)).log_softmax(-1)


def dense(teacher: Tensor, lengths: list[int]) -> FrameTargets:
    return frame_targets(teacher, torch.tensor(lengths), BLANK, SelectSymmetric(frames=1), 0.04)


def sparse(targets: FrameTargets, k: int) -> FrameTargets:
    """The K best tokens in no particular order, and the mass of the others in float64."""
    tokens = targets.log_probs.topk(k).indices.flip(-1)
    rest = targets.log_probs.double().exp().scatter(1, tokens, 0.0).sum(1).log().float()
    kept = targets.log_probs.gather(1, tokens)
    return FrameTargets(targets.row, targets.frame, kept, targets.occupancy, targets.valid, tokens, rest)


def kl(q: list[float], p: list[float]) -> float:
    return sum(a * math.log(a / b) for a, b in zip(q, p, strict=True) if a > 0)


def scaled(values: list[float]) -> list[float]:
    total = sum(values)
    return [value / total for value in values] if total > 0 else values


def reference(config: Divergence, q: list[float], p: list[float], tokens: list[int]) -> float:
    """One frame: q the teacher's classes, p the student's, tokens[-1] = -1 where the last is the tail."""
    match config:
        case ForwardKL():
            return kl(q, p)
        case ReverseKL():
            return kl(p, q)
        case JensenShannon():
            m = [(a + b) / 2 for a, b in zip(q, p, strict=True)]
            return kl(q, m) / 2 + kl(p, m) / 2
    best = max((c for c, token in enumerate(tokens) if token >= 0), key=lambda c: q[c])
    named = [c for c, token in enumerate(tokens) if token == BLANK or c == best]
    rest = [c for c in range(len(q)) if c not in named]
    masses = [[*(side[c] for c in named), sum(side[c] for c in rest)] for side in (q, p)]
    inside = kl(*(scaled([side[c] for c in rest]) for side in (q, p)))
    return kl(*masses) + config.rest_weight * inside


def by_hand(config: Divergence, student: Tensor, targets: FrameTargets, τ: float) -> float:
    total = 0.0
    for n, (row, frame) in enumerate(zip(targets.row.tolist(), targets.frame.tolist(), strict=True)):
        q, p = targets.log_probs[n].double().exp().tolist(), student[row, frame].double().exp().tolist()
        tokens = list(range(V))
        if targets.tokens is not None and targets.rest is not None:
            tokens = targets.tokens[n].tolist()
            p = [p[t] for t in tokens] + [sum(p[t] for t in range(V) if t not in tokens)]
            q, tokens = [*q, math.exp(targets.rest[n])], [*tokens, -1]
            if len(tokens) > V:
                q, p, tokens = q[:-1], p[:-1], tokens[:-1]
        q, p = (scaled([value ** (1 / τ) for value in side]) for side in (q, p))
        total += τ**2 * reference(config, q, p, tokens)
    return total


@EACH
@pytest.mark.parametrize("k", [None, 1, 2, 4, V])
@settings(max_examples=15)
@given(seed=st.integers(0, 999), τ=st.sampled_from([0.7, 1.0, 2.0]))
def test_it_is_the_sum_of_its_definition(config: Divergence, k: int | None, seed: int, τ: float) -> None:
    teacher, student = random_log_probs(seed, 2, 5, V), random_log_probs(seed + 1, 2, 5, V)
    targets = dense(teacher, [5, 3])
    targets = targets if k is None else sparse(targets, k)
    loss = frame_kd(student, targets, τ, make_divergence(config, BLANK))
    assert loss.count == len(targets.row)
    assert float(loss.total) == pytest.approx(by_hand(config, student, targets, τ), rel=2e-4, abs=2e-4)


@EACH
@given(seed=st.integers(0, 999), τ=st.sampled_from([0.7, 1.0, 2.0]))
def test_all_tokens_kept_is_dense(config: Divergence, seed: int, τ: float) -> None:
    teacher, student = random_log_probs(seed, 2, 5, V), random_log_probs(seed + 1, 2, 5, V)
    targets, measure = dense(teacher, [5, 3]), make_divergence(config, BLANK)
    whole = frame_kd(student, targets, τ, measure).total
    assert float(frame_kd(student, sparse(targets, V), τ, measure).total) == pytest.approx(
        float(whole), rel=1e-4, abs=1e-4
    )


@given(seed=st.integers(0, 999), k=st.integers(1, V - 1))
def test_a_tail_hides_but_never_invents(seed: int, k: int) -> None:
    """Merging classes cannot raise a divergence, and KL(q ‖ q) stays 0."""
    teacher, student = random_log_probs(seed, 1, 5, V), random_log_probs(seed + 1, 1, 5, V)
    targets = dense(teacher, [5])
    for config in ALL[:3]:
        measure = make_divergence(config, BLANK)
        merged = float(frame_kd(student, sparse(targets, k), 1.0, measure).total)
        assert -1e-4 <= merged <= float(frame_kd(student, targets, 1.0, measure).total) + 1e-4


@EACH
@pytest.mark.parametrize("k", [None, 3])
def test_a_perfect_student_costs_nothing(config: Divergence, k: int | None) -> None:
    teacher = random_log_probs(3, 2, 9, V)
    targets = dense(teacher, [9, 5])
    targets = targets if k is None else sparse(targets, k)
    assert float(frame_kd(teacher, targets, 2.0, make_divergence(config, BLANK)).total) == pytest.approx(
        0, abs=1e-4
    )


@given(seed=st.integers(0, 999), k=st.sampled_from([None, 1, 2, 4]))
def test_decoupled_parts_add_up_to_forward_kl(seed: int, k: int | None) -> None:
    """Zhao et al. 2022, equation 6, with three masses: KL = KL(masses) + q(rest)·KL(rest)."""
    teacher, student = random_log_probs(seed, 2, 5, V), random_log_probs(seed + 1, 2, 5, V)
    targets = dense(teacher, [5, 3])
    q, p, tokens = paired(student, targets if k is None else sparse(targets, k), 1.0)
    masses, inside, rest = decoupled_parts(q, p, tokens, BLANK)
    whole = (q.exp() * (q - p)).sum(dim=1)
    assert torch.allclose(masses + rest * inside, whole, rtol=1e-4, atol=1e-5)


def test_decoupled_separates_what_it_weighs() -> None:
    """A student wrong only inside the rest pays β-fold for that and nothing for the masses."""
    teacher = torch.tensor([[[0.10, 0.05, 0.20, 0.60, 0.03, 0.02]]]).log()
    student = torch.tensor([[[0.02, 0.10, 0.20, 0.60, 0.05, 0.03]]]).log()
    targets = frame_targets(teacher, torch.tensor([1]), BLANK, SelectAll(), 0.04)
    inside = kl([0.5, 0.25, 0.15, 0.1], [0.1, 0.5, 0.25, 0.15])
    for weight in (0.0, 1.0, 8.0):
        measure = make_divergence(DecoupledKD(rest_weight=weight), BLANK)
        assert float(frame_kd(student, targets, 1.0, measure).total) == pytest.approx(
            weight * inside, abs=1e-5
        )


def test_decoupled_without_a_rest_is_forward_kl() -> None:
    """Two tokens, the blank and the teacher's: nothing is left over, and no NaN either."""
    teacher, student = random_log_probs(0, 1, 30, 2), random_log_probs(1, 1, 30, 2).requires_grad_()
    targets = frame_targets(teacher, torch.tensor([30]), 0, SelectEliminate(), 0.04)
    assert len(targets.row) > 1
    loss = frame_kd(student, targets, 1.0, make_divergence(DecoupledKD(), 0))
    loss.total.backward()
    expected = frame_kd(student, targets, 1.0, make_divergence(ForwardKL(), 0)).total
    assert loss.total.item() == pytest.approx(expected.item(), rel=1e-5)
    assert student.grad is not None
    assert torch.isfinite(student.grad).all()


def test_reverse_and_forward_are_each_others_mirror() -> None:
    one, other = random_log_probs(0, 1, 6, V), random_log_probs(1, 1, 6, V)
    to_other, to_one = (
        frame_targets(teacher, torch.tensor([6]), BLANK, SelectAll(), 0.04) for teacher in (other, one)
    )
    forward = frame_kd(one, to_other, 1.0, make_divergence(ForwardKL(), BLANK)).total
    reverse = frame_kd(other, to_one, 1.0, make_divergence(ReverseKL(), BLANK)).total
    assert float(forward) == pytest.approx(float(reverse), rel=1e-5)


@EACH
@pytest.mark.parametrize("k", [None, 1, 2])
def test_certainty_and_an_empty_tail_give_finite_gradients(config: Divergence, k: int | None) -> None:
    teacher = torch.tensor([[[0.0, -60.0, -70.0], [-200.0, 0.0, -200.0], [-90.0, -300.0, 0.0]]])
    student = random_log_probs(0, 1, 3, 3).requires_grad_()
    targets = frame_targets(teacher, torch.tensor([3]), BLANK, SelectAll(), 0.04)
    if k is not None:
        targets = replace(sparse(targets, k), rest=torch.full((3,), -torch.inf))
    loss = frame_kd(student.log_softmax(-1), targets, 1.0, make_divergence(config, BLANK)).total
    loss.backward()
    assert torch.isfinite(loss)
    assert student.grad is not None
    assert torch.isfinite(student.grad).all()


@EACH
@pytest.mark.parametrize("k", [None, 2])
def test_nothing_selected_is_zero_with_a_graph(config: Divergence, k: int | None) -> None:
    teacher = torch.zeros(1, 5, 3)
    teacher[..., BLANK] = 9.0
    student = random_log_probs(0, 1, 5, 3).requires_grad_()
    targets = frame_targets(teacher.log_softmax(-1), torch.tensor([5]), BLANK, SelectEliminate(), 0.04)
    targets = targets if k is None else sparse(targets, k)
    loss = frame_kd(student, targets, 2.0, make_divergence(config, BLANK))
    loss.total.backward()
    assert (loss.total.item(), loss.count) == (0.0, 0)
    assert student.grad is not None
    assert not student.grad.any()


@EACH
def test_the_gradient_is_that_of_the_float64_loop(config: Divergence) -> None:
    teacher, logits = random_log_probs(5, 1, 4, V), 2 * random_log_probs(6, 1, 4, V)
    targets, measure = sparse(dense(teacher, [4]), 3), make_divergence(config, BLANK)
    student = logits.clone().requires_grad_()
    frame_kd(student.log_softmax(-1), targets, 2.0, measure).total.backward()
    assert student.grad is not None
    for token in range(V):
        step = torch.zeros(1, 4, V, dtype=torch.float64)
        step[..., token] = 1e-4
        up, down = (
            by_hand(config, (logits.double() + sign * step).log_softmax(-1), targets, 2.0) for sign in (1, -1)
        )
        assert float(student.grad[..., token].sum()) == pytest.approx((up - down) / 2e-4, abs=2e-3)


@pytest.mark.parametrize(
    ("tokens", "rest", "complaint"),
    [
        (torch.zeros(2, 3, dtype=torch.int64), None, "both tokens"),
        (None, torch.zeros(2), "both tokens"),
        (torch.zeros(2, 4, dtype=torch.int64), torch.zeros(2), "do not fit"),
        (torch.zeros(2, 3, dtype=torch.int64), torch.zeros(3), "do not fit"),
    ],
)
def test_sparse_targets_must_fit_together(tokens: Tensor | None, rest: Tensor | None, complaint: str) -> None:
    at, occupancy, valid = torch.arange(2), torch.zeros(2, 2), torch.ones(1, 2, dtype=torch.bool)
    with pytest.raises(ValueError, match=complaint):
        FrameTargets(at * 0, at, torch.zeros(2, 3), occupancy, valid, tokens, rest)
