"""The tables of a report as data: Markdown and HTML write the same ones."""

from collections.abc import Sequence
from dataclasses import dataclass

from kdcompress.report.measured import Bucket
from kdcompress.report.pages.columns import (
    ACCURACY,
    EMPTY,
    MODEL,
    RUNTIME,
    SIZE,
    SPEED,
    Cell,
    Column,
    Figure,
    bounds,
    figure,
    named,
    spread,
    words,
)
from kdcompress.report.pages.figures import NONE, count, fixed, percent, plural, probability, significant
from kdcompress.report.record import Report
from kdcompress.report.scored import Difference, StressScore

_LEAST_COST = 0.5  # [points]


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


def report_tables(report: Report) -> list[Table]:
    """Return the tables that this report has figures for, in reading order."""
    tables = [
        _table("accuracy", "Accuracy", report, ACCURACY, _accuracy_note(report)),
        _table("speed", "Speed", report, SPEED, _speed_note(report)),
        _table("size", "Size and memory", report, SIZE),
        _differences(report),
        _stress(report),
        _by_duration(report),
        _throughput(report),
        _streaming(report),
        _table("runtime", "How each model ran", report, RUNTIME),
    ]
    return [table for table in tables if table.rows and len(table.columns) > 1]


def _table(key: str, title: str, report: Report, figures: Sequence[Figure], note: str = "") -> Table:
    results = report.results if key == "accuracy" else report.measured
    cells = [[cell(result) for result in results] for _, cell in figures]
    kept = [at for at, column in enumerate(cells) if any(cell.shown != NONE for cell in column)]
    columns = (MODEL, *(figures[at][0] for at in kept))
    rows = tuple((named(result), *(cells[at][row] for at in kept)) for row, result in enumerate(results))
    return Table(key, title, columns, rows, note)


def _accuracy_note(report: Report) -> str:
    settings = report.settings
    note = f"Both sides went through the normaliser {settings.normalizer} v{settings.normalizer_version}."
    if report.stand_in:
        return f"{note} There are no references: transcripts are compared with those of {report.stand_in}."
    if any(result.agreement for result in report.measured):
        note += f" disagrees, same: compared with the transcripts of {settings.reference}."
    return note


def _speed_note(report: Report) -> str:
    notes = []
    if any(result.timing and result.timing.speed for result in report.measured):
        notes.append(
            f"speed: times faster than {report.settings.reference}, each pass against its same pass."
        )
    inside = [result.name for result in report.measured if result.facts and result.facts.features_in_model]
    if inside:
        notes.append(f"The model's time contains the features in {', '.join(inside)}.")
    return " ".join(notes)


def _differences(report: Report) -> Table:
    rows = []
    for one in report.differences:
        result = report.result(one.candidate)
        # Error rates differ by points; of times a ratio is what is compared.
        if one.measure == "rtf":
            shown = spread_of(one)
        else:
            points = one.estimate.scaled(100)
            shown = Cell(f"{fixed(points.value, 2)} points", bounds(points, lambda p: fixed(p, 2)), one.value)
        rows.append(
            (
                named(result) if result else words(one.candidate),
                words(one.baseline),
                words(one.measure.upper()),
                shown,
                Cell(probability(one.p), "", one.p),
                words(_in_words(one)),
            )
        )
    columns = (
        MODEL,
        Column("against", numeric=False),
        Column("measure", numeric=False),
        Column("difference", "with its 95 % interval, paired over utterances"),
        Column("p", "how often chance alone would give such a difference"),
        Column("in words", numeric=False),
    )
    return Table("differences", "Differences", columns, tuple(rows))


def spread_of(one: Difference) -> Cell:
    """Return the cell of a ratio of times."""
    return Cell(f"{significant(one.value)}×", bounds(one.estimate, significant), one.value)


def _in_words(one: Difference) -> str:
    even = 1.0 if one.measure == "rtf" else 0.0
    clear = one.p < 0.05 if one.p is not None else not one.low <= even <= one.high
    if not clear:
        return "could be chance"
    if one.measure == "rtf":
        return "slower" if one.value > even else "faster"
    return "more errors" if one.value > even else "fewer errors"


def _stress(report: Report) -> Table:
    base = report.settings.reference
    names = [
        result.name for result in report.measured if any(one.score(result.name) for one in report.stresses)
    ]
    columns = [Column("stress", numeric=False)]
    for name in names:
        columns.append(
            Column(f"{name}: WER %", "and the points that the stress costs, with their 95 % interval")
        )
        if name != base and base in names:
            columns.append(Column(f"{name}: times {base}'s", "what it costs, over what it costs the other"))
    rows = []
    for one in report.stresses:
        cells = [Cell(one.name, one.about, one.name, False)]
        theirs = one.score(base)
        for name in names:
            found = one.score(name)
            cells.append(_under_stress(found))
            if name != base and base in names:
                cells.append(_times(found, theirs))
        rows.append(tuple(cells))
    note = "Words of the same utterances; where nobody speaks, the characters printed."
    return Table("stress", "Under stress", tuple(columns), tuple(rows), note)


