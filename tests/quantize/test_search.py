from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdcompress.errors import ConfigError
from kdcompress.frontend.logmel_numpy import log_mel
from kdcompress.quantize.auto.budget import Budget, Search
from kdcompress.quantize.auto.evaluate import Assignment, QuantizationEvaluator
from kdcompress.quantize.auto.frontier import describe, frontier
from kdcompress.quantize.auto.search import search
from kdcompress.quantize.auto.widths import LADDER, path
from kdcompress.quantize.rounding import EIGHT, WIDTHS
from kdcompress.runtime.bundle import open_bundle
from kdcompress.runtime.compare import Feed, TextDifference
from kdcompress.text.vocabulary import Vocabulary

from .conftest import plant_outlier

TIGHT = Budget(max_kl=0.001, max_disagreement=0.02)


@pytest.fixture(scope="session")
def speech(say: Callable[[str], npt.NDArray[np.float32]]) -> list[Feed]:
    features = [log_mel(say(text)) for text in ("ab c", "c ba", "a cb b", "bca")]
    return [{"audio_signal": f.T[None].copy(), "length": np.array([len(f)])} for f in features]


@pytest.fixture(scope="session")
def vocabulary(tiny_bundle: Path) -> Vocabulary:
    return open_bundle(tiny_bundle).vocabulary


@pytest.fixture
def model(tiny_bundle: Path) -> onnx.ModelProto:
    return onnx.load(str(tiny_bundle / "model.onnx"))


