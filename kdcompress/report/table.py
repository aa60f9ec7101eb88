"""A report for people at a terminal: the tables of the pages, laid out for its width."""

from collections.abc import Sequence
from textwrap import fill

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table as Grid
from rich.text import Text

from kdcompress.report.pages.columns import Cell, Column
from kdcompress.report.pages.figures import duration, plural, significant
from kdcompress.report.pages.setting import Fact, machine_facts, version_facts
from kdcompress.report.pages.tables import Table, report_tables
from kdcompress.report.record import Report

_OF_TEXTS = frozenset({"accuracy", "differences", "stress"})
_ABOUT = ("CPU", "cores", "GPU", "load before the start")
_VERSIONS = ("kdcompress", "onnxruntime", "onnxruntime-gpu", "sherpa-onnx", "onnx-asr", "torch")
_TITLE = 12  # characters of a heading's line
_LONGEST = 26  # characters of a cell; longer ones (session options) stand on the pages only


class ReportTables:
    """A report laid out: what it was measured on, its tables, what must be known beside them.

    Where a table is too wide for the terminal, its columns stand below each other.

    Args:
        report: measured or scored.
        times: also what the texts alone do not say.
    """

    def __init__(self, report: Report, *, times: bool) -> None:
        self.report = report
        self.times = times

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Show what there is to show."""
        yield Text(_heading(self.report, self.times))
        for table in report_tables(self.report):
            if self.times or table.key in _OF_TEXTS:
                yield from _grids(table, options.max_width)
        if notes := _footnotes(self.report):
            yield Text("\n".join(notes))


def _heading(report: Report, times: bool) -> str:
    settings = report.settings
    lines = []
    if times:
        facts: list[Fact] = [fact for fact in machine_facts(report) if fact[0] in _ABOUT]
        versions = [" ".join(fact) for fact in version_facts(report) if fact[0] in _VERSIONS]
        lines = ["; ".join(f"{name} {text}" for name, text in facts), ", ".join(versions)]
    about = f"{settings.source or 'texts'}: {plural(settings.utterances or 0, 'utterance')}"
    if settings.audio_seconds:
        about += f", {duration(settings.audio_seconds)}"
    if times:
        about += f"; {plural(settings.repeats, 'timed pass', 'timed passes')}, interleaved"
        about += f"; reading the audio RTF {significant(report.audio_decoding_rtf)}"
        if settings.affinity:
            about += f"; pinned to {', '.join(map(str, settings.affinity))}"
    else:
        about += "; scored again, no model was run"
    return "\n".join(filter(None, [*lines, about]))


def _grids(table: Table, width: int) -> list[Grid | Text]:
    """Lay out a table, some of its columns below others where not all fit."""
    widths = [_width(column, [row[at] for row in table.rows]) for at, column in enumerate(table.columns)]
    parts: list[list[int]] = [[]]
    # A name of a file may be as long as the terminal is wide: it is folded.
    named = min(widths[0], max(width // 3, _TITLE))
    used = named
    for at in range(1, len(widths)):
        if widths[at] > max(width - named, 0) or (widths[at] > _LONGEST and table.key == "runtime"):
            continue
        if used + widths[at] > width and parts[-1]:
            parts.append([])
            used = named
        parts[-1].append(at)
        used += widths[at]
    shown: list[Grid | Text] = [_grid(table, part, named if named < widths[0] else None) for part in parts]
    title = Text(f"\n{table.title}", style="bold")
    spaced = [line for grid in shown for line in (Text(), grid)]
    return [title, *spaced, *([Text(f"\n{table.note}")] if table.note else [])]


def _width(column: Column, cells: Sequence[Cell]) -> int:
    """Return the characters that a column takes, with the two spaces beside it."""
    lines = [*_titled(column).split("\n"), *(text for cell in cells for text in (cell.shown, cell.range))]
    return max(map(len, lines)) + 2


def _titled(column: Column) -> str:
    return fill(column.title, _TITLE, break_long_words=False)


def _grid(table: Table, columns: Sequence[int], first: int | None) -> Grid:
    grid = Grid(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    grid.add_column(table.columns[0].title, overflow="fold", width=None if first is None else first - 2)
    for column in (table.columns[at] for at in columns):
        justify = "right" if column.numeric else "left"
        grid.add_column(_titled(column), justify=justify, no_wrap=True)  # type: ignore[arg-type]
    for row in table.rows:
        grid.add_row(*(Text("\n".join(filter(None, (cell.shown, cell.range)))) for cell in
                       (row[0], *(row[at] for at in columns))))  # fmt: skip
    return grid


def _footnotes(report: Report) -> list[str]:
    lines = [f"{result.name} failed and was not timed: {result.failed}" for result in report.failed]
    return [*lines, *(f"{result.name}: {note}" for result in report.results for note in result.notes)]
