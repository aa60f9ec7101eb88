"""Write the tables of the READMEs of recipes, of recipes/own-layers and of export from the results there.

    python docs/tables.py           rewrite what stands between the markers
    python docs/tables.py --check   exit 1 if a README is not what the results say

A report is what `kdcompress bench … --json FILE` wrote, unchanged; a comparison, in
recipes/comparisons/NAME/summary.json, what `kdcompress compare … --json FILE` wrote; export/presets.py and
export/matrix.py write the results in export/results/.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kdcompress.report.bootstrap import difference

ROOT = Path(__file__).resolve().parent.parent
RECIPES, EXPORT = ROOT / "recipes", ROOT / "export"
OURS = ("lengths", "padding", "selftest")
END = "<!-- end of table -->"
REPORT = ("model", "parameters", "MB", "WER % [95 %]", "S / I / D", "RTF", "model RTF", "model speed")
PRESET = (
    "graph", "MB (gzip)", "of fp32", "load ms", "time / fp32 (min–max)", "KL per frame", "words changed %",
    "WER % [95 %]", "to fp32, points [95 %]", "WER at 20, 10, 0 dB", "in silence", "blank %",
)  # fmt: skip


def grid(headings: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> list[str]:
    """Return the lines of a Markdown table whose first columns are left-aligned, the others right."""
    rule = "|---" * left + "|---:" * (len(headings) - left) + "|"
    return [f"| {' | '.join(headings)} |", rule, *(f"| {' | '.join(cells)} |" for cells in rows)]


def report_table(report: dict[str, Any]) -> str:
    """Return one report as Markdown: a line on what was measured where, then a row per model."""
    settings, machine = report["settings"], report["machine"]
    spoken = sum(bool(u["reference"]) for u in report["utterances"])
    what = f"{settings['utterances']} utterances, {settings['audio_seconds'] / 60:.1f} min"
    facts = (
        f"{what}; {machine['cpu']}, {report['results'][0]['facts']['threads']} thread, "
        f"{settings['repeats']} interleaved passes, {report['created'][:10]}; normaliser "
        f"{settings['normalizer']} v{settings['normalizer_version']}; speeds against {settings['reference']}."
    )
    # What is left as it is written are phones: their characters are counted.
    rate = "cer" if settings["normalizer"] == "none" else "wer"
    if report.get("stresses"):
        return stress_table(report)
    rows = [row(result, rate) if spoken else silent_row(result) for result in report["results"]]
    report_headings = [heading.replace("WER", rate.upper()) for heading in REPORT]
    headings = report_headings if spoken else ("model", "characters printed", "clips with any", "of clips")
    return "\n".join([facts, "", *grid(headings, rows)])


def stress_table(report: dict[str, Any]) -> str:
    """Return what stress costs as Markdown: a row for each stress, a column for each model."""
    settings, names = report["settings"], [result["name"] for result in report["results"]]
    plain = ["none"]
    for result in report["results"]:
        plain.append(f"{100 * result['accuracy']['wer']['rate']:.1f}")
    rows = [plain]
    for stressed in report["stresses"]:
        scores = {score["candidate"]: score for score in stressed["scores"]}
        cells = [f"{stressed['name']}: {stressed['about']}"]
        for score in (scores.get(name) for name in names):
            if score is None:
                cells.append("")
            elif score["characters"] is not None:
                cells.append(f"{score['characters']} characters")
            else:
                value, low, high = score["cost"]
                cells.append(f"{100 * score['wer']['rate']:.1f}: {value:+.1f} [{low:+.1f}, {high:+.1f}]")
        rows.append(cells)
    facts = (
        f"{settings['utterances']} utterances, {settings['audio_seconds'] / 60:.1f} min, "
        f"{report['created'][:10]}; normaliser {settings['normalizer']} "
        f"v{settings['normalizer_version']}: WER % and the points that each stress costs, with their 95 % "
        "interval."
    )
    return "\n".join([facts, "", *grid(("stress", *names), rows)])


def row(result: dict[str, Any], rate: str) -> list[str]:
    """Return the cells of a model that heard speech, with its `wer` or `cer`."""
    if result["failed"]:
        return [result["name"], f"failed: {result['failed']}", *[""] * (len(REPORT) - 2)]
    wer, timing = result["accuracy"][rate], result["timing"]
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
    rate = "Phone error" if first.get("unit") == "phones" else "WER"
    facts = (
        f"{comparison['description']}: {steps} steps of {batch:g} s, {first['parameters'] / 1e6:.2f} M "
        f"parameters, {summary['test_utterances']} test utterances. {rate} is the mean over seeds; brackets "
        "are 95 % intervals by bootstrap over seeds and utterances; differences are paired and taken to "
        f"*{comparison['baseline']}*."
    )
    headings = (
        "method", "seeds", f"{rate} %", "± seeds", "difference", "p", "S / I / D %", "against teacher %",
        "silence: characters/min", "pauses: tokens/min", "blank %", "spike offset ms",
    )  # fmt: skip
    table = []
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
        table.append(cells)
    return "\n".join([facts, "", *grid(headings, table)])


def own_layers_table(result: dict[str, Any]) -> str:
    """Return one teacher's students as Markdown: a row for each, and what the search and chance found."""
    words, teacher = np.array(result["words"]), result["teacher"]

    def against(found: list[dict[str, Any]], others: list[dict[str, Any]]) -> str:
        """Return the paired difference to others, of which there may be one to each."""
        ours, theirs = (np.array([one["errors"] for one in rows]) for rows in (found, others))
        if len(ours) != len(theirs):
            theirs = np.repeat(theirs[:1], len(ours), axis=0)
        interval = difference(ours, theirs, words)
        value, low, high = (100 * x for x in (interval.value, interval.low, interval.high))
        return f"{value:+.1f} [{low:+.1f}, {high:+.1f}]"

    rows, told = [["teacher", "", f"{teacher['bytes'] / 1e6:.2f}", f"{teacher['wer']:.2f}", "", "", ""]], []
    for budget, entry in result.items():
        if "cut" not in entry:
            continue
        for name, found in entry.items():
            if name in ("frontier", "search_cpu_seconds", "random"):
                continue
            seeds = found if isinstance(found, list) else [found]
            _, _, trained = name.partition(", ")
            cut = entry.get(f"cut, {trained}", []) if isinstance(found, list) else [entry["cut"]]
            rows.append([
                f"{budget}: {name}",
                str(len(seeds)) if isinstance(found, list) else "",
                f"{seeds[0]['bytes'] / 1e6:.2f}",
                f"{np.mean([one['wer'] for one in seeds]):.2f}",
                f"{np.mean([one['kl'] for one in seeds]):.3f}",
                against(seeds, [teacher]),
                "" if name.startswith("cut") else against(seeds, cut[: len(seeds)]),
            ])  # fmt: skip
        cut = entry["cut"]
        told.append(f"- {budget}: the search took {entry['search_cpu_seconds']:.0f} s of a core.")
        if chance := entry.get("random"):
            drawn, (size, kl) = chance["drawn"], chance["searched"]
            nearer = sum(found < kl for _, found in drawn)
            told[-1] += (
                f" Of {len(drawn)} random cuts ({min(d[0] for d in drawn) / 1e6:.2f} to "
                f"{max(d[0] for d in drawn) / 1e6:.2f} MB, KL {min(d[1] for d in drawn):.3f} to "
                f"{max(d[1] for d in drawn):.3f}), {nearer} are nearer to the teacher than what was searched "
                f"for, refitted as they are ({size / 1e6:.2f} MB, KL {kl:.3f})."
            )
    headings = ("student", "seeds", "MB", "WER %", "KL", "to the teacher [95 %]", "to the cut one [95 %]")
    return "\n".join([*grid(headings, rows), "", *told])


