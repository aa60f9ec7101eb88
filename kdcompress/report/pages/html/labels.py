"""Find places for names beside their points, so that a plot needs no legend."""

from collections.abc import Sequence
from dataclasses import dataclass

from kdcompress.report.record import Report

_CHARACTER = 6.7  # [SVG units] a generous mean at the labels' size
_HEIGHT = 13.0
_DIRECTIONS = ((1, 0), (-1, 0), (0, -1), (0, 1), (1, -1), (-1, -1), (1, 1), (-1, 1))
_DISTANCES = (9.0, 16.0, 26.0, 40.0, 60.0)


@dataclass(frozen=True)
class Box:
    """A rectangle, y downwards."""

    left: float
    top: float
    right: float
    bottom: float

    def overlap(self, other: "Box") -> float:
        """Return the shared area."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(width, 0.0) * max(height, 0.0)

    def outside(self, bounds: "Box") -> float:
        """Return how far it sticks out, all sides together."""
        return (
            max(bounds.left - self.left, 0)
            + max(bounds.top - self.top, 0)
            + max(self.right - bounds.right, 0)
            + max(self.bottom - bounds.bottom, 0)
        )


@dataclass(frozen=True)
class Placed:
    """Where a name starts, its baseline, and whether it is so far that a line must lead to its point."""

    x: float
    y: float
    far: bool
    box: Box


def place(
    points: Sequence[tuple[float, float]], names: Sequence[str], obstacles: Sequence[Box], bounds: Box
) -> list[Placed]:
    """Place a name beside each point: near it, within the bounds, on no point, bar or other name.

    Args:
        points: in the order in which names are placed; the first has the most choice.
        names: one for each.
        obstacles: what should stay visible.
        bounds: what the names should stay within.
    """
    marks = [Box(x - 8, y - 8, x + 8, y + 8) for x, y in points]
    placed: list[Placed] = []
    for (x, y), name in zip(points, names, strict=True):
        taken = [*marks, *(other.box for other in placed)]
        options = [_at(x, y, dx, dy, d, text_width(name)) for d in _DISTANCES for dx, dy in _DIRECTIONS]
        costs = [
            40 * option.box.outside(bounds)
            + 5 * sum(option.box.overlap(box) for box in taken)
            + sum(option.box.overlap(box) for box in obstacles)
            + order
            for order, option in enumerate(options)
        ]
        placed.append(options[costs.index(min(costs))])
    return placed


def spread(places: Sequence[float], gap: float, top: float, bottom: float) -> list[float]:
    """Move places along an axis apart, by as little as their order allows, within top and bottom."""
    order = sorted(range(len(places)), key=lambda at: places[at])
    moved = list(places)
    edge = top
    for at in order:
        moved[at] = edge = max(moved[at], edge)
        edge += gap
    edge = bottom
    for at in reversed(order):
        moved[at] = edge = min(moved[at], edge)
        edge -= gap
    return moved


def plot_names(report: Report) -> dict[str, str]:
    """Return candidates' names without the words that all of them begin with: plots are narrow."""
    words = {result.name: result.name.split() for result in report.measured}
    shared = 0
    if len(words) > 1:
        # At least one word of each stays.
        columns = list(zip(*(name[:-1] for name in words.values()), strict=False))
        shared = next((at for at, column in enumerate(columns) if len(set(column)) > 1), len(columns))
    return {name: " ".join(parts[shared:]) for name, parts in words.items()}


def text_width(name: str) -> float:
    """Return about how wide a name will be."""
    return _CHARACTER * len(name)


def _at(x: float, y: float, dx: int, dy: int, distance: float, width: float) -> Placed:
    left = x + dx * distance - (width if dx < 0 else width / 2 if dx == 0 else 0)
    baseline = y + dy * distance + (4 if dy == 0 else _HEIGHT * 0.75 if dy > 0 else 0)
    box = Box(left, baseline - _HEIGHT * 0.8, left + width, baseline + _HEIGHT * 0.25)
    return Placed(left, baseline, distance > _DISTANCES[1], box)
