"""The terms together: what is reported adds up, whatever is switched on."""

import json
import math
from collections.abc import Callable, Iterator
from itertools import cycle, product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor

from kdcompress.config.objective import ObjectiveConfig, PseudoLabelConfig
from kdcompress.config.recipe import Recipe
from kdcompress.config.selection import SelectEliminate
from kdcompress.distill.data.audio_batch import Batch
from kdcompress.distill.loop import distill
from kdcompress.distill.objective.frame_targets import frame_targets
from kdcompress.distill.objective.losses import LossSum, consistency
from kdcompress.distill.objective.objective import Objective
from kdcompress.distill.objective.term import BatchTargets, LossTerm, TermOptions
from kdcompress.errors import ConfigError
from kdcompress.frontend.masks import valid_frames
from kdcompress.teachers.teacher import Posteriors
from kdcompress.text.tokenizer import LongestMatch
from kdcompress.text.vocabulary import Vocabulary

Make = Callable[..., Recipe]
DIVERGENCES = ("forward-kl", "reverse-kl", "jensen-shannon", "decoupled")


def combinations() -> Iterator[tuple[dict[str, Any], set[str]]]:
    """Every set of terms that can be asked for, and their names; the divergences take turns."""
    turns = cycle(DIVERGENCES)
    for λ, frame, occupancy, pseudo, consistent in product((1.0, 0.4, 0.0), *[(0.0, 0.7)] * 4):
        named = {"kd": λ * frame, "occupancy": λ * occupancy, "pseudo_label": λ * pseudo, "ctc": 1 - λ}
        if λ == 0 and (frame or occupancy or pseudo):
            continue  # no teacher is opened: the same as without them
        if λ > 0 and not (frame or occupancy or pseudo):
            continue  # refused
        yield (
            {
                "kd_weight": λ,
                "frame_weight": frame,
                "divergence": {"kind": next(turns)},
                "occupancy_weight": occupancy,
                "occupancy_frames": "all",  # this teacher says labels everywhere: nothing is left out
                "pseudo_label": {"weight": pseudo},
                "consistency_weight": consistent,
            },
            {name for name, weight in (named | {"consistency": consistent}).items() if weight},
        )


