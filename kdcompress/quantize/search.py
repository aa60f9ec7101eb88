"""`auto`: the smallest or fastest mixture of precisions within a budget, found without a transcript.

Each linear layer is rounded alone and the KL divergence that this costs is measured on audio; then those that
cost the most per weight stay in float (stored in half precision, computed as before) until the whole graph
keeps to the budget. Everything that is chosen by is counted or computed, never timed, so that a second run
on the same machine finds the same graph; times are measured afterwards, for people to look at.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import onnx

from kdcompress.aliases import StageProgress
from kdcompress.config.deploy import Preference
from kdcompress.errors import ConfigError
from kdcompress.quantize.calibration import observe
from kdcompress.quantize.sensitivity import Assignment, Outcome, QuantizationEvaluator
from kdcompress.runtime.compare import Feed
from kdcompress.text.vocabulary import Vocabulary

_OUTLYING = 10.0  # times the median cost: such a layer is tried smoothed, and the costliest quarter anyway
_WORTH_SMOOTHING = 0.7  # of the cost of a layer that is left after smoothing what it reads


@dataclass(frozen=True)
class Budget:
    """How far a quantized graph may be from the float one, and what to save within that.

    The defaults come from what they mean for the word error rate. Disagreement is the word error rate
    against the float graph's own transcripts, and the true rate cannot move by more; since the words that
    change are mostly those that were wrong or doubtful already, and change in either direction, it moves by
    a small part of it. It is counted in words, of which a few minutes of speech have a few hundred: one
    word weighs a third of a percent, so that a limit tighter than 1 % would be decided by chance. KL sees
    every frame and is the finer judge: int8 files of healthy students are at 0.0001 to 0.0003 nats a frame,
    4-bit ones, which change several words in a hundred, at 0.001 to 0.01.

    Attributes:
        max_kl: mean over frames of KL(fp32 ‖ quantized) [nats].
        max_disagreement: word error rate against the fp32 graph's transcripts. One word is always allowed,
            unless this is 0: with less than a hundred words 1 % would mean none at all.
        prefer: `speed` takes the graph with the most weights in integer products, and of those the closest
            one; `size` the one of fewest bytes, which may hold 4-bit weights and so need onnxruntime.
    """

    max_kl: float = 0.001
    max_disagreement: float = 0.01
    prefer: Preference = "speed"

    def __post_init__(self) -> None:
        for name, value in (("max_kl", self.max_kl), ("max_disagreement", self.max_disagreement)):
            if not value >= 0:
                raise ConfigError(f"{name} must be 0 or more, found {value}")

    def allows(self, outcome: Outcome) -> bool:
        """Tell whether an outcome keeps to the budget."""
        text = outcome.text
        allowed = max(1.0, self.max_disagreement * text.words) if self.max_disagreement else 0.0
        return outcome.kl <= self.max_kl and text.errors <= allowed

    def order(self, outcome: Outcome) -> tuple[float, float, str]:
        """Return what the best outcome has the least of."""
        if self.prefer == "size":
            return (outcome.bytes, outcome.kl, outcome.name)
        return (outcome.slow_weights, outcome.kl, outcome.name)


@dataclass
class Search:
    """What was tried and what came of it.

    Attributes:
        chosen: the best outcome within the budget; None where no graph with quantized layers keeps to it.
        outcomes: whole graphs, in the order in which they were tried.
        costs: KL of each layer when it alone is int8 [nats].
    """

    budget: Budget
    chosen: Outcome | None = None
    outcomes: list[Outcome] = field(default_factory=list)
    costs: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return plain data for bundle.json; layers that cost the most come first."""
        return {
            "budget": {
                "max_kl": self.budget.max_kl,
                "max_disagreement": self.budget.max_disagreement,
                "prefer": self.budget.prefer,
            },
            "chosen": self.chosen and self.chosen.name,
            "tried": [
                {
                    "name": outcome.name,
                    "bytes": outcome.bytes,
                    "kl": float(f"{outcome.kl:.6g}"),
                    "disagreement": float(f"{outcome.text.disagreement:.6g}"),
                    "within_budget": self.budget.allows(outcome),
                }
                for outcome in self.outcomes
            ],
            "cost_alone": {
                name: float(f"{cost:.4g}") for name, cost in sorted(self.costs.items(), key=lambda c: -c[1])
            },
        }


