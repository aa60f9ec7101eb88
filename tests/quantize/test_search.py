from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest

from kdcompress.errors import ConfigError
from kdcompress.frontend.logmel_numpy import log_mel
from kdcompress.quantize.frontier import describe, frontier
from kdcompress.quantize.search import Budget, Search, search
from kdcompress.quantize.sensitivity import Assignment, QuantizationEvaluator
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


def test_auto_repairs_what_int8_dynamic_breaks(
    sick: onnx.ModelProto, speech: list[Feed], vocabulary: Vocabulary
) -> None:
    told: list[tuple[str, int, int]] = []
    found, bench = search(
        sick, speech, vocabulary, TIGHT, threads=1, on_progress=lambda *step: told.append(step)
    )
    plain = found.outcomes[0]
    assert plain.assignment.int8 == tuple(bench.sizes)
    assert not TIGHT.allows(plain)
    assert found.chosen is not None
    assert TIGHT.allows(found.chosen)
    assert found.chosen.kl < plain.kl / 10
    assert len(found.chosen.assignment.int8) > len(bench.sizes) / 2
    assert found.chosen.bytes < 0.7 * sick.ByteSize()
    # Each measurement is told, in order and to the end.
    assert [done for _, done, _ in told] == list(range(len(told)))
    assert told[-1][0] == "done"
    assert told[-1][1] == told[-1][2]

    again, _ = search(sick, speech, vocabulary, TIGHT, threads=1)
    assert again.chosen == found.chosen
    assert again.to_json() == found.to_json()


def test_keeping_layers_repairs_what_smoothing_cannot(
    model: onnx.ModelProto, speech: list[Feed], vocabulary: Vocabulary, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kdcompress.quantize import search as searching

    monkeypatch.setattr(searching, "_smoothed", lambda bench, found, base, *_: base)
    strict = Budget(
        max_kl=QuantizationEvaluator(model, speech, vocabulary, 1).judge("", Assignment()).kl + 2e-6
    )
    plant_outlier(model, 3000.0)
    found, bench = search(model, speech, vocabulary, strict, threads=1)
    assert found.chosen is not None
    kept = set(bench.sizes) - set(found.chosen.assignment.int8)
    # What was kept costs more per weight than anything that was not.
    per_weight = {node: found.costs[node] / bench.sizes[node] for node in bench.sizes}
    assert kept
    assert min(per_weight[node] for node in kept) >= max(
        per_weight[node] for node in found.chosen.assignment.int8
    )
    # One more would have been too many.
    fewer = [o for o in found.outcomes if len(o.assignment.int8) == len(found.chosen.assignment.int8) + 1]
    assert fewer
    assert not strict.allows(fewer[0])


def test_nothing_within_the_budget_is_said(
    model: onnx.ModelProto, speech: list[Feed], vocabulary: Vocabulary
) -> None:
    found, bench = search(model, speech, vocabulary, Budget(max_kl=0.0), threads=1)
    assert found.chosen is None
    assert found.outcomes
    told = describe(found, bench, passes=1)
    assert told["chosen"] is None


def test_size_takes_four_bits_where_the_budget_lets_it(
    model: onnx.ModelProto, speech: list[Feed], vocabulary: Vocabulary
) -> None:
    generous = Budget(max_kl=1.0, max_disagreement=1.0, prefer="size")
    found, bench = search(model, speech, vocabulary, generous, threads=1)
    assert found.chosen is not None
    assert set(found.chosen.assignment.int4) == set(bench.sizes)
    assert found.chosen.bytes == min(outcome.bytes for outcome in found.outcomes)
    fast, _ = search(model, speech, vocabulary, Budget(1.0, 1.0), threads=1)
    assert fast.chosen is not None
    assert set(fast.chosen.assignment.int8) == set(bench.sizes)


def test_the_frontier_is_what_no_other_beats(
    model: onnx.ModelProto, speech: list[Feed], vocabulary: Vocabulary
) -> None:
    bench = QuantizationEvaluator(model, speech, vocabulary, 1)
    nodes = tuple(bench.sizes)
    outcomes = [
        bench.judge("all", Assignment(nodes)),
        bench.judge("worse", Assignment(nodes, reduce_range=True)),
        bench.judge("float", Assignment()),
    ]
    assert [outcome.name for outcome in frontier(outcomes)] == ["all", "float"]
    found = Search(TIGHT, outcomes[0], outcomes)
    told = describe(found, bench, passes=3)
    times = {entry["name"]: entry.get("time") for entry in told["tried"]}
    assert times["worse"] is None
    assert times["all"]["low"] <= times["all"]["median"] <= times["all"]["high"]


def test_the_budget_counts_frames_and_words(
    model: onnx.ModelProto, speech: list[Feed], vocabulary: Vocabulary
) -> None:
    outcome = QuantizationEvaluator(model, speech, vocabulary, 1).judge("float", Assignment())
    changed = replace(outcome, text=TextDifference(100, 0, 1, 1))
    assert Budget(1.0, 0.02).allows(changed)
    assert not Budget(1.0, 0.019).allows(changed)
    # One word of fifty is more than 1 %, but there is nothing between it and none.
    assert Budget(1.0, 0.01).allows(replace(outcome, text=TextDifference(50, 1, 0, 0)))
    assert not Budget(1.0, 0.01).allows(replace(outcome, text=TextDifference(50, 1, 1, 0)))
    assert not Budget(1.0, 0.0).allows(replace(outcome, text=TextDifference(50, 1, 0, 0)))
    assert not Budget(outcome.kl / 2, 1.0).allows(outcome)
    assert Budget(outcome.kl, 0.0).allows(outcome)


def test_silence_is_refused(model: onnx.ModelProto, vocabulary: Vocabulary) -> None:
    with pytest.raises(ConfigError, match="give --audio"):
        search(model, [], vocabulary)
    with pytest.raises(ConfigError, match="max_kl"):
        Budget(max_kl=-1.0)
