"""Lines: how long an utterance takes by its length, and what batches and threads bring."""

from collections.abc import Sequence

from kdcompress.bench.pages.figures import plural, shortened, significant
from kdcompress.bench.pages.html.axes import (
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
from kdcompress.bench.pages.html.labels import spread, text_width
from kdcompress.bench.pages.html.markup import Markup, tag
from kdcompress.bench.pages.tables import bucket_label
from kdcompress.bench.pages.view import Entry, Estimate, ReportView, estimate, number, records

_NAME = 22
_DODGE = 5.0  # [SVG units] between candidates in one category: bars do not cover each other


def latency(report: ReportView) -> Markup | None:
    """Draw the median latency with its p99, by the length of the audio where it is known by length."""
    rows: list[tuple[Entry, dict[str, Estimate]]] = []
    names: dict[str, float] = {}
    for entry in report.measured:
        found = {}
        buckets = records(entry.data, "timing", "buckets")
        for bucket in buckets or records({"all": [{**_latency(entry), "all": True}]}, "all"):
            p50, p99 = number(bucket, "p50"), number(bucket, "p99")
            if p50 is not None:
                name = "all utterances" if "all" in bucket else bucket_label(bucket)
                names[name] = number(bucket, "from") or 0.0
                found[name] = Estimate(1e3 * p50, 1e3 * p50, None if p99 is None else 1e3 * p99)
        if found:
            rows.append((entry, found))
    order = sorted(names, key=lambda name: names[name])
    lines = [(entry, shortened(entry.name, _NAME), "", found) for entry, found in rows]
    return _lines(
        "latency",
        "How long one utterance takes",
        ("length of the audio", "median to p99, ms"),
        order,
        lines,
        " ms",
    )


def throughput(report: ReportView) -> Markup | None:
    """Draw seconds of audio per second by batch size, or by threads where there is one batch size only."""
    cells = [
        (entry, number(found, "threads"), number(found, "batch"), estimate(found, "rtfx"))
        for entry in report.measured
        for found in records(entry.data, "timing", "throughput")
    ]
    known = [(e, int(t), int(b), rtfx) for e, t, b, rtfx in cells if t and b and rtfx]
    batches, threads = sorted({b for _, _, b, _ in known}), sorted({t for _, t, _, _ in known})
    if len(batches) * len(threads) < 2:
        return None
    by_batch = len(batches) > 1
    groups: dict[tuple[int, int], tuple[Entry, dict[str, Estimate]]] = {}
    for entry, t, b, rtfx in known:
        line = groups.setdefault((entry.index, t if by_batch else 0), (entry, {}))
        line[1][str(b if by_batch else t)] = rtfx
    lines = []
    for (_, t), (entry, found) in groups.items():
        name = shortened(entry.name, _NAME)
        if by_batch and len(threads) > 1:
            name = f"{shortened(entry.name, _NAME - 4)}, {plural(t, 'thr.', 'thr.')}"
        lines.append((entry, name, f"dash{threads.index(t) % 3}" if t in threads else "", found))
    order = [str(n) for n in (batches if by_batch else threads)]
    x_title = "utterances in a batch" if by_batch else "threads"
    return _lines("throughput", "Throughput", (x_title, "times real time"), order, lines, "×")


def _latency(entry: Entry) -> dict[str, float | None]:
    return {key: number(entry.data, "timing", "latency", key) for key in ("p50", "p99")}


def _lines(
    key: str,
    title: str,
    axes: tuple[str, str],
    order: Sequence[str],
    lines: Sequence[tuple[Entry, str, str, dict[str, Estimate]]],
    unit: str,
) -> Markup | None:
    if not lines:
        return None
    every = [e for _, _, _, found in lines for e in found.values()]
    y = scale([v for e in every for v in (e.low, e.value, e.high) if v is not None], HEIGHT - BOTTOM, TOP)
    # Room for the names at the right end of their lines.
    right = RIGHT + 12 + max(text_width(name) for _, name, _, _ in lines)
    last = [_last(order, found) for _, _, _, found in lines]
    heights = spread([y(e.value) for e in last], 15, TOP + 8, HEIGHT - BOTTOM - 4)
    # One category has the whole width to itself.
    step = min(
        _DODGE if len(order) > 1 else 6 * _DODGE, (WIDTH - right - LEFT) / len(order) / (len(lines) + 1)
    )
    drawn = []
    for at, ((entry, name, dash, found), height, end) in enumerate(zip(lines, heights, last, strict=True)):
        shift = (at - (len(lines) - 1) / 2) * step
        places = {n: centre(order.index(n), len(order), right) + shift for n in order if n in found}
        drawn.append(
            series(
                entry.index,
                _path(places, found, y, dash),
                *(_point(entry, name, n, places[n], found[n], y, unit) for n in places),
                tag("path", d=f"M{max(places.values()) + 8:.1f},{y(end.value):.1f}"
                    f"L{WIDTH - right + 2:.1f},{height - 4:.1f}", class_="lead"),
                label(name, WIDTH - right + 6, height, class_="name"),
            )
        )  # fmt: skip
    described = "; ".join(
        f"{name}: " + ", ".join(f"{n} {significant(found[n].value)}{unit}" for n in order if n in found)
        for _, name, _, found in lines
    )
    x_title, y_title = axes
    scale_said = ", logarithmic" if y.log else ""
    return plot(
        key,
        title,
        f"{y_title} by {x_title}. {described}.",
        *categories(order, y, x_title, f"{y_title}{scale_said}", right),
        *drawn,
    )


def _last(order: Sequence[str], found: dict[str, Estimate]) -> Estimate:
    return [found[name] for name in order if name in found][-1]


def _path(places: dict[str, float], found: dict[str, Estimate], y: Scale, dash: str) -> Markup | None:
    if len(places) < 2:
        return None
    points = " ".join(f"{x:.1f},{y(found[name].value):.1f}" for name, x in places.items())
    return tag("polyline", points=points, class_=f"line {dash}".strip())


def _point(entry: Entry, name: str, category: str, x: float, found: Estimate, y: Scale, unit: str) -> Markup:
    low, high = found.low, found.high
    bar = None
    if low is not None and high is not None:
        bar = tag("path", d=f"M{x:.1f},{y(low):.1f}V{y(high):.1f}m-3,0h6", class_="interval")
    bounds = "" if high is None else f" (up to {significant(high)}{unit})"
    said = f"{name}, {category}: {significant(found.value)}{unit}{bounds}"
    return tag("g", tag("title", said), bar, mark(entry.index, x, y(found.value), 4.5))