def search(
    model: onnx.ModelProto,
    feeds: Sequence[Feed],
    vocabulary: Vocabulary,
    budget: Budget | None = None,
    *,
    threads: int | None = None,
    on_progress: StageProgress | None = None,
) -> tuple[Search, QuantizationEvaluator]:
    """Find the best mixture of precisions of a float graph; returns it with the means to build it.

    Args:
        model: the float graph.
        feeds: a few minutes of audio.
        vocabulary: the output units.
        budget: None takes the default.
        threads: for the graphs that listen.
        on_progress: told of each measurement.

    Raises:
        ConfigError: there is no audio to listen to.
    """
    if not feeds:
        raise ConfigError("auto listens to audio; give --audio")
    found = Search(budget or Budget())
    bench = QuantizationEvaluator(model, feeds, vocabulary, threads)
    if not bench.sizes:
        return found, bench
    nodes = tuple(bench.sizes)
    blocks = len(nodes) if found.budget.prefer == "size" else 0
    tell = _Teller(on_progress, 3 + len(nodes) + -(-len(nodes) // 4) + blocks + 8)

    def judge(name: str, wish: Assignment) -> Outcome:
        tell(name)
        outcome = bench.judge(name, wish)
        found.outcomes.append(outcome)
        return outcome

    ways = (
        ("int8", Assignment(nodes)),
        ("int8, one scale a matrix", Assignment(nodes, per_channel=False)),
        ("int8, reduced range", Assignment(nodes, reduce_range=True)),
    )
    whole = [judge(name, wish) for name, wish in ways]
    base = min(whole, key=lambda outcome: outcome.kl).assignment
    found.costs = bench.alone(nodes, base, lambda node: tell(f"int8 in {node} alone"))
    base = _smoothed(bench, found, base, judge, tell)
    best = _fewest_kept(bench, found, base, judge)
    if best is not None and found.budget.prefer == "size":
        _most_blocks(bench, found, best, judge, tell)
    allowed = [outcome for outcome in found.outcomes if found.budget.allows(outcome)]
    found.chosen = min(allowed, key=found.budget.order, default=None)
    tell("done", last=True)
    return found, bench


_Judge: TypeAlias = Callable[[str, Assignment], Outcome]


def _smoothed(
    bench: QuantizationEvaluator, found: Search, base: Assignment, judge: _Judge, tell: "_Teller"
) -> Assignment:
    """Add the smoothing that helps the layers which cost the most, if it helps the whole graph."""
    ranked = sorted(found.costs, key=lambda node: (-found.costs[node], node))
    outlying = _OUTLYING * found.costs[ranked[len(ranked) // 2]]
    count = max(-(-len(ranked) // 4), sum(cost > outlying for cost in found.costs.values()))
    worst = ranked[:count]
    sources = {node.name: node.input[0] for node in bench.model.graph.node if node.name in set(worst)}
    seen = observe(bench.model, sorted(set(sources.values())), bench.feeds)
    bench.channels.update({name: activation.channels for name, activation in seen.items()})
    helped: dict[str, float] = {}
    for node in worst:
        how = replace(base, smoothed=(sources[node],))
        cost = bench.alone([node], how, lambda node: tell(f"int8 in {node} alone, smoothed"))[node]
        if cost < _WORTH_SMOOTHING * found.costs[node]:
            helped[node] = cost
    if not helped:
        return base
    wish = replace(base, smoothed=tuple(dict.fromkeys(sources[node] for node in helped)))
    before = min(outcome.kl for outcome in found.outcomes if outcome.assignment == base)
    if judge(f"int8, {len(wish.smoothed)} smoothed", wish).kl >= before:
        return base
    found.costs.update(helped)
    return wish


def _fewest_kept(
    bench: QuantizationEvaluator, found: Search, base: Assignment, judge: _Judge
) -> Outcome | None:
    """Keep the layers that cost the most per weight in float: as few as the budget allows."""
    ranked = sorted(bench.sizes, key=lambda node: (-found.costs[node] / bench.sizes[node], node))
    smooth = f", {len(base.smoothed)} smoothed" if base.smoothed else ""

    def kept(count: int) -> Outcome:
        for outcome in found.outcomes:  # none kept: has been tried
            if not count and outcome.assignment == base:
                return outcome
        wish = replace(base, int8=tuple(node for node in base.int8 if node not in ranked[:count]))
        return judge(f"int8{smooth}, {count} kept", wish)

    low, high, best = -1, 0, kept(0)
    while not found.budget.allows(best):
        # One layer at least is quantized, or nothing was saved by it.
        low, high = high, min(max(1, 2 * high), len(ranked) - 1)
        if low == high:
            return None
        best = kept(high)
    while high - low > 1:
        middle = (low + high) // 2
        tried = kept(middle)
        if found.budget.allows(tried):
            high, best = middle, tried
        else:
            low = middle
    return best


def _most_blocks(
    bench: QuantizationEvaluator, found: Search, best: Outcome, judge: _Judge, tell: "_Teller"
) -> None:
    """Give the layers that bear it 4-bit weights: as many as the budget allows."""
    start = best.assignment
    costs = bench.alone(start.int8, start, lambda node: tell(f"int4 in {node} alone"), bits=4)
    ranked = sorted(costs, key=lambda node: (costs[node] / bench.sizes[node], node))
    low, high = 0, len(ranked) + 1
    while high - low > 1:
        count = (low + high) // 2 if high <= len(ranked) else len(ranked)
        small = set(ranked[:count])
        int8 = tuple(node for node in start.int8 if node not in small)
        wish = replace(start, int8=int8, int4=tuple(node for node in start.int8 if node in small))
        if found.budget.allows(judge(f"{best.name}, {count} in int4", wish)):
            low = count
        else:
            high = count


class _Teller:
    """Counts measurements; the total grows where there are more of them than thought."""

    def __init__(self, on_progress: StageProgress | None, total: int) -> None:
        self._on_progress, self._done, self._total = on_progress, 0, total

    def __call__(self, what: str, last: bool = False) -> None:
        self._total = self._done if last else max(self._total, self._done + 1)
        if self._on_progress is not None:
            self._on_progress(what, self._done, self._total)
        self._done += 1
