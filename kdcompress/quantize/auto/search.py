"""`auto`: the smallest or fastest mixture of precisions within a budget, found without a transcript.

Each linear layer is rounded alone and the KL divergence that this costs is measured on audio; then those that
cost the most per weight stay in float (stored in half precision, computed as before) until the whole graph
keeps to the budget. Where bytes matter, each layer gets as few bits as the budget bears: see
`kdcompress.quantize.auto.widths`. Everything that is chosen by is counted or computed, never timed, so that a
second run on the same machine finds the same graph; times are measured afterwards, for people to look at.
"""

from collections.abc import Sequence
from dataclasses import replace

import onnx

from kdcompress.aliases import StageProgress
from kdcompress.errors import ConfigError
from kdcompress.quantize.auto.budget import Budget, Search
from kdcompress.quantize.auto.evaluate import Assignment, QuantizationEvaluator, Trial
from kdcompress.quantize.auto.widths import Evaluate, narrow
from kdcompress.quantize.calibration import observe
from kdcompress.quantize.rounding import EIGHT
from kdcompress.quantize.smoothing import balance
from kdcompress.runtime.compare import Feed
from kdcompress.text.vocabulary import Vocabulary

_OUTLYING = 10.0  # times the median cost: such a layer is tried smoothed, and the costliest quarter anyway
_WORTH_SMOOTHING = 0.7  # of the cost of a layer that is left after smoothing what it reads


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
        model: the float graph; the scales of its layers are balanced in place.
        feeds: a few minutes of audio.
        vocabulary: the output units.
        budget: None takes the default.
        threads: of each graph.
        on_progress: called before each measurement.

    Raises:
        ConfigError: there is no audio.
    """
    if not feeds:
        raise ConfigError("auto measures on audio; give --audio")
    found = Search(budget or Budget())
    balance(model, feeds)
    evaluator = QuantizationEvaluator(model, feeds, vocabulary, threads)
    if not evaluator.sizes:
        return found, evaluator
    nodes = tuple(evaluator.sizes)
    small = found.budget.prefer == "size" or found.budget.max_bytes is not None
    step = _Steps(on_progress, 11 + len(nodes) + -(-len(nodes) // 4) + small * (len(nodes) + 5))

    def evaluate(name: str, assignment: Assignment) -> Trial:
        step(name)
        trial = evaluator.evaluate(name, assignment)
        found.trials.append(trial)
        return trial

    eight = dict.fromkeys(nodes, EIGHT)
    ways = (
        ("int8", Assignment(eight)),
        ("int8, one scale a matrix", Assignment(eight, per_channel=False)),
        ("int8, reduced range", Assignment(eight, reduce_range=True)),
    )
    whole = [evaluate(name, assignment) for name, assignment in ways]
    base = min(whole, key=lambda trial: trial.kl).assignment
    found.costs = evaluator.alone(nodes, base, lambda node: step(f"int8 in {node} alone"))
    base = _smoothed(evaluator, found, base, evaluate, step)
    if found.budget.max_bytes is None:
        best = _fewest_kept(evaluator, found, base, evaluate)
        base = best.assignment if best is not None else Assignment()
    if small and base.widths:
        narrow(evaluator, found, base, evaluate, step)
    allowed = [trial for trial in found.trials if found.budget.allows(trial)]
    found.chosen = min(allowed, key=found.budget.order, default=None)
    step("done", last=True)
    return found, evaluator


def _smoothed(
    evaluator: QuantizationEvaluator, found: Search, base: Assignment, evaluate: Evaluate, step: "_Steps"
) -> Assignment:
    """Add the smoothing that helps the layers which cost the most, if it helps the whole graph."""
    ranked = sorted(found.costs, key=lambda node: (-found.costs[node], node))
    outlying = _OUTLYING * found.costs[ranked[len(ranked) // 2]]
    count = max(-(-len(ranked) // 4), sum(cost > outlying for cost in found.costs.values()))
    worst = ranked[:count]
    sources = {node.name: node.input[0] for node in evaluator.model.graph.node if node.name in set(worst)}
    seen = observe(evaluator.model, sorted(set(sources.values())), evaluator.feeds)
    evaluator.channels.update({name: activation.channels for name, activation in seen.items()})
    helped: dict[str, float] = {}
    for node in worst:
        how = replace(base, smoothed=(sources[node],))
        cost = evaluator.alone([node], how, lambda node: step(f"int8 in {node} alone, smoothed"))[node]
        if cost < _WORTH_SMOOTHING * found.costs[node]:
            helped[node] = cost
    if not helped:
        return base
    assignment = replace(base, smoothed=tuple(dict.fromkeys(sources[node] for node in helped)))
    before = min(trial.kl for trial in found.trials if trial.assignment == base)
    if evaluate(f"int8, {len(assignment.smoothed)} smoothed", assignment).kl >= before:
        return base
    found.costs.update(helped)
    return assignment


def _fewest_kept(
    evaluator: QuantizationEvaluator, found: Search, base: Assignment, evaluate: Evaluate
) -> Trial | None:
    """Keep the layers that cost the most per weight in float: as few as the budget allows."""
    ranked = sorted(evaluator.sizes, key=lambda node: (-found.costs[node] / evaluator.sizes[node], node))
    smooth = f", {len(base.smoothed)} smoothed" if base.smoothed else ""

    def kept(count: int) -> Trial:
        for trial in found.trials:  # none kept: has been tried
            if not count and trial.assignment == base:
                return trial
        assignment = replace(
            base, widths={n: width for n, width in base.widths.items() if n not in ranked[:count]}
        )
        return evaluate(f"int8{smooth}, {count} kept", assignment)

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


class _Steps:
    """Counts measurements; the total grows where there are more of them than thought."""

    def __init__(self, on_progress: StageProgress | None, total: int) -> None:
        self._on_progress, self._done, self._total = on_progress, 0, total

    def __call__(self, what: str, last: bool = False) -> None:
        self._total = self._done if last else max(self._total, self._done + 1)
        if self._on_progress is not None:
            self._on_progress(what, self._done, self._total)
        self._done += 1
