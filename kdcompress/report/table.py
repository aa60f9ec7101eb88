"""A report for people at a terminal."""

from collections.abc import Callable, Sequence
from itertools import chain
from typing import TypeAlias

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from kdcompress.report.measured import Facts, Spread, Timing
from kdcompress.report.pages.figures import plural
from kdcompress.report.record import CandidateResult, Report
from kdcompress.report.scored import Agreement, Difference, ErrorRate

_NONE = "–"
_WITH_FEATURES = "*"
_VERSIONS = ("kdcompress", "onnxruntime", "onnxruntime-gpu", "sherpa-onnx", "onnx-asr", "torch", "python")
_WIDE = 150  # columns that the whole table needs at its widest, with a short name
_COLUMNS = 5  # of the tables below it; more would not fit into 80 characters

_Row: TypeAlias = tuple[str, Sequence[str]]
_Column: TypeAlias = tuple[str, Callable[[CandidateResult, Timing, Facts], str]]


def _number(value: float | None, form: str, scale: float = 1) -> str:
    return _NONE if value is None else f"{scale * value:{form}}"


def _count(number: int | None) -> str:
    if number is None:
        return _NONE
    return f"{number / 1e6:.2f} M" if number >= 1e5 else str(number)


def _rate(rate: ErrorRate | None) -> str:
    if rate is None:
        return _NONE
    if rate.rate is None or rate.low is None or rate.high is None:
        return f"{_NONE}\n{rate.insertions} inserted"
    return f"{100 * rate.rate:.2f}\n[{100 * rate.low:.1f}, {100 * rate.high:.1f}]"


def _spread(spread: Spread | None, form: str, unit: str = "") -> str:
    if spread is None:
        return _NONE
    return f"{spread.median:{form}}{unit}\n({spread.low:{form}}–{spread.high:{form}})"


def _mark(facts: Facts) -> str:
    return _WITH_FEATURES if facts.features_in_model else ""


_MODEL: list[_Column] = [
    (
        "MB\n(gzip)",
        lambda r, t, f: (
            _number(r.bytes, ".2f", 1e-6) + (f"\n({1e-6 * r.gzip_bytes:.2f})" if r.gzip_bytes else "")
        ),
    ),
    ("params", lambda r, t, f: _count(r.parameters)),
    ("WER %\n[95 %]", lambda r, t, f: _rate(r.accuracy.wer if r.accuracy else None)),
    ("CER %\n[95 %]", lambda r, t, f: _rate(r.accuracy.cer if r.accuracy else None)),
    ("load s", lambda r, t, f: _number(t.load_seconds, ".2f")),
    ("on\nthreads", lambda r, t, f: f"{f.provider}\n{f.threads}"),
]
_RTF: _Column = ("RTF\n(min–max)", lambda r, t, f: _spread(t.rtf, ".4f"))
_MODEL_RTF: _Column = ("model RTF\n(min–max)", lambda r, t, f: _spread(t.model_rtf, ".4f") + _mark(f))
_BRIEF_MODEL_RTF: _Column = (
    "model\nRTF",
    lambda r, t, f: _number(t.model_rtf.median if t.model_rtf else None, ".4f") + _mark(f),
)
_SPEED: list[_Column] = [
    (
        "ms p50\np99",
        lambda r, t, f: f"{1e3 * t.latency.p50:.1f}\n{1e3 * t.latency.p99:.1f}" if t.latency else _NONE,
    ),
    ("speed\n(min–max)", lambda r, t, f: _spread(t.speed, ".2f", "×")),
    ("model speed\n(min–max)", lambda r, t, f: _spread(t.model_speed, ".2f", "×")),
]