def _under_stress(found: StressScore | None) -> Cell:
    if found is None:
        return EMPTY
    if found.characters is not None:
        return Cell(plural(found.characters, "character"), "", found.characters)
    if found.wer is None or found.wer.rate is None or found.cost is None:
        return EMPTY
    value, interval = found.cost.value, bounds(found.cost, lambda points: fixed(points, 1))
    sign = "+" if value > 0 else ""
    return Cell(percent(found.wer.rate), f"{sign}{fixed(value, 1)} ({interval})", found.wer.rate)


def _times(ours: StressScore | None, theirs: StressScore | None) -> Cell:
    if ours is None or theirs is None or ours.cost is None or theirs.cost is None:
        return EMPTY
    if theirs.cost.value < _LEAST_COST:
        return EMPTY  # a ratio to next to nothing says nothing
    ratio = ours.cost.value / theirs.cost.value
    return Cell(f"{fixed(ratio, 1)}×", "", ratio)


def _by_duration(report: Report) -> Table:
    timed = [(result, result.timing.buckets) for result in report.measured if result.timing]
    found = {bucket.start: bucket for _, buckets in timed for bucket in buckets}
    order = [found[start] for start in sorted(found)] if len(found) > 1 else []
    rows = []
    for result, buckets in timed:
        by_start = {bucket.start: _latency(bucket) for bucket in buckets}
        if buckets and order:
            rows.append((named(result), *(by_start.get(bucket.start, EMPTY) for bucket in order)))
    columns = [
        Column(f"{one.span} s", f"ms of {count(one.utterances)} utterances of this length") for one in order
    ]
    note = "Milliseconds from samples to text: the median, and what 90 and 99 in 100 utterances stay below."
    return Table("durations", "Latency by length of the audio", (MODEL, *columns), tuple(rows), note)


def _latency(bucket: Bucket) -> Cell:
    tail = f"{significant(1e3 * bucket.p90)} · {significant(1e3 * bucket.p99)}"
    return Cell(significant(1e3 * bucket.p50), tail, bucket.p50)


def _throughput(report: Report) -> Table:
    rates: dict[tuple[str, int], dict[int, Cell]] = {}
    for result in report.measured:
        for found in result.timing.throughput if result.timing else ():
            rates.setdefault((result.name, found.threads), {})[found.batch] = spread(found.rtfx)
    batches = sorted({batch for row in rates.values() for batch in row})
    if len(batches) * len({threads for _, threads in rates}) < 2:
        rates = {}  # one figure of each model, which is its RTFx
    columns = [Column(f"batch of {batch}", "RTFx: seconds of audio per second") for batch in batches]
    named_rows = {result.name: named(result) for result in report.measured}
    rows = tuple(
        (named_rows[name], Cell(count(threads), "", threads), *(row.get(batch, EMPTY) for batch in batches))
        for (name, threads), row in rates.items()
    )
    note = "Seconds of audio decoded per second (RTFx), least and most of the passes."
    return Table("throughput", "Throughput", (MODEL, Column("threads"), *columns), rows, note)


def _streaming(report: Report) -> Table:
    rows = [
        (
            named(result),
            figure(live.chunk_seconds, 1e3),
            *(_with_tail(one.p50, "p95", one.p95) if one else EMPTY for one in (live.word, live.first)),
            Cell(count(load.streams), "", load.streams),
            _with_tail(load.p50, "p99", load.p99),
            Cell(percent(load.missed), "", load.missed),
            figure(load.per_core),
        )
        for result in report.measured
        if (live := result.streaming)
        for load in live.loads
    ]
    columns = (
        MODEL,
        Column("chunk ms", "audio of a chunk"),
        Column("word delay ms", "from the reference model's spike until a word is shown: median, p95"),
        Column("first text ms", "from its first spike until the first word is shown: median, p95"),
        Column("streams", "at once, all with a chunk at the same time"),
        Column("chunk takes ms", "for all streams: median, p99"),
        Column("missed %", "chunks that took longer than they sound"),
        Column("streams per core", "audio of all streams / CPU time"),
    )
    note = f"Delays leave computing out, and are counted from the spikes of {report.settings.reference}."
    return Table("streaming", "While somebody speaks", columns, tuple(rows), note)


def _with_tail(median: float, name: str, tail: float) -> Cell:
    return Cell(significant(1e3 * median), f"{name} {significant(1e3 * tail)}", median)
