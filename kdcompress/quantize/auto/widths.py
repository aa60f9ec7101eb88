"""Bits for each layer: those that cost the least KL for the bytes that they save.

What a layer costs at a width is not measured for every pair. Small costs add up, and grow with the squared
error of the layer's output, which fitting tells: two measurements of each layer, at 8 bits and at a narrow
width, give the line between.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

from kdcompress.quantize.auto.budget import Search
from kdcompress.quantize.auto.evaluate import Assignment, QuantizationEvaluator, Trial
from kdcompress.quantize.fitting import fit
from kdcompress.quantize.rounding import EIGHT, WIDTHS, Width

LADDER = tuple(WIDTHS[name] for name in ("8", "6", "4", "3", "2", "ternary"))
_PROBE = WIDTHS[
    "3"
]  # where a layer's cost is well above what is lost to chance, and small errors still add up
_WHOLE = tuple(WIDTHS[name] for name in ("4", "3", "2", "ternary"))

Evaluate: TypeAlias = Callable[[str, Assignment], Trial]


def narrow(
    evaluator: QuantizationEvaluator,
    found: Search,
    base: Assignment,
    evaluate: Evaluate,
    step: Callable[[str], None],
) -> None:
    """Try graphs with fewer bits than a base of 8: whole ones, and the best mixture within the budget.

    Args:
        evaluator: gets the weights of every width.
        found: has the costs of the layers at 8 bits; what is tried is added.
        base: which layers become integer, and what is smoothed.
        evaluate: tries an assignment under a name.
        step: called before each measurement.
    """
    step("fitting weights of every width")
    model = evaluator.smoothed(base.smoothed)
    errors: dict[tuple[str, Width], float] = {}
    for node, candidates in fit(model, dict.fromkeys(base.widths, LADDER), evaluator.feeds):
        for fitted in candidates:
            evaluator.fitted[node, fitted.width] = fitted
            errors[node, fitted.width] = fitted.error
    probed = evaluator.alone(
        tuple(base.widths), base, lambda node: step(f"{_PROBE.name} bits in {node} alone"), _PROBE
    )
    costs: dict[str, list[float]] = {}
    for node in base.widths:
        spread = errors[node, _PROBE] - errors[node, EIGHT]
        slope = max(probed[node] - found.costs[node], 0.0) / spread if spread > 0 else 0.0
        costs[node] = [slope * (errors[node, width] - errors[node, EIGHT]) for width in LADDER]
    for width in _WHOLE:
        evaluate(f"int{width.name}" if width.name != "ternary" else width.name, _all(base, width))
    ways = path(costs, evaluator.sizes)

    def mixture(count: int) -> Assignment:
        return replace(base, widths={node: LADDER[place] for node, place in ways[count].items()})

    def fits(count: int) -> bool:
        if not count:
            return True
        if found.budget.max_bytes is not None:
            size: int = evaluator.build(mixture(count)).ByteSize()
            return size > found.budget.max_bytes
        return found.budget.allows(evaluate(_named(mixture(count), evaluator.sizes), mixture(count)))

    low, high = 0, len(ways)  # fits(low), not fits(high)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    if found.budget.max_bytes is not None:
        # Steps up to `low` are too large; the next one is the first that fits, if any does.
        last = min(low + 1, len(ways) - 1)
        evaluate(_named(mixture(last), evaluator.sizes), mixture(last))


def path(costs: Mapping[str, Sequence[float]], sizes: Mapping[str, int]) -> list[dict[str, int]]:
    """Return places on the ladder by layer: all on the first at first, all on the last at last.

    Each step takes the layer and the place with the least cost for the bits that they save.

    Args:
        costs: of each layer at each place of the ladder; what is narrower is taken to cost no less.
        sizes: weights of each layer.
    """
    rising = {node: [max(line[: place + 1]) for place in range(len(line))] for node, line in costs.items()}
    now = dict.fromkeys(costs, 0)
    ways = [dict(now)]
    while True:
        moves = [
            (
                (rising[node][place] - rising[node][at])
                / (sizes[node] * (LADDER[at].bits - LADDER[place].bits)),
                node,
                place,
            )
            for node, at in now.items()
            for place in range(at + 1, len(LADDER))
        ]
        if not moves:
            return ways
        _, node, place = min(moves)
        now[node] = place
        ways.append(dict(now))


def _all(base: Assignment, width: Width) -> Assignment:
    return replace(base, widths=dict.fromkeys(base.widths, width))


def _named(assignment: Assignment, sizes: Mapping[str, int]) -> str:
    weights = sum(sizes[node] for node in assignment.widths)
    bits = sum(sizes[node] * width.bits for node, width in assignment.widths.items()) / weights
    smooth = f", {len(assignment.smoothed)} smoothed" if assignment.smoothed else ""
    kept = len(sizes) - len(assignment.widths)
    return f"{bits:.3f} bits a weight{smooth}{f', {kept} kept' if kept else ''}"