class BenchTable:
    """A report laid out: what it was measured on, one row per candidate, what must be known beside it.

    Where one table is too wide for the terminal, accuracy and speed stand below each other.
    """

    def __init__(self, report: Report) -> None:
        self.report = report

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Choose the layout by the width that there is."""
        yield Text(_heading(self.report))
        if options.max_width >= _WIDE:
            yield _main(self.report, [*_MODEL, _RTF, _MODEL_RTF, *_SPEED])
        else:
            yield _main(self.report, _MODEL)
            yield _main(self.report, [_RTF, _BRIEF_MODEL_RTF, *_SPEED])
        timed = [(result, result.timing) for result in self.report.results if result.timing]
        yield from chain(_cost(timed), _latency(timed), _throughput(timed))
        if notes := _footnotes(self.report):
            yield Text("\n".join(notes))


class ScoreTable:
    """What follows from texts laid out: differences from the reference candidate, words in non-speech.

    Args:
        report: scored.
        rates: also the error rates of each candidate by themselves, where no other table shows them.
    """

    def __init__(self, report: Report, *, rates: bool) -> None:
        self.report = report
        self.rates = rates

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Show what there is to show, which may be nothing."""
        report, settings = self.report, self.report.settings
        if self.rates:
            yield Text(
                f"{settings.source or 'texts'}: {settings.utterances} utterances, "
                f"{settings.audio_seconds or 0:.0f} s; normaliser {settings.normalizer} "
                f"v{settings.normalizer_version}; scored again, no model was run"
            )
            yield _grid("model", _RATES, [(one.name, _rates(one)) for one in report.measured], fold=True)
        names = [result.name for result in report.measured]
        if settings.reference in names and len(names) > 1:
            yield Text(f"Against {settings.reference} [95 %], p of no difference:")
            others = [one for one in report.measured if one.name != settings.reference]
            yield _grid("model", _AGAINST, [(one.name, _against(report, one)) for one in others], fold=True)
        if notes := _score_notes(report, rates=self.rates):
            yield Text("\n".join(notes))


_RATES = ("WER %\n[95 %]", "sub / ins / del\nwords", "CER %\n[95 %]")
_AGAINST = ("WER\npoints", "CER\npoints", "time\nratio", "transcripts\nthe same", "WER % if\nit were right")


def _heading(report: Report) -> str:
    settings, machine = report.settings, report.machine
    lines = []
    if machine is not None:
        int8 = {True: "int8 instructions", False: "no int8 instructions", None: "int8 instructions unknown"}
        cores = f"{machine.usable_cores} of {machine.cores} cores"
        load = "" if machine.load_average is None else f", load {machine.load_average}"
        known = [f"{name} {machine.versions[name]}" for name in _VERSIONS if name in machine.versions]
        about = f"{machine.cpu}, {cores}, {int8[machine.int8_instructions]}{load}; {machine.system}"
        lines += [about, *machine.gpu, ", ".join(known)]
    lines.append(
        f"{settings.source or 'audio'}: {settings.utterances} utterances, "
        f"{settings.audio_seconds or 0:.0f} s; normaliser {settings.normalizer} "
        f"v{settings.normalizer_version}; {plural(settings.repeats, 'timed pass', 'timed passes')}, "
        f"interleaved; reading the audio RTF {_number(report.audio_decoding_rtf, '.4f')}"
    )
    if settings.affinity is not None:
        kept = ", ".join(map(str, settings.affinity))
        lines.append(f"kept to {'core' if len(settings.affinity) == 1 else 'cores'} {kept}")
    return "\n".join(lines)


def _grid(first: str, titles: Sequence[str], rows: Sequence[_Row], *, fold: bool = False) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(first, overflow="fold", min_width=None if fold else 12)
    for title in titles:
        table.add_column(title, justify="right", no_wrap=True)
    for name, cells in rows:
        style = "bold red" if cells == ["failed"] else ""
        table.add_row(Text(name), *(Text(cell, style=style) for cell in cells))
    return table


def _main(report: Report, columns: Sequence[_Column]) -> Table:
    rows: list[_Row] = []
    for result in report.results:
        timing, facts = result.timing, result.facts
        if timing is None or facts is None:
            rows.append((result.name, ["failed"]))
        else:
            rows.append((result.name, [cell(result, timing, facts) for _, cell in columns]))
    return _grid("model", [title for title, _ in columns], rows)


def _below(what: str, titles: Sequence[str], rows: Sequence[_Row]) -> list[Table]:
    """Lay out some columns below others, so that none is cut off on a narrow terminal."""
    return [
        _grid(what, titles[at : at + _COLUMNS], [(name, cells[at : at + _COLUMNS]) for name, cells in rows])
        for at in range(0, len(titles) if rows else 0, _COLUMNS)
    ]


