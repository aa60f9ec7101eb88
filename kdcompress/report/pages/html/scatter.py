"""Accuracy against what it costs: one mark a candidate, with its intervals and its name."""

from collections.abc import Callable, Sequence
from itertools import pairwise

from markupsafe import Markup

from kdcompress.report.measured import Estimate
from kdcompress.report.pages.choice import error_estimate
from kdcompress.report.pages.figures import fixed, shortened, significant
from kdcompress.report.pages.html.axes import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Scale,
    frame,
    label,
    mark,
    plot,
    scale,
    series,
)
from kdcompress.report.pages.html.labels import Box, place, plot_names
from kdcompress.report.pages.html.markup import tag
from kdcompress.report.record import CandidateResult, Report

_NAME = 26  # characters of a name on a plot


def scatter(
    report: Report,
    key: str,
    title: str,
    cost: Callable[[CandidateResult], Estimate | None],
    cost_title: str,
) -> Markup | None:
    """Draw errors against a cost; None where no candidate has both.

    A dashed line joins those that no other candidate beats in both.
    """
    found = [(result, cost(result), error_estimate(report, result)) for result in report.measured]
    known = [(result, x, y.scaled(100)) for result, x, y in found if x is not None and y is not None]
    if not known:
        return None
    x_axis = scale(_extent([x for _, x, _ in known]), LEFT, WIDTH - RIGHT)
    y_axis = scale(_extent([y for _, _, y in known]), HEIGHT - BOTTOM, TOP)
    points = [(x_axis(x.value), y_axis(y.value)) for _, x, y in known]
    short = plot_names(report)
    names = [shortened(short[result.name], _NAME) for result, _, _ in known]
    bars = [box for _, x, y in known for box in _bar_boxes(x, y, x_axis, y_axis)]
    corners = _front(points)
    labels = place(
        points, names, [*bars, *_line_boxes(corners)], Box(LEFT + 2, TOP, WIDTH - 2, HEIGHT - BOTTOM - 2)
    )
    drawn = []
    for (result, x, y), (at_x, at_y), name, spot in zip(known, points, names, labels, strict=True):
        near_x = min(max(at_x, spot.box.left), spot.box.right)
        near_y = min(max(at_y, spot.box.top), spot.box.bottom)
        lead = tag("line", x1=at_x, y1=at_y, x2=near_x, y2=near_y, class_="lead") if spot.far else None
        said = f"{result.name}: {_written(y, '%')}, {cost_title} {_written(x)}"
        drawn.append(
            series(
                report.index(result.name),
                tag("title", said),
                _bars(x, y, x_axis, y_axis),
                lead,
                mark(report.index(result.name), at_x, at_y),
                label(name, spot.x, spot.y, class_="name"),
            )
        )
    measure = f"differs from {shortened(report.stand_in, _NAME)}" if report.stand_in else "WER"
    described = "; ".join(f"{e.name}: {_written(y, '%')} at {_written(x)}" for e, x, y in known)
    scale_said = ", logarithmic" if x_axis.log else ""
    return plot(
        key,
        title,
        f"{measure} against {cost_title}{scale_said}. {described}.",
        *frame(x_axis, y_axis, f"{cost_title}{scale_said}", f"{measure}, %{', logarithmic' * y_axis.log}"),
        tag("path", d=_steps(corners), class_="front") if corners else None,
        *drawn,
        label("↙ better", LEFT + 8, HEIGHT - BOTTOM - 8, class_="hint"),
    )


def _extent(found: Sequence[Estimate]) -> list[float]:
    return [v for e in found for v in (e.low, e.value, e.high) if v is not None]


def _written(found: Estimate, unit: str = "") -> str:
    write = significant if not unit else lambda value: fixed(value, 2)
    if found.low is None or found.high is None:
        return f"{write(found.value)}{unit}"
    return f"{write(found.value)}{unit} ({write(found.low)} to {write(found.high)})"


def _bars(x: Estimate, y: Estimate, x_axis: Scale, y_axis: Scale) -> list[Markup]:
    """Return the two intervals, with ends."""
    at_x, at_y = x_axis(x.value), y_axis(y.value)
    bars = []
    if y.low is not None and y.high is not None:
        low, high = y_axis(y.low), y_axis(y.high)
        bars.append(
            f"M{at_x:.1f},{low:.1f}V{high:.1f}M{at_x - 4:.1f},{low:.1f}h8M{at_x - 4:.1f},{high:.1f}h8"
        )
    if x.low is not None and x.high is not None:
        low, high = x_axis(x.low), x_axis(x.high)
        bars.append(
            f"M{low:.1f},{at_y:.1f}H{high:.1f}M{low:.1f},{at_y - 4:.1f}v8M{high:.1f},{at_y - 4:.1f}v8"
        )
    return [tag("path", d=path, class_="interval") for path in bars]


def _bar_boxes(x: Estimate, y: Estimate, x_axis: Scale, y_axis: Scale) -> list[Box]:
    at_x, at_y = x_axis(x.value), y_axis(y.value)
    boxes = []
    if y.low is not None and y.high is not None:
        boxes.append(Box(at_x - 4, y_axis(y.high), at_x + 4, y_axis(y.low)))
    if x.low is not None and x.high is not None:
        boxes.append(Box(x_axis(x.low), at_y - 4, x_axis(x.high), at_y + 4))
    return boxes


def _front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the points with nothing to their lower left, from left to right; none where it is one alone."""
    front: list[tuple[float, float]] = []
    for x, y in sorted(points, key=lambda point: (point[0], -point[1])):
        if not front or y > front[-1][1]:
            front.append((x, y))
    return front if len(front) > 1 else []


def _steps(corners: Sequence[tuple[float, float]]) -> str:
    (x, y), *others = corners
    return f"M{x:.1f},{y:.1f}" + "".join(f"H{x:.1f}V{y:.1f}" for x, y in others)


def _line_boxes(corners: Sequence[tuple[float, float]]) -> list[Box]:
    boxes = []
    for (x, y), (next_x, next_y) in pairwise(corners):
        boxes += [Box(x, y - 3, next_x, y + 3), Box(next_x - 3, y, next_x + 3, next_y)]
    return boxes