@pytest.mark.slow
def test_every_combination_trains_and_adds_up(recipe: Make, audio_folder: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "train.jsonl"
    files = sorted(audio_folder.iterdir())[:4]
    lines = [{"audio_filepath": str(path), "duration": 0.4, "text": "ab c"} for path in files]
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    tried = list(combinations())
    assert len(tried) == 2 * 14 + 2
    for index, (objective, names) in enumerate(tried):
        found: list[dict[str, Any]] = []

        def nothing(*rest: Any) -> None: ...

        observer = SimpleNamespace(
            stage=nothing, step=lambda *a, into=found: into.append(a[2]), validated=nothing, say=nothing
        )
        depth = {"student__layers": 2, "student__exits": (1,)} if index % 2 else {}
        made = recipe(
            objective=objective,
            data__audio=str(manifest),
            training__steps=1,
            training__ema_decay=0.9 if index % 3 else None,
            training__teacher_memory_mb=0,
            student__frame_shift_ms=40,
            **depth,
        )
        distill(made, tmp_path / str(index), observer)
        (figures,) = found
        λ = objective["kd_weight"]
        weights = {
            "kd": λ * objective["frame_weight"],
            "occupancy": λ * objective["occupancy_weight"],
            "pseudo_label": λ * objective["pseudo_label"]["weight"],
            "ctc": 1 - λ,
            "consistency": objective["consistency_weight"],
        }
        assert names == weights.keys() & figures.keys(), objective
        assert math.isfinite(figures["loss"])
        assert figures["gradient_norm"] > 0
        assert figures["loss"] == pytest.approx(sum(weights[name] * figures[name] for name in names)), (
            objective
        )
        assert all(figures[name] > 0 for name in names), (objective, figures)


def test_a_frame_weighs_the_same_selected_or_not() -> None:
    """With the occupancy of the rest both terms are divided by the valid frames."""
    vocabulary = Vocabulary(("<blk>", "a", "b"), 0)
    frames = frame_targets(random_log_probs(1, 2, 9, 3), torch.tensor([9, 4]), 0, SelectEliminate(), 0.04)
    assert 0 < len(frames.row) < 13
    batch = SimpleNamespace(label_lengths=None)
    targets = [BatchTargets(batch, torch.tensor([13]), frames)] * 2
    for over, expected in (
        ("all", [2 * len(frames.row), 26]),
        ("rest", [26, 26]),
    ):
        config = ObjectiveConfig(occupancy_frames=over, pseudo_label=PseudoLabelConfig(weight=0))
        objective = Objective(config, LongestMatch(vocabulary))
        assert objective.counts(targets) == expected


def test_nothing_to_learn_is_refused() -> None:
    nothing = {
        "frame_weight": 0,
        "occupancy_weight": 0,
        "pseudo_label": {"weight": 0},
        "consistency_weight": 1,
    }
    with pytest.raises(ValidationError, match="all 0"):
        ObjectiveConfig.model_validate(nothing)
    assert not ObjectiveConfig.model_validate(nothing | {"kd_weight": 0}).compares_frames


def random_log_probs(seed: int, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (3 * torch.randn(*shape, generator=generator)).log_softmax(-1)


@given(seed=st.integers(0, 999))
def test_consistency_is_the_mean_of_both_divergences_over_valid_frames(seed: int) -> None:
    one, other = random_log_probs(seed, 2, 6, 4), random_log_probs(seed + 1, 2, 6, 4)
    expected = 0.0
    for row, length in enumerate((6, 3)):
        for frame in range(length):
            a, b = (view[row, frame].double().exp().tolist() for view in (one, other))
            expected += sum(p * math.log(p / q) + q * math.log(q / p) for p, q in zip(a, b, strict=True)) / 2
    loss = consistency(one, other, torch.tensor([6, 3]))
    assert loss.count == 9
    assert float(loss.total) == pytest.approx(expected, rel=1e-3, abs=1e-4)


def test_each_view_is_pulled_to_the_other_as_it_stands() -> None:
    """With the gradient stopped at the target it is, in the logits, half of p − q: Yao et al., equation 4."""
    logits = random_log_probs(0, 2, 1, 3, 4).requires_grad_()
    one, other = logits.log_softmax(-1)
    consistency(one, other, torch.tensor([3])).total.backward()
    assert logits.grad is not None
    difference = (one.exp() - other.exp()).detach() / 2
    assert torch.allclose(logits.grad[0], difference, atol=1e-6)
    assert torch.allclose(logits.grad[1], -difference, atol=1e-6)


def test_a_term_is_the_mean_over_views_and_counted_once() -> None:
    vocabulary = Vocabulary(("<blk>", "a", "b"), 0)
    lengths = torch.tensor([5, 4])
    labels = {"labels": torch.tensor([[1, 2], [1, 0]]), "label_lengths": torch.tensor([2, 1])}
    batch = SimpleNamespace(ids=("x", "y"), lengths=lengths, **labels)
    both = random_log_probs(0, 1, 4, 5, 3)
    totals, counts = [], []
    for views, weight in ((both, 1.0), (both[:, :2], 0.0), (both[:, 2:], 0.0)):
        objective = Objective(
            ObjectiveConfig(kd_weight=0, consistency_weight=weight), LongestMatch(vocabulary)
        )
        targets = objective.targets(batch, None, lengths)
        terms = dict(
            zip(
                objective.names,
                objective.terms(views, lengths.repeat(objective.views), targets),
                strict=True,
            )
        )
        assert objective.counts([targets])[0] == terms["ctc"].count == 3
        assert all(
            term.count == count
            for term, count in zip(terms.values(), objective.counts([targets]), strict=True)
        )
        totals.append(float(terms["ctc"].total))
        counts.append(len(terms))
    assert counts == [2, 1, 1]
    assert totals[0] == pytest.approx((totals[1] + totals[2]) / 2, rel=1e-6)


class PeakOptions(TermOptions):
    power: float = 1.0


class PeakTerm(LossTerm):
    """A term as another engineer would add one: how sure the student is of its best token."""

    name, options_class = "peak", PeakOptions

    def count(self, targets: BatchTargets) -> int:
        return targets.student_frames

    def loss(self, log_probs_BTV: Tensor, lengths_B: Tensor, targets: BatchTargets) -> LossSum:
        power: float = self.options.power  # type: ignore[attr-defined]
        best = log_probs_BTV.max(dim=-1).values * valid_frames(lengths_B, log_probs_BTV.shape[1])
        return LossSum(best.pow(power).sum(), self.count(targets))


def test_a_further_term_is_a_class_and_a_line() -> None:
    tokenizer = LongestMatch(Vocabulary(("<blk>", "a", "b"), 0))
    terms = {"peak": {"weight": 0.3, "power": 2}}
    config = ObjectiveConfig(kd_weight=0, consistency_weight=1, terms=terms)
    objective = Objective(config, tokenizer, further=[PeakTerm])
    assert (objective.names, objective.weights) == (("ctc", "consistency", "peak"), (1.0, 1.0, 0.3))
    one = torch.tensor([1])
    batch = SimpleNamespace(ids=("x",), lengths=one, labels=one[None], label_lengths=one)
    targets = objective.targets(batch, None, torch.tensor([4]))
    assert objective.counts([targets, targets]) == [2, 8, 8]
    views = random_log_probs(0, 1, 2, 5, 3)
    *_, peak = objective.terms(views, torch.tensor([4, 4]), targets)
    assert float(peak.total) == pytest.approx(float(views[0, :, :4].max(-1).values.square().sum()) / 2)
    for wrong, words in (
        ({"peek": {"weight": 1}}, "objective.terms has peek; the further terms are: peak"),
        ({"peak": {"weight": -1}}, "objective.terms.peak: weight: .*found '-1'"),
        ({"peak": {"wait": 1}}, "objective.terms.peak: wait: unknown key"),
    ):
        with pytest.raises(ConfigError, match=words):
            Objective(config.model_copy(update={"terms": wrong}), tokenizer, further=[PeakTerm])


def test_without_targets_every_term_is_zero_with_a_graph() -> None:
    """A process that could read nothing still takes part in the gradient."""
    objective = Objective(ObjectiveConfig(), LongestMatch(Vocabulary(("<blk>", "a", "b"), 0)))
    logits = torch.randn(1, 1, 5, 3, requires_grad=True)
    terms = objective.terms(logits.log_softmax(-1), torch.tensor([5]), None)
    assert [(term.total.item(), term.count) for term in terms] == [(0.0, 0)] * 3
    sum(term.total for term in terms).backward()
    assert logits.grad is not None
    assert not logits.grad.any()


def test_a_step_of_noise_alone_is_no_larger_than_one_of_speech() -> None:
    """Its clips have no label to be divided by: they count as speech of their length does."""
    vocabulary = Vocabulary(("<blk>", "a", "b"), blank=0)
    objective = Objective(ObjectiveConfig(kd_weight=0), LongestMatch(vocabulary))
    objective.label_rate = 10.0
    log_probs = torch.full((2, 50, 3), 1 / 3).log()
    frames, samples = torch.tensor([50, 50]), torch.tensor([32_000, 32_000])
    losses = []
    for lengths in ([20, 20], [20, 0], [0, 0]):
        labels = torch.tensor([1, 2] * 10).repeat(2, 1)
        batch = Batch(
            ("u", "v"), (1.0, 1.0), torch.zeros(2, 32_000), samples, labels, torch.tensor(lengths), ()
        )
        targets = objective.targets(batch, None, frames)
        assert objective.counts([targets]) == [40]
        losses.append(float(objective.terms(log_probs[None], frames, targets)[0].total) / 40)
    speech, mixed, noise = losses
    assert speech < mixed < noise == pytest.approx(100 * math.log(3) / 40, rel=1e-5)


def test_nor_is_one_of_clips_that_the_teacher_writes_nothing_for() -> None:
    vocabulary = Vocabulary(("<blk>", "a", "b"), blank=0)
    config = ObjectiveConfig(frame_weight=0, occupancy_weight=0, pseudo_label={"weight": 1})
    objective = Objective(config, LongestMatch(vocabulary), vocabulary)
    objective.label_rate = 10.0
    samples = torch.tensor([32_000, 32_000])
    batch = Batch(("u", "v"), (1.0, 1.0), torch.zeros(2, 32_000), samples, None, None, ())
    frames = torch.tensor([50, 50])
    for speaking in (2, 1, 0):
        path = torch.zeros(2, 50, dtype=torch.int64)
        path[:speaking, :40:4], path[:speaking, 2:40:4] = 1, 2
        posteriors = Posteriors(torch.eye(3)[path].clamp(min=1e-9).log(), frames, 0.04)
        assert objective.counts([objective.targets(batch, posteriors, frames)]) == [40]