def _cost(timed: Sequence[tuple[CandidateResult, Timing]]) -> list[Table]:
    titles = ["first result\ns", "CPU s per\naudio hour", "peak\nMiB", "of it, model\nMiB", "GPU\nMiB"]
    rows: list[_Row] = []
    for result, timing in timed:
        if (memory := result.memory) is not None:
            sizes = (memory.peak_rss_bytes, memory.model_rss_bytes, memory.gpu_bytes)
            cells = [_number(timing.first_result_seconds, ".2f"), _number(timing.cpu_seconds_per_hour, ".1f")]
            rows.append((result.name, [*cells, *(_number(size, ".0f", 2**-20) for size in sizes)]))
    if all(cells[-1] == _NONE for _, cells in rows):
        titles, rows = titles[:-1], [(name, cells[:-1]) for name, cells in rows]
    return _below("cost", titles, rows)


def _latency(timed: Sequence[tuple[CandidateResult, Timing]]) -> list[Table]:
    spans = list(dict.fromkeys(bucket.span for _, timing in timed for bucket in timing.buckets))
    if len(spans) < 2:
        return []
    found = [(one.name, {bucket.span: bucket for bucket in timing.buckets}) for one, timing in timed]
    cell = "{:.1f}\n{:.1f}".format
    rows = [(name, [cell(1e3 * of[span].p50, 1e3 * of[span].p99) for span in spans]) for name, of in found]
    return _below("latency", [f"ms p50, p99\nof {span} s" for span in spans], rows)


def _throughput(timed: Sequence[tuple[CandidateResult, Timing]]) -> list[Table]:
    found = [
        (one.name, {(t.threads, t.batch): t.rtfx.median for t in timing.throughput}) for one, timing in timed
    ]
    keys = list(dict.fromkeys(key for _, of in found for key in of))
    if len(keys) < 2:
        return []
    rows = [(name, [_number(of.get(key), ".0f") for key in keys]) for name, of in found]
    return _below("audio decoded, s per s", [f"threads {t}\nbatch {batch}" for t, batch in keys], rows)


def _rates(result: CandidateResult) -> list[str]:
    if result.accuracy is None:
        return [_NONE, _NONE, _NONE]
    wer = result.accuracy.wer
    kinds = f"{wer.substitutions} / {wer.insertions} / {wer.deletions}\nof {wer.reference}"
    return [_rate(wer), kinds, _rate(result.accuracy.cer)]


def _against(report: Report, result: CandidateResult) -> list[str]:
    own = {one.measure: one for one in report.differences if one.candidate == result.name}
    agreement: Agreement | None = result.agreement
    return [
        *(_difference(own.get(measure), 100, "+.2f") for measure in ("wer", "cer")),
        _difference(own.get("rtf"), 1, ".3f"),
        f"{100 * agreement.same:.1f} %" if agreement else _NONE,
        _rate(agreement.wer if agreement else None),
    ]


def _difference(one: Difference | None, scale: int, form: str) -> str:
    if one is None:
        return _NONE
    value, low, high = (format(scale * figure, form) for figure in (one.value, one.low, one.high))
    p = _NONE if one.p is None else f"p {one.p:.3f}" if one.p >= 0.001 else "p < 0.001"
    return f"{value}\n[{low}, {high}]\n{p}"


def _score_notes(report: Report, *, rates: bool) -> list[str]:
    notes = []
    for result in report.results:
        if found := result.non_speech:
            notes.append(
                f"{result.name}: {found.words} words ({found.characters} characters) in "
                f"{found.seconds:.0f} s without speech, {found.per_minute or 0:.1f} words a minute"
            )
        if rates:
            notes += [f"{result.name} failed: {result.failed}"] if result.failed else []
            notes += [f"{result.name}: {note}" for note in result.notes]
    return notes


def _footnotes(report: Report) -> list[str]:
    lines = [f"{result.name} failed and was not timed: {result.failed}" for result in report.failed]
    lines += [f"{result.name}: {note}" for result in report.results for note in result.notes]
    if any(result.facts and result.facts.features_in_model for result in report.results):
        lines.append(f"{_WITH_FEATURES} with the features, which this model computes itself")
    if any(result.timing and result.timing.speed for result in report.results):
        lines.append(f"speed: times faster than {report.settings.reference}, each pass against its same pass")
    return lines
