"""A report as Markdown: the page's summary and tables, for a comment under a change or a ticket."""

import re
from collections.abc import Sequence

from kdcompress.report.pages.alignment import Alignment, Alignments
from kdcompress.report.pages.choice import RULE
from kdcompress.report.pages.columns import Cell
from kdcompress.report.pages.setting import Fact, machine_facts, setting_facts, version_facts
from kdcompress.report.pages.summary import summarize
from kdcompress.report.pages.tables import Table, report_tables
from kdcompress.report.pages.worst import WORST, WorstUtterance, worst_utterances
from kdcompress.report.record import Report

_OPEN = frozenset({"accuracy", "speed", "size", "differences", "stress"})  # the other tables are folded
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>!|~$&]|^[-+=])")
_NUMBERED = re.compile(r"^(\d{1,9})([.)])(?=\s|$)")  # a list, at the beginning of a line
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
_LINKS = re.compile(r"(@|#|://|www\.)")  # would call people and tickets, or become links


def render_markdown(report: Report, *, worst: int = WORST) -> str:
    """Return a report as GitHub-flavoured Markdown.

    Texts of models and files are escaped: they neither format, nor link, nor call anybody.

    Args:
        report: what the benchmark found; what is missing is left out.
        worst: how many of the worst utterances are shown.
    """
    alignments = Alignments(report)
    summary = summarize(report, alignments)
    chosen = worst_utterances(report, alignments, worst)
    tables = report_tables(report)
    lines = ["## Speech recognition benchmark", ""]
    lines += [f"**Failed:** {escape(failure)}\n" for failure in summary.failures]
    lines += [
        f"- **{'Gate broken' if broken else 'Gate kept'}:** {escape(said)}" for broken, said in summary.gate
    ]
    lines += [""] * bool(summary.gate)
    lines += [escape(" ".join(summary.sentences)), ""]
    lines += [f"- **Care:** {escape(caution)}" for caution in summary.cautions]
    if summary.cautions:
        lines.append("")
    for table in tables:
        if table.key in _OPEN:
            lines += [f"### {table.title}", "", *_table(table), ""]
    folded = [
        line
        for table in tables
        if table.key not in _OPEN
        for line in ("", f"#### {table.title}", "", *_table(table))
    ]
    lines += _folded("More tables", folded)
    lines += _folded(f"The {len(chosen)} worst utterances", _worst(chosen))
    facts = [*machine_facts(report), *setting_facts(report), *version_facts(report)]
    lines += _folded("Machine and settings", _facts(facts))
    if summary.picked:
        lines += _folded("How the pick is made", [RULE])
    return "\n".join(lines).rstrip() + "\n"


def escape(said: str) -> str:
    """Return one line of text that means itself in Markdown, in a table's cell too."""
    line = _CONTROL.sub(" ", said).strip()
    plain = _NUMBERED.sub(r"\1\\\2", _SPECIAL.sub(r"\\\1", line))
    # A space without width: what is read stays the same.
    return _LINKS.sub("\\1\u200b", plain)


def _folded(title: str, lines: Sequence[str]) -> list[str]:
    if not lines:
        return []
    return ["<details>", f"<summary>{title}</summary>", "", *lines, "", "</details>", ""]


def _table(table: Table) -> list[str]:
    header = [escape(column.title) for column in table.columns]
    rule = ["--:" if column.numeric else ":--" for column in table.columns]
    lines = [_row(header), _row(rule), *(_row([_cell(cell) for cell in row]) for row in table.rows)]
    return [*lines, "", escape(table.note)] if table.note else lines


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(cell: Cell) -> str:
    shown = escape(cell.shown)
    return f"{shown} <sub>{escape(cell.range)}</sub>" if cell.range else shown


def _worst(chosen: Sequence[WorstUtterance]) -> list[str]:
    if not chosen:
        return []
    rows = [
        (escape(utterance.id), escape(result.name), str(alignment.errors), _compared(alignment))
        for utterance in chosen
        for result, alignment, _ in utterance.found
        if alignment.errors
    ]
    note = "Differences: **recognised** for ~~said~~, **+inserted**, ~~−deleted~~."
    columns = ["utterance", "model", "errors", "recognised"]
    return [note, "", _row(columns), _row([":--", ":--", "--:", ":--"]), *map(_row, rows)]


def _compared(alignment: Alignment) -> str:
    words = []
    for edit in alignment.edits:
        said, written = escape(edit.said), escape(edit.written)
        match edit.kind:
            case "equal":
                words.append(said)
            case "substitute":
                words.append(f"**{written}** ~~{said}~~")
            case "insert":
                words.append(f"**+{written}**")
            case "delete":
                words.append(f"~~−{said}~~")
    return " ".join(words)


def _facts(facts: Sequence[Fact]) -> list[str]:
    if not facts:
        return []
    return [
        _row(["", ""]),
        _row([":--", ":--"]),
        *(_row([escape(name), escape(said)]) for name, said in facts),
    ]