@pytest.fixture
def sick(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the tiny student with an outlier channel in front of most of its layers."""
    assert plant_outlier(model, 3000.0) >= 3
    return model


@pytest.mark.slow
def test_auto_repairs_what_int8_dynamic_breaks(
    sick: onnx.ModelProto, speech: list[Feed], vocabulary: Vocabulary
) -> None:
    described: list[tuple[str, int, int]] = []
    found, evaluator = search(
        sick, speech, vocabulary, TIGHT, threads=1, on_progress=lambda *step: described.append(step)
    )
    plain = found.trials[0]
    assert list(plain.assignment.widths) == list(evaluator.sizes)
    assert not TIGHT.allows(plain)
    assert found.chosen is not None
    assert TIGHT.allows(found.chosen)
    assert found.chosen.kl < plain.kl / 10
    assert len(found.chosen.assignment.widths) > len(evaluator.sizes) / 2
    assert found.chosen.bytes < 0.7 * sick.ByteSize()
    # Each measurement is described, in order and to the end.
    assert [done for _, done, _ in described] == list(range(len(described)))
    assert described[-1][0] == "done"
    assert described[-1][1] == described[-1][2]

    again, _ = search(sick, speech, vocabulary, TIGHT, threads=1)
    assert again.chosen == found.chosen
    assert again.to_json() == found.to_json()


@pytest.mark.slow
def test_keeping_layers_repairs_what_smoothing_cannot(
    model: onnx.ModelProto, speech: list[Feed], vocabulary: Vocabulary, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kdcompress.quantize.auto import search as searching

    monkeypatch.setattr(searching, "_smoothed", lambda evaluator, found, base, *_: base)
    strict = Budget(
        max_kl=QuantizationEvaluator(model, speech, vocabulary, 1).evaluate("", Assignment()).kl + 2e-6
    )
    plant_outlier(model, 3000.0)
    found, evaluator = search(model, speech, vocabulary, strict, threads=1)
    assert found.chosen is not None
    kept = set(evaluator.sizes) - set(found.chosen.assignment.widths)
    # What was kept costs more per weight than anything that was not.
    per_weight = {node: found.costs[node] / evaluator.sizes[node] for node in evaluator.sizes}
    assert kept
    assert min(per_weight[node] for node in kept) >= max(
        per_weight[node] for node in found.chosen.assignment.widths
    )
    # One more would have been too many.
    fewer = [o for o in found.trials if len(o.assignment.widths) == len(found.chosen.assignment.widths) + 1]
    assert fewer
    assert not strict.allows(fewer[0])


@pytest.mark.slow
def test_bytes_buy_bits_where_they_help_most(
    model: onnx.ModelProto, speech: list[Feed], vocabulary: Vocabulary
) -> None:
    smallest, largest = (
        quantized(model, speech, vocabulary, Budget(max_bytes=limit)) for limit in (1, 10 * model.ByteSize())
    )
    assert smallest.chosen is None
    assert largest.chosen is not None
    assert largest.chosen.kl <= largest.trials[0].kl
    whole = {trial.name: trial for trial in largest.trials}
    limit = (whole["int4"].bytes + whole["int2"].bytes) // 2
    found = quantized(model, speech, vocabulary, Budget(max_bytes=limit))
    assert found.chosen is not None
    assert found.chosen.bytes <= limit
    # A mixture: better than what is the same everywhere and fits, and the whole room is used.
    assert found.chosen.kl < whole["int2"].kl
    assert len(set(found.chosen.assignment.widths.values())) > 1
    assert found.chosen.bytes > 0.95 * limit
    assert quantized(model, speech, vocabulary, Budget(max_bytes=limit)).to_json() == found.to_json()


def quantized(model: onnx.ModelProto, speech: list[Feed], vocabulary: Vocabulary, budget: Budget) -> Search:
    return search(model, speech, vocabulary, budget, threads=1)[0]


@given(st.data())
def test_the_path_goes_down_all_ladders_by_the_cheapest_steps(data: st.DataObject) -> None:
    names = ["one", "two", "three"][: data.draw(st.integers(1, 3))]
    costs = {
        name: data.draw(st.lists(st.floats(0, 1), min_size=len(LADDER), max_size=len(LADDER)))
        for name in names
    }
    sizes = {name: data.draw(st.integers(1, 1000)) for name in names}
    ways = path(costs, sizes)
    assert set(ways[0].values()) == {0}
    assert set(ways[-1].values()) == {len(LADDER) - 1}
    for before, after in pairwise(ways):
        assert sum(before[name] != after[name] for name in names) == 1
        assert all(before[name] <= after[name] for name in names)
    # What a step costs for each bit never falls: it would have been taken before.
    rising = {name: np.maximum.accumulate(line) for name, line in costs.items()}
    prices = [
        sum(rising[name][after[name]] - rising[name][before[name]] for name in names)
        / sum(sizes[name] * (LADDER[before[name]].bits - LADDER[after[name]].bits) for name in names)
        for before, after in pairwise(ways)
    ]
    assert all(later >= earlier - 1e-12 for earlier, later in pairwise(prices))


def test_nothing_within_the_budget_is_said(
    model: onnx.ModelProto, speech: list[Feed], vocabulary: Vocabulary
) -> None:
    found, evaluator = search(model, speech, vocabulary, Budget(max_kl=0.0), threads=1)
    assert found.chosen is None
    assert found.trials
    described = describe(found, evaluator, passes=1)
    assert described["chosen"] is None


def test_size_takes_the_fewest_bits_where_the_budget_lets_it(
    model: onnx.ModelProto, speech: list[Feed], vocabulary: Vocabulary
) -> None:
    generous = Budget(max_kl=1.0, max_disagreement=1.0, prefer="size")
    found, evaluator = search(model, speech, vocabulary, generous, threads=1)
    assert found.chosen is not None
    assert set(found.chosen.assignment.widths) == set(evaluator.sizes)
    assert set(found.chosen.assignment.widths.values()) == {WIDTHS["ternary"]}
    assert found.chosen.bytes == min(trial.bytes for trial in found.trials)
    fast, _ = search(model, speech, vocabulary, Budget(1.0, 1.0), threads=1)
    assert fast.chosen is not None
    assert set(fast.chosen.assignment.widths) == set(evaluator.sizes)
    assert set(fast.chosen.assignment.widths.values()) == {EIGHT}


def test_the_frontier_is_what_no_other_beats(
    model: onnx.ModelProto, speech: list[Feed], vocabulary: Vocabulary
) -> None:
    evaluator = QuantizationEvaluator(model, speech, vocabulary, 1)
    nodes = dict.fromkeys(evaluator.sizes, EIGHT)
    trials = [
        evaluator.evaluate("all", Assignment(nodes)),
        evaluator.evaluate("worse", Assignment(nodes, reduce_range=True)),
        evaluator.evaluate("float", Assignment()),
    ]
    assert [trial.name for trial in frontier(trials)] == ["all", "float"]
    found = Search(TIGHT, trials[0], trials)
    described = describe(found, evaluator, passes=3)
    times = {entry["name"]: entry.get("time") for entry in described["tried"]}
    assert times["worse"] is None
    assert times["all"]["low"] <= times["all"]["median"] <= times["all"]["high"]


def test_the_budget_counts_frames_and_words(
    model: onnx.ModelProto, speech: list[Feed], vocabulary: Vocabulary
) -> None:
    trial = QuantizationEvaluator(model, speech, vocabulary, 1).evaluate("float", Assignment())
    changed = replace(trial, text=TextDifference(100, 0, 1, 1))
    assert Budget(1.0, 0.02).allows(changed)
    assert not Budget(1.0, 0.019).allows(changed)
    # One word of fifty is more than 1 %, but there is nothing between it and none.
    assert Budget(1.0, 0.01).allows(replace(trial, text=TextDifference(50, 1, 0, 0)))
    assert not Budget(1.0, 0.01).allows(replace(trial, text=TextDifference(50, 1, 1, 0)))
    assert not Budget(1.0, 0.0).allows(replace(trial, text=TextDifference(50, 1, 0, 0)))
    assert not Budget(trial.kl / 2, 1.0).allows(trial)
    assert Budget(trial.kl, 0.0).allows(trial)


def test_silence_is_refused(model: onnx.ModelProto, vocabulary: Vocabulary) -> None:
    with pytest.raises(ConfigError, match="give --audio"):
        search(model, [], vocabulary)
    with pytest.raises(ConfigError, match="max_kl"):
        Budget(max_kl=-1.0)
    with pytest.raises(ConfigError, match="max_bytes"):
        Budget(max_bytes=0)
