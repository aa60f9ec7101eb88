"""A report for people at a terminal."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from kdcompress.report.accuracy import Accuracy, ErrorRate
from kdcompress.report.details import detail_tables
from kdcompress.report.measured import Facts, Spread, Timing
from kdcompress.report.report import BenchReport, CandidateResult

_NONE = "–"
_WITH_FEATURES = "*"
_VERSIONS = ("kdcompress", "onnxruntime", "onnxruntime-gpu", "sherpa-onnx", "onnx-asr", "torch", "python")
_WIDE = 150  # columns that the whole table needs at its widest, with a short name


@dataclass(frozen=True)
class _Found:
    """A candidate that did not fail."""

    result: CandidateResult
    accuracy: Accuracy | None
    timing: Timing
    facts: Facts


_Column: TypeAlias = tuple[str, Callable[[_Found], str]]


def _megabytes(size: int | None) -> str:
    return _NONE if size is None else f"{size / 1e6:.2f}"


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


def _mark(found: _Found) -> str:
    return _WITH_FEATURES if found.facts.features_in_model else ""


_MODEL: list[_Column] = [
    ("MB", lambda f: _megabytes(f.result.bytes)),
    ("params", lambda f: _count(f.result.parameters)),
    ("WER %\n[95 %]", lambda f: _rate(f.accuracy.wer if f.accuracy else None)),
    ("CER %\n[95 %]", lambda f: _rate(f.accuracy.cer if f.accuracy else None)),
    ("load s", lambda f: f"{f.timing.load_seconds:.2f}"),
    ("on\nthreads", lambda f: f"{f.facts.provider}\n{f.facts.threads}"),
]
_RTF: _Column = ("RTF\n(min–max)", lambda f: _spread(f.timing.rtf, ".4f"))
_MODEL_RTF: _Column = ("model RTF\n(min–max)", lambda f: _spread(f.timing.model_rtf, ".4f") + _mark(f))
_BRIEF_MODEL_RTF: _Column = ("model\nRTF", lambda f: f"{f.timing.model_rtf.median:.4f}{_mark(f)}")
_SPEED: list[_Column] = [
    ("ms p50\np99", lambda f: f"{1000 * f.timing.latency.p50:.1f}\n{1000 * f.timing.latency.p99:.1f}"),
    ("speed\n(min–max)", lambda f: _spread(f.timing.speed, ".2f", "×")),
    ("model speed\n(min–max)", lambda f: _spread(f.timing.model_speed, ".2f", "×")),
]


class BenchTable:
    """A report laid out: what it was measured on, one row per candidate, what must be known beside it.

    Where one table is too wide for the terminal, accuracy and speed stand below each other.
    """

    def __init__(self, report: BenchReport) -> None:
        self.report = report

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Choose the layout by the width that there is."""
        yield Text(_heading(self.report))
        if options.max_width >= _WIDE:
            yield _table(self.report, [*_MODEL, _RTF, _MODEL_RTF, *_SPEED])
        else:
            yield _table(self.report, _MODEL)
            yield _table(self.report, [_RTF, _BRIEF_MODEL_RTF, *_SPEED])
        yield from detail_tables(self.report)
        if notes := _footnotes(self.report):
            yield Text(notes)


def _heading(report: BenchReport) -> str:
    machine, settings = report.machine, report.settings
    int8 = {True: "int8 instructions", False: "no int8 instructions", None: "int8 instructions unknown"}
    cores = f"{machine.usable_cores} of {machine.cores} cores"
    load = "" if machine.load_average is None else f", load {machine.load_average}"
    versions = ", ".join(f"{name} {machine.versions[name]}" for name in _VERSIONS if name in machine.versions)
    lines = [
        f"{machine.cpu}, {cores}, {int8[machine.int8_instructions]}{load}; {machine.system}",
        *machine.gpu,
        versions,
        f"{settings.source or 'audio'}: {settings.utterances} utterances, {settings.audio_seconds:.0f} s; "
        f"normaliser {settings.normalizer} v{settings.normalizer_version}; {settings.repeats} timed "
        f"{'pass' if settings.repeats == 1 else 'passes'}, interleaved; reading the audio RTF "
        f"{report.audio_decoding_rtf:.4f}",
    ]
    if settings.affinity is not None:
        kept = ", ".join(map(str, settings.affinity))
        lines.append(f"kept to {'core' if len(settings.affinity) == 1 else 'cores'} {kept}")
    return "\n".join(lines)


def _table(report: BenchReport, columns: Sequence[_Column]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("model", overflow="fold", min_width=12)
    for title, _ in columns:
        table.add_column(title, justify="right", no_wrap=True)
    for result in report.results:
        if result.timing is None or result.facts is None:
            table.add_row(Text(result.name), Text("failed", style="bold red"))
        else:
            found = _Found(result, result.accuracy, result.timing, result.facts)
            table.add_row(Text(result.name), *(Text(cell(found)) for _, cell in columns))
    return table


def _footnotes(report: BenchReport) -> str:
    lines = [
        f"{result.name} failed and was not timed: {result.failed}"
        for result in report.results
        if result.failed
    ]
    lines += [
        f"{result.name}: {note}" for result in report.results if result.facts for note in result.facts.notes
    ]
    if any(result.facts and result.facts.features_in_model for result in report.results):
        lines.append(f"{_WITH_FEATURES} with the features, which this model computes itself")
    if any(result.timing and result.timing.speed for result in report.results):
        lines.append(f"speed: times faster than {report.settings.reference}, each pass against its same pass")
    return "\n".join(lines)
