"""What stress costs each candidate: a row for each stress, a mark and an interval for each candidate."""

from markupsafe import Markup

from kdcompress.report.pages.figures import fixed, short, shortened
from kdcompress.report.pages.html.axes import RIGHT, WIDTH, label, mark, plot, scale, series
from kdcompress.report.pages.html.labels import text_width
from kdcompress.report.pages.html.markup import tag
from kdcompress.report.record import Report

_ROW, _NAME, _FOOT = 26.0, 18.0, 46.0
_LONGEST = 44  # characters of a name
_UNIT = "points of WER that it costs, with the 95 % interval"


def stress_costs(report: Report) -> Markup | None:
    """Draw the costs of all stresses on one axis; None where none was measured."""
    stresses = [one for one in report.stresses if any(score.cost for score in one.scores)]
    if not stresses:
        return None
    left = 14 + max(text_width(one.name) for one in stresses)
    head = 12 + _NAME * len({score.candidate for one in stresses for score in one.scores})
    bottom = head + _ROW * len(stresses)
    costs = [score.cost for one in stresses for score in one.scores if score.cost]
    bounds = [bound for cost in costs for bound in cost if bound is not None]
    axis = scale([0.0, *bounds], left, WIDTH - RIGHT, log=False)
    by_candidate: dict[str, list[Markup]] = {}
    for at, one in enumerate(stresses):
        apart = (_ROW - 12) / max(1, len(one.scores) - 1)
        for place, score in enumerate(one.scores):
            if score.cost is None:
                continue
            index = report.index(score.candidate)
            y = head + _ROW * at + 6 + apart * place
            low, high = (axis(score.cost.value if end is None else end) for end in score.cost[1:])
            if score.candidate not in by_candidate:
                line = 10 + _NAME * len(by_candidate)
                name = shortened(score.candidate, _LONGEST)
                by_candidate[score.candidate] = [
                    mark(index, left + 5, line, 4),
                    label(name, left + 16, line + 4, class_="name"),
                ]
            by_candidate[score.candidate].extend(
                (
                    tag("line", x1=low, x2=high, y1=y, y2=y, class_="interval"),
                    mark(index, axis(score.cost.value), y, 4),
                )
            )
    described = "; ".join(
        f"{one.name}: "
        + ", ".join(f"{score.candidate} {fixed(score.cost.value, 1)}" for score in one.scores if score.cost)
        for one in stresses
    )
    return plot(
        "stress",
        "What stress costs",
        f"{_UNIT}. {described}.",
        *(
            tag(
                "g",
                tag("line", x1=axis(tick), x2=axis(tick), y1=head, y2=bottom, class_="grid"),
                label(short(tick), axis(tick), bottom + 15, anchor="middle", class_="tick"),
            )
            for tick in axis.ticks
        ),
        *(
            label(one.name, left - 8, head + _ROW * at + 17, anchor="end", class_="tick")
            for at, one in enumerate(stresses)
        ),
        *(series(report.index(name), tag("title", name), *drawn) for name, drawn in by_candidate.items()),
        label(_UNIT, (left + WIDTH) / 2, bottom + _FOOT - 9, anchor="middle", class_="axis"),
        height=bottom + _FOOT,
    )
