"""A report for people at a terminal."""

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from kdcompress.bench.accuracy import ErrorRate
from kdcompress.bench.report import BenchReport, CandidateResult
from kdcompress.bench.timing import Spread

_NONE = "–"


def tabulate(report: BenchReport) -> RenderableType:
    """Lay out a report: what it was measured on, one row per candidate, and what must be known beside it."""
    return Group(Text(_heading(report)), _table(report), Text(_footnotes(report)))


def _heading(report: BenchReport) -> str:
    machine, settings = report.machine, report.settings
    int8 = {True: "int8 instructions", False: "no int8 instructions", None: "int8 instructions unknown"}
    cores = f"{machine.usable_cores} of {machine.cores} cores"
    load = "" if machine.load_average is None else f", load {machine.load_average}"
    versions = ", ".join(
        f"{name} {machine.versions[name]}"
        for name in ("kdcompress", "onnxruntime", "onnxruntime-gpu", "torch", "python")
        if name in machine.versions
    )
    lines = [
        f"{machine.cpu}, {cores}, {int8[machine.int8_instructions]}{load}; {machine.system}",
        *machine.gpu,
        versions,
        f"{settings.source or 'audio'}: {settings.utterances} utterances, {settings.audio_seconds:.0f} s; "
        f"normaliser {settings.normalizer} v{settings.normalizer_version}; {settings.repeats} timed "
        f"{'pass' if settings.repeats == 1 else 'passes'}, interleaved; reading the audio RTF "
        f"{report.audio_decoding_rtf:.4f}",
    ]
    return "\n".join(lines)


def _table(report: BenchReport) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("model", overflow="fold")
    for title in (
        "MB",
        "params",
        "WER %\n[95 %]",
        "CER %\n[95 %]",
        "RTF\n(min–max)",
        "model RTF\n(min–max)",
        "latency ms\np50 / p99",
        "load s",
        "runs on\nthreads",
        "speed\n(min–max)",
        "model speed\n(min–max)",
    ):
        table.add_column(title, justify="right", overflow="fold")
    for result in report.results:
        row: list[Text | str] = [Text(result.name), _megabytes(result.bytes), _count(result.parameters)]
        if result.failed:
            table.add_row(*row, Text("failed", style="bold red"))
        else:
            table.add_row(*row, *_measured(result))
    return table


def _measured(result: CandidateResult) -> list[str]:
    accuracy, timing, facts = result.accuracy, result.timing, result.facts
    if accuracy is None or timing is None or facts is None:  # never so unless it failed
        return []
    return [
        _rate(accuracy.wer),
        _rate(accuracy.cer),
        _spread(timing.rtf, ".4f"),
        _spread(timing.model_rtf, ".4f") + ("\n(with features)" if facts.features_in_model else ""),
        f"{1000 * timing.latency.p50:.1f} /\n{1000 * timing.latency.p99:.1f}",
        f"{timing.load_seconds:.2f}",
        f"{facts.provider}\n{facts.threads}",
        _NONE if timing.speed is None else _spread(timing.speed, ".2f", "×"),
        _NONE if timing.model_speed is None else _spread(timing.model_speed, ".2f", "×"),
    ]


def _footnotes(report: BenchReport) -> str:
    lines = [
        f"{result.name} failed and was not timed: {result.failed}"
        for result in report.results
        if result.failed
    ]
    lines += [
        f"{result.name}: {note}" for result in report.results if result.facts for note in result.facts.notes
    ]
    if any(result.timing and result.timing.speed for result in report.results):
        lines.append(f"speed: times faster than {report.settings.reference}, each pass against its same pass")
    return "\n".join(lines)


def _megabytes(size: int | None) -> str:
    return _NONE if size is None else f"{size / 1e6:.2f}"


def _count(number: int | None) -> str:
    if number is None:
        return _NONE
    return f"{number / 1e6:.2f} M" if number >= 1e5 else str(number)


def _rate(rate: ErrorRate) -> str:
    if rate.rate is None or rate.low is None or rate.high is None:
        return f"{_NONE}\n{rate.insertions} inserted"
    return f"{100 * rate.rate:.2f}\n[{100 * rate.low:.1f}, {100 * rate.high:.1f}]"


def _spread(spread: Spread, form: str, unit: str = "") -> str:
    return f"{spread.median:{form}}{unit}\n({spread.low:{form}}–{spread.high:{form}})"
