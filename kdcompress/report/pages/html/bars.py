"""Stacked bars: what the errors are, and what the time goes to."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from kdcompress.report.pages.figures import duration, fixed, short, shortened, significant
from kdcompress.report.pages.html.axes import RIGHT, WIDTH, label, mark, plot, scale, series
from kdcompress.report.pages.html.labels import text_width
from kdcompress.report.pages.html.markup import tag
from kdcompress.report.record import Report

_ROW, _BAR, _HEAD, _FOOT = 40.0, 15.0, 30.0, 46.0
_NAME = 44
_TOTAL = 64.0  # room at the end of the longest bar


@dataclass(frozen=True)
class Part:
    """One kind of which bars are made: its name, its class in the style sheet, its pattern's name."""

    title: str
    class_: str


@dataclass(frozen=True)
class _Row:
    """One candidate's bar: its parts, what stands at its end, and what is added to its name."""

    name: str
    values: Sequence[float]
    total: str
    note: str = ""


ERRORS = (Part("substituted", "sub"), Part("inserted", "ins"), Part("deleted", "del"))
STAGES = (Part("features", "features"), Part("model", "model"), Part("CTC decoding", "decoding"))


def error_types(report: Report) -> Markup | None:
    """Draw how many words of 100 each candidate substitutes, inserts and deletes."""
    rows = []
    for result in report.measured:
        rate = report.error(result)
        if rate and rate.reference:
            kinds = (rate.substitutions, rate.insertions, rate.deletions)
            shares = [100 * kind / rate.reference for kind in kinds]
            rows.append(_Row(result.name, shares, fixed(sum(shares), 1)))
    unit = "errors in 100 reference words"
    return _stacked(report, "errors", "What kind of errors", unit, ERRORS, rows)


def stages(report: Report) -> Markup | None:
    """Draw which share of each candidate's time goes to what; the time itself stands beside it."""
    rows = []
    for result in report.measured:
        timing = result.timing
        parts = (timing.features_rtf, timing.model_rtf, timing.decoding_rtf) if timing else ()
        medians = [part.median if part else 0.0 for part in parts]
        if total := sum(medians):
            inside = " (model with features)" if result.facts and result.facts.features_in_model else ""
            shares = [100 * median / total for median in medians]
            rows.append(_Row(result.name, shares, f"{duration(3600 * total)}/h", inside))
    unit = "% of the time; beside it the time per hour of audio"
    return _stacked(report, "stages", "Where the time goes", unit, STAGES, rows)


def _stacked(
    report: Report,
    key: str,
    title: str,
    unit: str,
    parts: Sequence[Part],
    rows: Sequence[_Row],
) -> Markup | None:
    if not rows:
        return None
    height = _HEAD + _ROW * len(rows) + _FOOT
    left, bottom = 12.0, height - _FOOT
    highest = max(sum(row.values) for row in rows) or 1.0
    axis = scale([0.0, highest], left, WIDTH - RIGHT - _TOTAL)
    drawn = []
    for at, row in enumerate(rows):
        index, values = report.index(row.name), row.values
        top = _HEAD + _ROW * at
        edge, segments = left, []
        for part, value in zip(parts, values, strict=True):
            right = edge + axis(value) - axis(0)
            if value > 0:
                segments.append(_segment(key, part, edge, right, top + 17))
            edge = right
        name = shortened(row.name, _NAME) + row.note
        drawn.append(
            series(
                index,
                tag("title", f"{row.name}: {_figures(parts, values)}; {unit}"),
                mark(index, left + 5, top + 8, 4),
                label(name, left + 16, top + 12, class_="name"),
                *segments,
                label(row.total, edge + 6, top + 17 + _BAR - 3, class_="total"),
            )
        )
    described = "; ".join(f"{row.name}: {_figures(parts, row.values)}, in all {row.total}" for row in rows)
    return plot(
        key,
        title,
        f"{unit}. {described}.",
        *_patterns(key, parts),
        *_legend(key, parts, left),
        *(
            tag(
                "g",
                tag("line", x1=axis(tick), x2=axis(tick), y1=_HEAD, y2=bottom, class_="grid"),
                label(short(tick), axis(tick), bottom + 15, anchor="middle", class_="tick"),
            )
            for tick in axis.ticks
        ),
        *drawn,
        label(unit, WIDTH / 2, height - 9, anchor="middle", class_="axis"),
        height=height,
    )


def _figures(parts: Sequence[Part], values: Sequence[float]) -> str:
    return ", ".join(f"{part.title} {significant(value)}" for part, value in zip(parts, values, strict=True))


def _segment(key: str, part: Part, left: float, right: float, top: float) -> Markup:
    box = {"x": left, "y": top, "width": max(right - left, 0.5), "height": _BAR}
    return tag(
        "g",
        tag("rect", **box, class_=f"part {part.class_}"),
        tag("rect", **box, fill=f"url(#{key}-{part.class_})", class_="pattern"),
    )


def _patterns(key: str, parts: Sequence[Part]) -> list[Markup]:
    """Return what tells the parts apart without colour: plain, slanted lines, dots."""
    inside = (
        None,
        tag("path", d="M0,6L6,0", class_="hatch"),
        tag("circle", cx=3, cy=3, r=1.3, class_="dot"),
    )
    return [
        tag(
            "defs",
            *(
                tag("pattern", shape, id=f"{key}-{part.class_}", width=6, height=6,
                    patternUnits="userSpaceOnUse")
                for part, shape in zip(parts, inside, strict=True)
            ),
        )
    ]  # fmt: skip


def _legend(key: str, parts: Sequence[Part], left: float) -> list[Markup]:
    drawn = []
    for part in parts:
        drawn.append(_segment(key, part, left, left + 16, 6))
        drawn.append(label(part.title, left + 22, 18, class_="tick"))
        left += 22 + text_width(part.title) + 18
    return drawn
