"""Scales, ticks, grid and marks of a plot; lengths are in the SVG's own units."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from kdcompress.report.pages.figures import short
from kdcompress.report.pages.html.markup import Child, tag

WIDTH, HEIGHT = 460.0, 330.0
LEFT, RIGHT, TOP, BOTTOM = 52.0, 14.0, 14.0, 46.0
COLOURS = 8  # in style.css: s0 to s7, each in a light and a dark shade
_LOG_FROM = 4.0  # a range of this ratio and more is drawn on a logarithmic scale


@dataclass(frozen=True)
class Scale:
    """Data to a place along an axis.

    Attributes:
        low, high: the data at the two ends.
        start, stop: their places; start may be beyond stop, as on an axis that points up.
    """

    low: float
    high: float
    start: float
    stop: float
    log: bool
    ticks: tuple[float, ...]

    def __call__(self, value: float) -> float:
        """Return the place of a value; what lies beyond the axis is drawn at its end."""
        value = min(max(value, self.low), self.high)
        low, high, at = (math.log(v) if self.log else v for v in (self.low, self.high, value))
        return self.start + (self.stop - self.start) * (at - low) / (high - low)


def scale(values: Sequence[float], start: float, stop: float, *, log: bool | None = None) -> Scale:
    """Choose the ends and ticks of an axis.

    Args:
        values: all that will be drawn, bounds of intervals included.
        start, stop: the places of its ends.
        log: None decides by the range; zero and negative values are drawn on a linear scale.
    """
    low, high = min(values), max(values)
    if low > 0 and (log or (log is None and high / low >= _LOG_FROM)):
        low, high = low / 1.25, high * 1.25
        return Scale(low, high, start, stop, True, _log_ticks(low, high))
    margin = 0.08 * (high - low) or abs(high) * 0.2 or 1.0
    # From zero, where that costs little: lengths can then be compared.
    bottom = 0.0 if 0 <= low <= 0.5 * high else low - margin
    top = high + margin
    step = _step((top - bottom) / 5)
    first = math.ceil(bottom / step - 1e-9)
    ticks = tuple(step * n for n in range(first, math.floor(top / step + 1e-9) + 1))
    return Scale(bottom, top, start, stop, False, ticks)


def _step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= rough * 0.999)


def _log_ticks(low: float, high: float) -> tuple[float, ...]:
    for steps in ((1, 2, 5), (1, 3), (1,)):
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        ticks = tuple(m * 10.0**p for p in powers for m in steps if low <= m * 10.0**p <= high)
        if len(ticks) <= 7:
            return ticks
    return ticks[:: math.ceil(len(ticks) / 7)]


def frame(x: Scale, y: Scale, x_title: str, y_title: str) -> list[Markup]:
    """Return the grid and the titles of a plot with two scales."""
    return [
        *(_grid(LEFT, WIDTH - RIGHT, y(tick), short(tick)) for tick in y.ticks),
        *(tag("line", x1=x(tick), x2=x(tick), y1=TOP, y2=HEIGHT - BOTTOM, class_="grid") for tick in x.ticks),
        *(
            label(short(tick), x(tick), HEIGHT - BOTTOM + 15, anchor="middle", class_="tick")
            for tick in x.ticks
        ),
        *titles(x_title, y_title),
    ]


def categories(names: Sequence[str], y: Scale, x_title: str, y_title: str, right: float) -> list[Markup]:
    """Return the grid of a plot whose x axis counts; `centre` says where each of them is."""
    return [
        *(_grid(LEFT, WIDTH - right, y(tick), short(tick)) for tick in y.ticks),
        *(
            label(name, centre(at, len(names), right), HEIGHT - BOTTOM + 15, anchor="middle", class_="tick")
            for at, name in enumerate(names)
        ),
        *titles(x_title, y_title),
    ]


def centre(at: int, of: int, right: float) -> float:
    """Return the place of one of several categories."""
    return LEFT + (WIDTH - right - LEFT) * (at + 0.5) / of


def _grid(left: float, right: float, at: float, written: str) -> Markup:
    return tag(
        "g",
        tag("line", x1=left, x2=right, y1=at, y2=at, class_="grid"),
        label(written, left - 6, at + 4, anchor="end", class_="tick"),
    )


def titles(x_title: str, y_title: str) -> list[Markup]:
    """Return the titles of both axes."""
    middle = (TOP + HEIGHT - BOTTOM) / 2
    return [
        label(x_title, (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 9, anchor="middle", class_="axis"),
        label(y_title, 12, middle, anchor="middle", class_="axis", transform=f"rotate(-90 12 {middle:g})"),
    ]


def label(said: str, x: float, y: float, *, anchor: str = "start", class_: str = "", **more: str) -> Markup:
    """Return a line of text."""
    return tag("text", said, x=x, y=y, text_anchor=anchor, class_=class_ or None, **more)


def mark(index: int, x: float, y: float, size: float = 5.5) -> Markup:
    """Return a candidate's mark: its shape tells it apart where colours do not."""
    shape, s = index % COLOURS, size
    if shape == 0:
        return tag("circle", cx=x, cy=y, r=s, class_="mark")
    outline = {
        1: [(-s, -s), (s, -s), (s, s), (-s, s)],
        2: [(0, -1.25 * s), (1.2 * s, 0.9 * s), (-1.2 * s, 0.9 * s)],
        3: [(0, -1.35 * s), (1.35 * s, 0), (0, 1.35 * s), (-1.35 * s, 0)],
        4: [(0, 1.25 * s), (1.2 * s, -0.9 * s), (-1.2 * s, -0.9 * s)],
        5: _star(s * 1.45, 5, 0.45),
        6: _star(s * 1.3, 4, 0.4),
        7: _star(s * 1.2, 3, 1.0),
    }[shape]
    return tag("polygon", points=" ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in outline), class_="mark")


def _star(radius: float, spikes: int, waist: float) -> list[tuple[float, float]]:
    turns = [(math.pi * n / spikes, radius * (waist if n % 2 else 1)) for n in range(2 * spikes)]
    return [(r * math.sin(angle), -r * math.cos(angle)) for angle, r in turns]


def series(index: int, *children: Child) -> Markup:
    """Return what belongs to one candidate: its colour, and what the page's script lights up together."""
    return tag("g", *children, class_=f"series s{index % COLOURS}", data_model=str(index))


def plot(key: str, title: str, description: str, *children: Child, height: float = HEIGHT) -> Markup:
    """Return a plot with its name and, for who cannot see it, what it shows."""
    return tag(
        "svg",
        tag("title", title, id=f"{key}-title"),
        tag("desc", description, id=f"{key}-desc"),
        *children,
        viewBox=f"0 0 {WIDTH:g} {height:g}",
        role="img",
        aria_labelledby=f"{key}-title {key}-desc",
    )
