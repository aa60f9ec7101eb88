"""Lines: how long an utterance takes by its length, and what batches and threads bring."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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
from kdcompress.report.pages.html.labels import spread, text_width
from kdcompress.report.pages.html.markup import Markup, tag
from kdcompress.report.pages.tables import bucket_label
from kdcompress.report.pages.view import Entry, Estimate, ReportView, estimate, mapping, number, records

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

    entry: Entry
    full: str
    name: str
    points: Mapping[str, Estimate]
    dash: int = 0


def latency(report: ReportView) -> Markup | None:
    """Draw the median latency with its p99, by the length of the audio where it is known by length."""
    lines: list[_Line] = []
    starts: dict[str, float] = {}
    for entry in report.measured:
        points = {}
        buckets = records(entry.data, "timing", "buckets")
        for bucket in buckets or [mapping(entry.data, "timing", "latency")]:
            p50, p99 = number(bucket, "p50"), number(bucket, "p99")
            if p50 is not None:
                name = bucket_label(bucket) if buckets else "all utterances"
                starts[name] = number(bucket, "from") or 0.0
                points[name] = Estimate(1e3 * p50, 1e3 * p50, None if p99 is None else 1e3 * p99)
        if points:
            lines.append(_Line(entry, entry.name, shortened(report.plot_name(entry), _NAME), points))
    titles = ("length of the audio", "median to p99, ms")
    order = sorted(starts, key=starts.__getitem__)
    return _lines("latency", "How long one utterance takes", titles, order, lines, " ms")


def throughput(report: ReportView) -> Markup | None:
    """Draw seconds of audio per second by batch size, or by threads where there is one batch size only."""
    cells = [
        (entry, number(found, "threads"), number(found, "batch"), estimate(found, "rtfx"))
        for entry in report.measured
        for found in records(entry.data, "timing", "throughput")
    ]
    known = [(entry, int(t), int(b), rtfx) for entry, t, b, rtfx in cells if t and b and rtfx]
    batches, threads = sorted({b for _, _, b, _ in known}), sorted({t for _, t, _, _ in known})
    if len(batches) * len(threads) < 2:
        return None
    by_batch = len(batches) > 1
    groups: dict[tuple[Entry, int], dict[str, Estimate]] = {}
    for entry, t, b, rtfx in known:
        groups.setdefault((entry, t if by_batch else 0), {})[str(b if by_batch else t)] = rtfx
    lines, named = [], set()
    for (entry, t), points in groups.items():
        dash = threads.index(t) % len(_DASHES) if by_batch else 0
        full = f"{entry.name}, {plural(t, 'thread')}" if by_batch else entry.name
        name = "" if entry in named else shortened(report.plot_name(entry), _NAME)
        named.add(entry)
        lines.append(_Line(entry, full, name, points, dash))
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
        drawn.append(series(line.entry.index, _path(line, places, y), points, name))
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
    return tag("g", tag("title", said), bar, mark(line.entry.index, x, y(found.value), 4.5))
