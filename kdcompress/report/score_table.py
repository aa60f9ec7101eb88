"""What follows from the texts of a report, and its differences, for people at a terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

_NONE = "–"


class ScoreTable:
    """The JSON of a report laid out: rates, differences from the reference candidate, words in non-speech.

    Args:
        report: of schema 2.
        rates: also the error rates of each candidate by themselves, where no other table shows them.
    """

    def __init__(self, report: Mapping[str, Any], *, rates: bool) -> None:
        self.report = report
        self.rates = rates

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Show what there is to show, which may be nothing."""
        results = [result for result in self.report["results"] if not result["failed"]]
        if self.rates:
            yield Text(_heading(self.report))
            yield _table(["model", *_RATES], [_rates(result) for result in results])
        reference = self.report["settings"]["reference"]
        others = [result for result in results if result["name"] != reference]
        if others and any(result["name"] == reference for result in results):
            yield Text(f"Against {reference} [95 %], p of no difference:")
            differences = self.report.get("differences", ())
            yield _table(["model", *_AGAINST], [_against(result, differences) for result in others])
        if notes := _notes(self.report, rates=self.rates):
            yield Text("\n".join(notes))


_RATES = ("WER %\n[95 %]", "sub / ins / del\nwords", "CER %\n[95 %]")
_AGAINST = ("WER\npoints", "CER\npoints", "time\nratio", "transcripts\nthe same", "WER % if\nit were right")


def _heading(report: Mapping[str, Any]) -> str:
    settings = report["settings"]
    return (
        f"{settings['source'] or 'texts'}: {settings['utterances']} utterances, "
        f"{settings['audio_seconds']:.0f} s; normaliser {settings['normalizer']} "
        f"v{settings['normalizer_version']}; scored again, nothing was heard"
    )


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for title in titles:
        first = title == titles[0]
        table.add_column(title, justify="left" if first else "right", overflow="fold", no_wrap=not first)
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _rates(result: Mapping[str, Any]) -> list[str]:
    accuracy = result.get("accuracy")
    if accuracy is None:
        return [result["name"], _NONE, _NONE, _NONE]
    wer = accuracy["wer"]
    kinds = f"{wer['substitutions']} / {wer['insertions']} / {wer['deletions']}\nof {wer['reference']}"
    return [result["name"], _rate(wer), kinds, _rate(accuracy["cer"])]


def _rate(rate: Mapping[str, Any]) -> str:
    if rate["rate"] is None:
        return f"{_NONE}\n{rate['insertions']} inserted"
    return f"{100 * rate['rate']:.2f}\n[{100 * rate['low']:.1f}, {100 * rate['high']:.1f}]"


def _against(result: Mapping[str, Any], differences: Sequence[Mapping[str, Any]]) -> list[str]:
    own = {one["measure"]: one for one in differences if one["candidate"] == result["name"]}
    agreement = result.get("agreement")
    return [
        result["name"],
        *(_difference(own.get(measure), 100, "+.2f") for measure in ("wer", "cer")),
        _difference(own.get("rtf"), 1, ".3f"),
        f"{100 * agreement['same']:.1f} %" if agreement else _NONE,
        _rate(agreement["wer"]) if agreement else _NONE,
    ]


def _difference(one: Mapping[str, Any] | None, scale: int, form: str) -> str:
    if one is None:
        return _NONE
    value, low, high = (format(scale * one[key], form) for key in ("value", "low", "high"))
    p = f"p {one['p']:.3f}" if one["p"] >= 0.001 else "p < 0.001"
    return f"{value}\n[{low}, {high}]\n{p}"


def _notes(report: Mapping[str, Any], *, rates: bool) -> list[str]:
    notes = []
    for result in report["results"]:
        if found := result.get("non_speech"):
            notes.append(
                f"{result['name']}: {found['words']} words ({found['characters']} characters) in "
                f"{found['seconds']:.0f} s without speech, {found['per_minute'] or 0:.1f} words a minute"
            )
        if rates:
            if result["failed"]:
                notes.append(f"{result['name']} failed: {result['failed']}")
            notes += [f"{result['name']}: {note}" for note in (result["facts"] or {}).get("notes", ())]
    return notes
