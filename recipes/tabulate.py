"""Write the tables of recipes/README.md from the benchmark reports in recipes/results/.

    python recipes/tabulate.py           rewrite what stands between the markers
    python recipes/tabulate.py --check   exit 1 if the README is not what the reports say

A report is what `kdcompress bench … --json FILE` wrote, unchanged.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
README, RESULTS = HERE / "README.md", HERE / "results"
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


def rendered() -> str:
    """Return the README with its tables anew."""
    text = README.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    parts = []
    for path in sorted(RESULTS.glob("*.json")):
        report = json.loads(path.read_text(encoding="utf-8"))
        parts.append(f"### {path.stem}\n\n{table(report)}\n")
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
