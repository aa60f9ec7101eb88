"""Tables and lists of facts as HTML."""

from collections.abc import Sequence

from kdcompress.report.pages.columns import Cell, Column
from kdcompress.report.pages.html.markup import Markup, tag
from kdcompress.report.pages.setting import Fact
from kdcompress.report.pages.tables import Table

_LONG = 24  # rows; longer tables are closed at first


def table_element(table: Table) -> Markup:
    """Return a table that scrolls within itself on a narrow page; the page's script makes it sortable."""
    columns = [
        tag("th", _heading(column), scope="col", class_=_kind(column.numeric)) for column in table.columns
    ]
    rows = [tag("tr", [_cell(cell, at) for at, cell in enumerate(row)], **_model(row)) for row in table.rows]
    scroll = tag(
        "div",
        tag("table", tag("thead", tag("tr", columns)), tag("tbody", rows), class_="sortable"),
        class_="scroll",
        role="region",
        aria_label=table.title,
        tabindex="0",
    )
    note = tag("p", table.note, class_="note") if table.note else None
    if len(table.rows) > _LONG:
        summary = tag("summary", tag("h3", table.title), f" {len(table.rows)} rows")
        return tag("details", summary, scroll, note, class_="table", id=f"table-{table.key}")
    return tag("div", tag("h3", table.title), scroll, note, class_="table", id=f"table-{table.key}")


def fact_list(facts: Sequence[Fact], class_: str = "facts") -> Markup:
    """Return named facts."""
    return tag("dl", [[tag("dt", name), tag("dd", said, dir="auto")] for name, said in facts], class_=class_)


def _heading(column: Column) -> Markup:
    return tag("abbr", column.title, title=column.meaning) if column.meaning else tag("span", column.title)


def _kind(numeric: bool) -> str | None:
    return "number" if numeric else None


def _model(row: Sequence[Cell]) -> dict[str, str]:
    entry = row[0].entry
    if entry is None:
        return {}
    return {"data_model": str(entry.index), **({"class_": "failed"} if entry.failed else {})}


def _cell(cell: Cell, at: int) -> Markup:
    order = cell.order
    attributes = {
        "class_": _kind(cell.numeric),
        "data_order": order if isinstance(order, str) else None if order is None else repr(float(order)),
    }
    entry = cell.entry
    chip = tag("span", class_=f"chip s{entry.index % 8}", aria_hidden="true") if entry else None
    inside = [chip, tag("bdi", cell.shown), tag("small", cell.range) if cell.range else None]
    if at == 0:
        return tag("th", inside, scope="row", **attributes)
    return tag("td", inside, **attributes)
