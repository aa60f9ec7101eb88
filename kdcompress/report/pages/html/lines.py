"""Lines: how long an utterance takes by its length, and what batches and threads bring."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from kdcompress.report.measured import Bucket, Estimate
from kdcompress.report.pages.figures import plural, shortened, significant
from kdcompress.report.pages.html.axes import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Scale,
    categories,
    centre,
    label,
    mark,
    plot,
    scale,
    series,
)
from kdcompress.report.pages.html.labels import plot_names, spread, text_width
from kdcompress.report.pages.html.markup import tag
from kdcompress.report.record import Report

_NAME = 26
_DODGE = 5.0  # [SVG units] between candidates in one category: bars do not cover each other
_DASHES = ("solid", "dashed", "dotted")  # dash1 and dash2 in style.css


@dataclass(frozen=True, eq=False)
class _Line:
    """One line.

    Attributes:
        full: whose it is.
        name: the same on the plot; "" where another line of its colour is named.
        points: by category.
        dash: which of `_DASHES`.
    """

    index: int
    full: str
    name: str
    points: Mapping[str, Estimate]
    dash: int = 0


def latency(report: Report) -> Markup | None:
    """Draw the median latency with its p99, by the length of the audio where it is known by length."""
    names, lines = plot_names(report), []
    starts: dict[str, float] = {}
    for result in report.measured:
        points = {}
        timing = result.timing
        whole = (timing.latency,) if timing and timing.latency else ()
        for found in (timing.buckets or whole) if timing else ():
            name = f"{found.span} s" if isinstance(found, Bucket) else "all utterances"
            starts[name] = found.start if isinstance(found, Bucket) else 0.0
            points[name] = Estimate(1e3 * found.p50, 1e3 * found.p50, 1e3 * found.p99)
        if points:
            name = shortened(names[result.name], _NAME)
            lines.append(_Line(report.index(result.name), result.name, name, points))
    titles = ("length of the audio", "median to p99, ms")
    order = sorted(starts, key=starts.__getitem__)
    return _lines("latency", "How long one utterance takes", titles, order, lines, " ms")


def throughput(report: Report) -> Markup | None:
    """Draw seconds of audio per second by batch size, or by threads where there is one batch size only."""
    known = [
        (result.name, found.threads, found.batch, found.rtfx.estimate)
        for result in report.measured
        if result.timing
        for found in result.timing.throughput
    ]
    batches, threads = sorted({b for _, _, b, _ in known}), sorted({t for _, t, _, _ in known})
    if len(batches) * len(threads) < 2:
        return None
    by_batch = len(batches) > 1
    groups: dict[tuple[str, int], dict[str, Estimate]] = {}
    for model, t, b, rtfx in known:
        groups.setdefault((model, t if by_batch else 0), {})[str(b if by_batch else t)] = rtfx
    lines, named, names = [], set(), plot_names(report)
    for (model, t), points in groups.items():
        dash = threads.index(t) % len(_DASHES) if by_batch else 0
        full = f"{model}, {plural(t, 'thread')}" if by_batch else model
        name = "" if model in named else shortened(names[model], _NAME)
        named.add(model)
        lines.append(_Line(report.index(model), full, name, points, dash))
    x_title = "utterances in a batch" if by_batch else "threads"
    if by_batch and len(threads) > 1:
        drawn = [f"{dash}: {plural(t, 'thread')}" for dash, t in zip(_DASHES, threads, strict=False)]
        x_title += f"; {', '.join(drawn)}"
    order = [str(n) for n in (batches if by_batch else threads)]
    return _lines("throughput", "Throughput", (x_title, "times real time"), order, lines, "×")


def _lines(
    key: str, title: str, titles: tuple[str, str], order: Sequence[str], lines: Sequence[_Line], unit: str
) -> Markup | None:
    if not lines:
        return None
    every = [e for line in lines for e in line.points.values()]
    y = scale([v for e in every for v in (e.low, e.value, e.high) if v is not None], HEIGHT - BOTTOM, TOP)
    # Room for the names at the right end of their lines.
    right = RIGHT + 12 + max(text_width(line.name) for line in lines)
    ends = {line: y(_last(order, line)) for line in lines if line.name}
    heights = dict(zip(ends, spread(list(ends.values()), 15, TOP + 8, HEIGHT - BOTTOM - 4), strict=True))
    # One category has the whole width to itself.
    room = (WIDTH - right - LEFT) / len(order) / (len(lines) + 1)
    step = min(_DODGE if len(order) > 1 else 6 * _DODGE, room)
    drawn = []
    for at, line in enumerate(lines):
        shift = (at - (len(lines) - 1) / 2) * step
        places = {n: centre(order.index(n), len(order), right) + shift for n in order if n in line.points}
        name = None
        if line in heights:
            lead = (max(places.values()) + 8, ends[line]), (WIDTH - right + 2, heights[line] - 4)
            path = "M" + "L".join(f"{x:.1f},{at_y:.1f}" for x, at_y in lead)
            name = [
                tag("path", d=path, class_="lead"),
                label(line.name, WIDTH - right + 6, heights[line], class_="name"),
            ]
        points = [_point(line, n, places[n], y, unit) for n in places]
        drawn.append(series(line.index, _path(line, places, y), points, name))
    described = "; ".join(
        f"{line.full}: " + ", ".join(f"{n} {significant(e.value)}{unit}" for n, e in line.points.items())
        for line in lines
    )
    x_title, y_title = titles
    return plot(
        key,
        title,
        f"{y_title} by {x_title}. {described}.",
        *categories(order, y, x_title, f"{y_title}{', logarithmic' * y.log}", right),
        *drawn,
    )


def _last(order: Sequence[str], line: _Line) -> float:
    return [line.points[name].value for name in order if name in line.points][-1]


def _path(line: _Line, places: Mapping[str, float], y: Scale) -> Markup | None:
    if len(places) < 2:
        return None
    points = " ".join(f"{x:.1f},{y(line.points[name].value):.1f}" for name, x in places.items())
    return tag("polyline", points=points, class_=f"line dash{line.dash}")


def _point(line: _Line, category: str, x: float, y: Scale, unit: str) -> Markup:
    found = line.points[category]
    bar, bounds = None, ""
    if found.low is not None and found.high is not None:
        bar = tag("path", d=f"M{x:.1f},{y(found.low):.1f}V{y(found.high):.1f}m-3,0h6", class_="interval")
        bounds = f" (up to {significant(found.high)}{unit})"
    said = f"{line.full}, {category}: {significant(found.value)}{unit}{bounds}"
    return tag("g", tag("title", said), bar, mark(line.index, x, y(found.value), 4.5))