def number(value: float | None, scale: float = 1.0) -> str:
    """Return one decimal, or nothing where there is no figure."""
    return "" if value is None else f"{scale * value:.1f}"


def preset_table(result: dict[str, Any]) -> str:
    """Return one result as Markdown: a line on what was measured where, then a row per preset."""
    settings, machine = result["settings"], result["machine"]
    parameters = result["bundle"]["parameters"]
    listened = "; ".join(result["bundle"]["listened_to"])
    facts = (
        f"{(parameters or 0) / 1e6:.2f} M parameters; {settings['utterances']} utterances, "
        f"{settings['audio_seconds'] / 60:.1f} min of {settings['source']}; {machine['cpu']}, 1 thread, "
        f"{settings['repeats']} interleaved passes, {result['created'][:10]}; normaliser "
        f"{settings['normalizer']} v{settings['normalizer_version']}. Calibrated and searched on {listened}. "
        "KL and words changed are against the fp32 graph; time is the graph's alone; *in silence* counts the "
        "characters printed in clips without speech."
    )
    headings = PRESET
    if result.get("unit") == "phone":
        headings = tuple(heading.replace("WER", "phone errors") for heading in PRESET)
    lines = grid(headings, [preset_row(name, row) for name, row in result["rows"].items()])
    auto = result["bundle"]["auto"]
    if auto and auto["chosen"] is None:
        lines += ["", "`auto` found nothing within its budget and left fp32."]
    elif auto:
        lines += ["", f"`auto` chose: {auto['chosen']} (of {len(auto['tried'])} whole graphs tried)."]
    return "\n".join([facts, "", *lines])


