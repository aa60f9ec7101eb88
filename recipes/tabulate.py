"""Write the tables of recipes/README.md from the benchmark reports in recipes/results/.

    python recipes/tabulate.py           rewrite what stands between the markers
    python recipes/tabulate.py --check   exit 1 if the README is not what the reports say

A report is what `kdcompress bench … --json FILE` wrote, unchanged; a comparison, in
recipes/comparisons/NAME/summary.json, what `kdcompress compare … --json FILE` wrote.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
README, RESULTS, COMPARISONS = HERE / "README.md", HERE / "results", HERE / "comparisons"
BEGIN, END = "<!-- results: written by recipes/tabulate.py -->", "<!-- end of results -->"
HEADINGS = ("model", "parameters", "MB", "WER % [95 %]", "S / I / D", "RTF", "model RTF", "model speed")


def table(report: dict[str, Any]) -> str:
    """Return one report as Markdown: a line on what was measured where, then a row per model."""
    settings, machine = report["settings"], report["machine"]
    spoken = sum(bool(u["reference"]) for u in report["utterances"])
    what = f"{settings['utterances']} utterances, {settings['audio_seconds'] / 60:.1f} min"
    facts = (
        f"{what}; {machine['cpu']}, {report['results'][0]['facts']['threads']} thread, "
        f"{settings['repeats']} interleaved passes, {report['created'][:10]}; normaliser "
        f"{settings['normalizer']} v{settings['normalizer_version']}; speeds against {settings['reference']}."
    )
    rows = [row(result) if spoken else silent_row(result) for result in report["results"]]
    headings = HEADINGS if spoken else ("model", "characters printed", "clips with any", "of clips")
    lines = [f"| {' | '.join(headings)} |", "|---" + "|---:" * (len(headings) - 1) + "|"]
    return "\n".join([facts, "", *lines, *(f"| {' | '.join(cells)} |" for cells in rows)])


def row(result: dict[str, Any]) -> list[str]:
    """Return the cells of a model that heard speech."""
    if result["failed"]:
        return [result["name"], f"failed: {result['failed']}", *[""] * (len(HEADINGS) - 2)]
    wer, timing = result["accuracy"]["wer"], result["timing"]
    speed = timing["model_speed"]
    return [
        result["name"],
        f"{result['parameters'] / 1e6:.2f} M",
        f"{result['bytes'] / 1e6:.2f}",
        f"{100 * wer['rate']:.2f} [{100 * wer['low']:.1f}, {100 * wer['high']:.1f}]",
        f"{wer['substitutions']} / {wer['insertions']} / {wer['deletions']}",
        f"{timing['rtf']['median']:.4f}",
        f"{timing['model_rtf']['median']:.4f}",
        "1" if speed is None else f"{speed['median']:.1f}× ({speed['low']:.1f}–{speed['high']:.1f})",
    ]


def silent_row(result: dict[str, Any]) -> list[str]:
    """Return the cells of a model that heard silence."""
    texts = list(result["hypotheses"].values())
    return [result["name"], str(sum(map(len, texts))), str(sum(map(bool, texts))), str(len(texts))]


def comparison_table(summary: dict[str, Any]) -> str:
    """Return a comparison as Markdown: what was trained, then a row per method."""
    comparison, training = summary["comparison"], summary["recipe"]["training"]
    steps, batch = training["steps"], summary["recipe"]["data"]["batch_seconds"]
    rows = summary["rows"]
    first = next(iter(rows.values()))
    facts = (
        f"{comparison['description']}: {steps} steps of {batch:g} s, {first['parameters'] / 1e6:.2f} M "
        f"parameters, {summary['test_utterances']} test utterances. WER is the mean over seeds; brackets are "
        "95 % intervals by bootstrap over seeds and utterances; differences are paired and taken to "
        f"*{comparison['baseline']}*."
    )
    headings = (
        "method", "seeds", "WER %", "± seeds", "difference", "p", "S / I / D %", "against teacher %",
        "silence: characters/min", "pauses: tokens/min", "blank %", "spike offset ms",
    )  # fmt: skip
    lines = [f"| {' | '.join(headings)} |", "|---" + "|---:" * (len(headings) - 1) + "|"]
    for name, row in rows.items():
        wer, against = row["wer"], row["against_baseline"]
        cells = [
            name,
            str(len(row["seeds"])),
            f"{100 * wer['value']:.1f} [{100 * wer['low']:.1f}, {100 * wer['high']:.1f}]",
            number(row["wer_deviation"], 100),
            ""
            if against is None
            else f"{100 * against['value']:+.1f} [{100 * against['low']:+.1f}, {100 * against['high']:+.1f}]",
            "" if against is None else f"{against['p']:.3f}",
            " / ".join(f"{100 * value:.1f}" for value in row["substitutions_insertions_deletions"]),
            number(row["disagreement"], 100),
            number(row["silence_characters_per_minute"]),
            number(row["pause_tokens_per_minute"]),
            number(row["blank_rate"], 100),
            number(row["spike_offset_ms"]),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([facts, "", *lines])


def number(value: float | None, scale: float = 1.0) -> str:
    """Return one decimal, or nothing where there is no figure."""
    return "" if value is None else f"{scale * value:.1f}"


def rendered() -> str:
    """Return the README with its tables anew."""
    text = README.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    parts = []
    for path in sorted(RESULTS.glob("*.json")):
        report = json.loads(path.read_text(encoding="utf-8"))
        parts.append(f"### {path.stem}\n\n{table(report)}\n")
    for path in sorted(COMPARISONS.glob("*/summary.json")):
        summary = json.loads(path.read_text(encoding="utf-8"))
        plot = f"![Error rates of the methods](comparisons/{path.parent.name}/plot.svg)"
        parts.append(f"### Comparison: {path.parent.name}\n\n{comparison_table(summary)}\n\n{plot}\n")
    return f"{before}{BEGIN}\n\n" + "\n".join(parts) + f"\n{END}{after}"


def main() -> None:
    """Rewrite or check."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true")
    new = rendered()
    if parser.parse_args().check:
        sys.exit(
            0 if new == README.read_text(encoding="utf-8") else "recipes/README.md: run recipes/tabulate.py"
        )
    README.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
