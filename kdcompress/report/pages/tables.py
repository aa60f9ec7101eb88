"""The tables of a report as data: Markdown and HTML write the same ones."""

from collections.abc import Sequence
from dataclasses import dataclass

from kdcompress.report.pages.columns import (
    ACCURACY,
    EMPTY,
    RUNTIME,
    SIZE,
    SPEED,
    Cell,
    Column,
    Figure,
    bounds,
    named,
    words,
)
from kdcompress.report.pages.figures import NONE, count, fixed, probability, significant
from kdcompress.report.pages.view import Entry, Estimate, ReportView, estimate, lookup, number, records, text


@dataclass(frozen=True, slots=True)
class Table:
    """A table; columns in which nothing stands are left out when it is made.

    Attributes:
        key: names it in addresses within a page.
        note: what must be known beside it.
    """

    key: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""


def report_tables(report: ReportView) -> list[Table]:
    """Return the tables that this report has figures for, in reading order."""
    tables = [
        _table("accuracy", "Accuracy", report, ACCURACY, _accuracy_note(report)),
        _table("speed", "Speed", report, SPEED, _speed_note(report)),
        _table("size", "Size and memory", report, SIZE),
        _differences(report),
        _by_duration(report),
        _throughput(report),
        _table("runtime", "How each model ran", report, RUNTIME),
    ]
    return [table for table in tables if table.rows and len(table.columns) > 1]


def _table(key: str, title: str, report: ReportView, figures: Sequence[Figure], note: str = "") -> Table:
    entries = report.entries if key == "accuracy" else report.measured
    cells = [[cell(entry) for entry in entries] for _, cell in figures]
    kept = [at for at, column in enumerate(cells) if any(cell.shown != NONE for cell in column)]
    return Table(
        key,
        title,
        (Column("model", numeric=False), *(figures[at][0] for at in kept)),
        tuple((named(entry), *(cells[at][row] for at in kept)) for row, entry in enumerate(entries)),
        note,
    )


def _accuracy_note(report: ReportView) -> str:
    name = text(report.data, "settings", "normalizer")
    version = text(report.data, "settings", "normalizer_version")
    note = f"Both sides went through the normaliser {name} v{version}." if name else ""
    if any(lookup(entry.data, "agreement", "wer") for entry in report.measured) and not report.agreement_with:
        note += f" disagrees, same: held against the transcripts of {report.reference}."
    if report.agreement_with:
        note += f" There are no references: transcripts are held against those of {report.agreement_with}."
    return note.strip()


def _speed_note(report: ReportView) -> str:
    notes = []
    if any(lookup(entry.data, "timing", "speed") for entry in report.measured):
        notes.append(f"speed: times faster than {report.reference}, each pass against its same pass.")
    inside = [entry.name for entry in report.measured if lookup(entry.data, "facts", "features_in_model")]
    if inside:
        notes.append(f"The model's time contains the features in {', '.join(inside)}.")
    return " ".join(notes)


def _differences(report: ReportView) -> Table:
    entries = {entry.name: entry for entry in report.entries}
    rows = []
    for candidate, baseline, measure, value, p in report.differences():
        # Error rates differ by points; of times a ratio is what is compared.
        factor, unit = (1.0, "×") if measure.startswith("rtf") else (100.0, " points")
        shown = value.scaled(factor)
        write = significant if unit == "×" else lambda points: fixed(points, 2)
        name = named(entries[candidate]) if candidate in entries else words(candidate)
        rows.append(
            (
                name,
                words(baseline),
                words(measure.upper()),
                Cell(write(shown.value) + unit, bounds(shown, write), value.value),
                Cell(probability(p), "", p),
                words(_verdict(value, measure, p)),
            )
        )
    columns = (
        Column("model", numeric=False),
        Column("against", numeric=False),
        Column("measure", numeric=False),
        Column("difference", "with its 95 % interval, paired over utterances"),
        Column("p", "how often chance alone would give such a difference"),
        Column("in words", numeric=False),
    )
    return Table("differences", "Differences", columns, tuple(rows))


def _verdict(value: Estimate, measure: str, p: float | None) -> str:
    even = 1.0 if measure.startswith("rtf") else 0.0
    clear = p < 0.05 if p is not None else not (value.low or even) <= even <= (value.high or even)
    if not clear:
        return "could be chance"
    if measure.startswith("rtf"):
        return "slower" if value.value > even else "faster"
    return "more errors" if value.value > even else "fewer errors"


def _by_duration(report: ReportView) -> Table:
    found = {entry: records(entry.data, "timing", "buckets") for entry in report.measured}
    counted = {
        (number(bucket, "from") or 0.0, bucket_label(bucket)): number(bucket, "utterances")
        for buckets in found.values()
        for bucket in buckets
    }
    order = sorted(counted)
    rows = []
    for entry, buckets in found.items():
        by_label = {bucket_label(bucket): _latency(bucket) for bucket in buckets}
        if buckets:
            rows.append((named(entry), *(by_label.get(label, EMPTY) for _, label in order)))
    columns = [
        Column(label, f"ms of {count(counted[low, label])} utterances of this length") for low, label in order
    ]
    return Table(
        "durations",
        "Latency by length of the audio",
        (Column("model", numeric=False), *columns),
        tuple(rows),
        "Milliseconds from samples to text: the median, and what 90 and 99 in 100 utterances stay below.",
    )


def bucket_label(bucket: object) -> str:
    """Name a bucket of durations."""
    low, high = number(bucket, "from") or 0.0, number(bucket, "to")
    return f"over {low:g} s" if high is None else f"{low:g}–{high:g} s"


def _latency(bucket: object) -> Cell:
    p50, p90, p99 = (number(bucket, key) for key in ("p50", "p90", "p99"))
    if p50 is None:
        return EMPTY
    tail = (
        f"{significant(1e3 * p90)} · {significant(1e3 * p99)}" if p90 is not None and p99 is not None else ""
    )
    return Cell(significant(1e3 * p50), tail, p50)


def _throughput(report: ReportView) -> Table:
    rates: dict[tuple[Entry, float], dict[float, Cell]] = {}
    for entry in report.measured:
        for found in records(entry.data, "timing", "throughput"):
            threads, batch = number(found, "threads"), number(found, "batch")
            rtfx = estimate(found, "rtfx")
            if threads and batch and rtfx:
                cell = Cell(significant(rtfx.value), bounds(rtfx, significant), rtfx.value)
                rates.setdefault((entry, threads), {})[batch] = cell
    batches = sorted({batch for row in rates.values() for batch in row})
    return Table(
        "throughput",
        "Throughput",
        (
            Column("model", numeric=False),
            Column("threads"),
            *(Column(f"batch of {batch:g}", "RTFx: seconds of audio per second") for batch in batches),
        ),
        tuple(
            (named(entry), Cell(count(threads), "", threads), *(row.get(batch, EMPTY) for batch in batches))
            for (entry, threads), row in rates.items()
        ),
        "Seconds of audio heard per second (RTFx), least and most of the passes.",
    )