def preset_row(name: str, row: dict[str, Any]) -> list[str]:
    """Return the cells of a graph."""
    packed, load, noisy = (row.get(key) for key in ("gzip_bytes", "load_seconds", "noisy_wer"))
    size = f"{row['bytes'] / 1e6:.2f}" + (f" ({packed / 1e6:.2f})" if packed else "")
    begin = [name, size, f"{100 * row['share']:.0f} %"]
    if "failed" in row:
        return [*begin, f"failed: {row['failed']}", *[""] * (len(PRESET) - 4)]
    frames, words, wer, time, against = (
        row[key] for key in ("frames", "words", "wer", "time", "against_fp32")
    )
    return [
        *begin,
        "" if load is None else f"{1e3 * load:.0f}",
        "1" if time is None else f"{time['median']:.2f} ({time['low']:.2f}–{time['high']:.2f})",
        f"{frames['kl']:.2g}",
        f"{100 * words['disagreement']:.2f}",
        f"{100 * wer['rate']:.2f} [{100 * wer['low']:.1f}, {100 * wer['high']:.1f}]",
        ""
        if against is None
        else f"{100 * against['value']:+.2f} [{100 * against['low']:+.2f}, {100 * against['high']:+.2f}]",
        "" if noisy is None else ", ".join(f"{100 * rate:.1f}" for rate in noisy.values()),
        str(row.get("silent_characters", "")),
        f"{100 * frames['blank_rate']:.2f}",
    ]


def matrix(results: list[dict[str, Any]]) -> str:
    """Return the matrix of profile × variant × runtime: what each made of the other."""
    # Silence around the audio is a matter of training, and told in the bundle's own README.
    found = [
        check
        for result in results
        for check in result["verification"]["checks"]
        if check["what"] != "silence"
    ]
    runtimes = list(dict.fromkeys(check["what"] for check in found if check["what"] not in OURS))
    headings = ["profile", "variant", "MB", "kdcompress", *runtimes]
    rows = []
    for result in results:
        checks = result["verification"]["checks"]
        for variant, size in result["bytes"].items():
            of = {check["what"]: check for check in checks if check["variant"] == variant}
            own = all(of[name]["passed"] for name in OURS)
            cells = [result["profile"], variant, f"{size / 1e6:.2f}", "passes" if own else "FAILS"]
            rows.append([*cells, *(check_cell(of.get(name)) for name in runtimes)])
    versions = dict.fromkeys(f"{c['what']} {c['version']}" for c in found if c["version"])
    audio = [
        f"- {r['profile']}: {r['verification']['audio']}, heard by a student of "
        f"{r['student']['parameters'] / 1e6:.2f} M parameters"
        for r in results
    ]
    return "\n".join([*grid(headings, rows, left=2), "", *audio, "", f"Versions: {', '.join(versions)}."])


def check_cell(check: dict[str, Any] | None) -> str:
    """Return a check of a runtime in few words."""
    if check is None:
        return ""
    if check["passed"] is None:
        return "not tried"
    if check["same"] is None:
        return "FAILS"
    word = "" if check["passed"] else "FAILS: "
    return f"{word}{check['same']:.0%} same, {check['difference']:.1%} off"


def read(paths: Iterable[Path]) -> Iterator[tuple[Path, Any]]:
    """Yield the JSON of files, in the order of their names."""
    for path in sorted(paths):
        yield path, json.loads(path.read_text(encoding="utf-8"))


def results() -> str:
    """Return the tables of recipes/README.md."""
    parts = [
        f"### {path.stem}\n\n{report_table(data)}\n"
        for path, data in read((RECIPES / "results").glob("*.json"))
    ]
    for path, summary in read((RECIPES / "comparisons").glob("*/summary.json")):
        name = path.parent.name
        plot = f"![Error rates of the methods](comparisons/{name}/plot.svg)"
        parts.append(f"### Comparison: {name}\n\n{comparison_table(summary)}\n\n{plot}\n")
    return "\n".join(parts)


def own_layers() -> str:
    """Return the tables of recipes/own-layers/README.md."""
    found = read((RECIPES / "own-layers").glob("*.json"))
    return "\n".join(f"### {path.stem}\n\n{own_layers_table(data)}\n" for path, data in found)


def presets() -> str:
    """Return the tables of presets of export/README.md."""
    found = read((EXPORT / "results" / "presets").glob("*.json"))
    return "\n".join(f"### {path.stem}\n\n{preset_table(data)}\n" for path, data in found)


def verified() -> str:
    """Return the matrix of export/README.md."""
    order = {"portable": 0, "waveform": 1, "kaldi": 2}
    found = [data for _, data in read((EXPORT / "results").glob("*.json"))]
    found.sort(key=lambda result: (order.get(result["profile"], len(order)), result["profile"]))
    return matrix(found) + "\n"


TABLES = (
    (RECIPES / "README.md", "results", results),
    (RECIPES / "own-layers" / "README.md", "students", own_layers),
    (EXPORT / "README.md", "presets", presets),
    (EXPORT / "README.md", "matrix", verified),
)


def main() -> None:
    """Rewrite or check."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    for readme, name, table in TABLES:
        text = readme.read_text(encoding="utf-8")
        begin = f"<!-- {name}: written by docs/tables.py -->"
        before, rest = text.split(begin)
        new = f"{before}{begin}\n\n{table()}\n{END}{rest.split(END, 1)[1]}"
        if not check:
            readme.write_text(new, encoding="utf-8")
        elif new != text:
            sys.exit(f"{readme.relative_to(ROOT)}: run python docs/tables.py")


if __name__ == "__main__":
    main()
