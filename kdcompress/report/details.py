"""What stands below the main table at a terminal: memory and cost, latency by duration, throughput."""

from collections.abc import Sequence
from typing import TypeAlias

from rich import box
from rich.table import Table
from rich.text import Text

from kdcompress.report.measured import Bucket
from kdcompress.report.report import BenchReport

_NONE = "–"
_COLUMNS = 5  # in one table; more would not fit into 80 characters

_Row: TypeAlias = tuple[str, list[str]]


def detail_tables(report: BenchReport) -> list[Table]:
    """Return the tables for which there is something to say."""
    return [*_cost(report), *_latency(report), *_throughput(report)]


def _cost(report: BenchReport) -> list[Table]:
    rows: list[_Row] = []
    for result in report.results:
        timing, memory = result.timing, result.memory
        if timing is None or memory is None:
            continue
        cells = [
            _form(timing.first_result_seconds, ".2f"),
            _form(timing.cpu_seconds_per_hour, ".1f"),
            _mebibytes(memory.peak_rss_bytes),
            _mebibytes(memory.model_rss_bytes),
            _mebibytes(memory.gpu_bytes),
        ]
        rows.append((result.name, cells))
    titles = ["first result\ns", "CPU s per\naudio hour", "peak\nMiB", "of it, model\nMiB", "GPU\nMiB"]
    if all(cells[-1] == _NONE for _, cells in rows):
        titles, rows = titles[:-1], [(name, cells[:-1]) for name, cells in rows]
    return _tables("cost", titles, rows)


def _latency(report: BenchReport) -> list[Table]:
    timed = [(result.name, result.timing) for result in report.results if result.timing]
    spans = list(dict.fromkeys(_span(bucket) for _, timing in timed for bucket in timing.buckets))
    if len(spans) < 2:
        return []
    rows = []
    for name, timing in timed:
        found = {_span(bucket): bucket.latency for bucket in timing.buckets}
        rows.append((name, [f"{1000 * found[span].p50:.1f}\n{1000 * found[span].p99:.1f}" for span in spans]))
    return _tables("latency", [f"ms p50, p99\nof {span} s" for span in spans], rows)


def _throughput(report: BenchReport) -> list[Table]:
    timed = [(result.name, result.timing) for result in report.results if result.timing]
    settings = list(
        dict.fromkeys((row.threads, row.batch) for _, timing in timed for row in timing.throughput)
    )
    if len(settings) < 2:
        return []
    rows = []
    for name, timing in timed:
        found = {(row.threads, row.batch): row.rtfx for row in timing.throughput}
        cells = [f"{found[key].median:.0f}" if key in found else _NONE for key in settings]
        rows.append((name, cells))
    titles = [f"threads {threads}\nbatch {batch}" for threads, batch in settings]
    return _tables("audio heard, s per s", titles, rows)


def _tables(what: str, titles: Sequence[str], rows: Sequence[_Row]) -> list[Table]:
    """Lay out some columns below others, so that none is cut off on a narrow terminal."""
    tables = []
    for first in range(0, len(titles) if rows else 0, _COLUMNS):
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
        table.add_column(what, overflow="fold", min_width=12)
        for title in titles[first : first + _COLUMNS]:
            table.add_column(title, justify="right", no_wrap=True)
        for name, cells in rows:
            table.add_row(Text(name), *map(Text, cells[first : first + _COLUMNS]))
        tables.append(table)
    return tables


def _span(bucket: Bucket) -> str:
    return f"{bucket.start:g}–{bucket.end:g}" if bucket.end is not None else f"over {bucket.start:g}"


def _form(value: float | None, form: str) -> str:
    return _NONE if value is None else f"{value:{form}}"


def _mebibytes(size: int | None) -> str:
    return _NONE if size is None else f"{size / 2**20:.0f}"
