"""Measure what each quantization preset makes of a student, and write the tables of export/README.md.

    python export/presets.py measure runs/mine --manifest test.jsonl --audio dev/ --bundle bundles/mine \\
        --out export/results/presets/mine.json
    python export/presets.py render              rewrite what stands between the markers of the README
    python export/presets.py render --check      exit 1 if the README is not what the results say

`measure` exports the run with every preset (or takes a bundle as it is), listens to the transcribed manifest
with each graph on one thread, interleaved, and compares each with the fp32 graph frame by frame and word by
word. Calibration and `auto` listen to --audio, which should be other recordings; transcripts are read of the
manifest only, and only to score.
"""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kdcompress.aliases import FloatArray
    from kdcompress.audio.utterance import Reference
    from kdcompress.report.report import BenchReport, CandidateResult
    from kdcompress.runtime.bundle import Bundle

HERE = Path(__file__).resolve().parent
README, RESULTS = HERE / "README.md", HERE / "results" / "presets"
BEGIN, END = "<!-- presets: written by export/presets.py -->", "<!-- end of presets -->"
HEADINGS = (
    "preset", "MB", "of fp32", "time / fp32 (min–max)", "KL per frame", "same token %", "words changed %",
    "WER % [95 %]", "to fp32, points [95 %]", "blank %", "deletions", "insertions",
)  # fmt: skip


def measure(arguments: argparse.Namespace) -> None:
    """Export, listen, compare, and write one JSON file."""
    is_bundle = (arguments.run / "bundle.json").is_file()
    if not is_bundle and None in (arguments.audio, arguments.bundle):
        sys.exit("a run is exported first: name --audio to calibrate and search on, and --bundle to write")
    # numpy's matrix products choose their threads when numpy is first imported.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    from kdcompress.audio.manifest import read_references
    from kdcompress.bench.candidate import bundle_candidates
    from kdcompress.bench.run import run_bench
    from kdcompress.cli.render import progress_bars
    from kdcompress.files import write_file
    from kdcompress.runtime.bundle import open_bundle

    with progress_bars() as bars:
        task = bars.add_task("", total=None)

        def tell(what: str, done: float, total: float) -> None:
            bars.update(task, description=what, completed=done, total=total)

        if is_bundle:
            bundle = open_bundle(arguments.run)
        else:
            bundle = _exported(arguments, tell)
        references = read_references(arguments.manifest)[: arguments.limit]
        candidates = bundle_candidates([bundle.directory], threads=1)
        for candidate, variant in zip(candidates, bundle.variants, strict=True):
            candidate.name = variant
        report = run_bench(
            candidates,
            references,
            repeats=arguments.repeats,
            reference="fp32",
            source=arguments.manifest.name,
            on_progress=tell,
        )
    told = report.to_json()
    result = {
        "schema": 1,
        "kind": "kdcompress-presets",
        **{key: told[key] for key in ("created", "machine", "settings")},
        "bundle": {
            "parameters": bundle.parameters,
            "student": bundle.provenance.get("student"),
            "listened_to": sorted({figures["on"] for figures in bundle.parity.values()} - {"rendered sound"}),
            "auto": bundle.provenance.get("auto"),
            "blank_bias": {
                name: figures["blank_bias"]
                for name, figures in bundle.parity.items()
                if "blank_bias" in figures
            },
        },
        "rows": _rows(bundle, references, report),
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    write_file(arguments.out, json.dumps(result, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    sys.stdout.write(table(result) + "\n")


def _exported(arguments: argparse.Namespace, tell: Any) -> "Bundle":
    from kdcompress.config.deploy import PRESETS
    from kdcompress.graph.write import export_run
    from kdcompress.quantize.auto.budget import Budget
    from kdcompress.quantize.variants import Options

    return export_run(
        arguments.run,
        arguments.bundle,
        quantize=arguments.preset or PRESETS,
        options=Options(
            budget=Budget(arguments.max_kl, arguments.max_disagreement, arguments.prefer),
            blank_bias=arguments.blank_bias,
            threads=None,
        ),
        audio=arguments.audio,
        overwrite=True,
        on_progress=tell,
    )


def _rows(
    bundle: "Bundle", references: "list[Reference]", report: "BenchReport"
) -> dict[str, dict[str, Any]]:
    from kdcompress.runtime.compare import difference, text_difference

    answers = {name: _answers(bundle, name, references) for name in bundle.variants}
    size = bundle.variant("fp32").bytes
    base = report.results[0]
    rows: dict[str, dict[str, Any]] = {}
    for found in report.results:
        row: dict[str, Any] = {"bytes": found.bytes, "share": (found.bytes or 0) / size}
        if found.accuracy is None or found.timing is None:
            rows[found.name] = row | {"failed": found.failed}
            continue
        speed = found.timing.model_speed
        rows[found.name] = row | {
            # The reverse of the speed: its lowest is of the fastest pass.
            "time": speed and {"median": 1 / speed.median, "low": 1 / speed.high, "high": 1 / speed.low},
            "frames": difference(answers["fp32"], answers[found.name], bundle.vocabulary.blank).to_json(),
            "words": text_difference(answers["fp32"], answers[found.name], bundle.vocabulary).to_json(),
            "wer": found.accuracy.wer.to_json(),
            "against_fp32": None if found is base else _paired(found, base, references),
            "notes": list(found.facts.notes) if found.facts else [],
        }
    return rows


def _answers(bundle: "Bundle", variant: str, references: "list[Reference]") -> "list[FloatArray]":
    from kdcompress.audio.decode import read_audio
    from kdcompress.frontend.logmel_numpy import log_mel
    from kdcompress.runtime.recognizer import Recognizer

    recognizer = Recognizer(bundle, variant, threads=1)
    normalize: Any = bundle.frontend.normalize
    answers = []
    for reference in references:
        heard = reference.utterance
        samples = read_audio(heard.audio, heard.start, heard.duration)
        answers += recognizer.log_probs([log_mel(samples, normalize=normalize)])
    return answers


def _paired(
    found: "CandidateResult", base: "CandidateResult", references: "list[Reference]"
) -> dict[str, Any]:
    """Return the difference of word error rates with its bootstrap interval, both on the same draws."""
    import jiwer
    import numpy as np

    from kdcompress.report.bootstrap import difference
    from kdcompress.text.normalize import normalize

    wanted = [normalize(reference.text) for reference in references]
    counts = []
    for result in (found, base):
        heard = [normalize(result.hypotheses[reference.utterance.id]) for reference in references]
        scored = [jiwer.process_words([one], [other]) for one, other in zip(wanted, heard, strict=True)]
        counts.append([one.substitutions + one.deletions + one.insertions for one in scored])
    words = np.array([len(text.split()) for text in wanted])
    interval = difference(np.array([counts[0]]), np.array([counts[1]]), words)
    return {"value": interval.value, "low": interval.low, "high": interval.high, "p": interval.p}


def table(result: dict[str, Any]) -> str:
    """Return one result as Markdown: a line on what was measured where, then a row per preset."""
    settings, machine = result["settings"], result["machine"]
    parameters = result["bundle"]["parameters"]
    heard = "; ".join(result["bundle"]["listened_to"])
    facts = (
        f"{(parameters or 0) / 1e6:.2f} M parameters; {settings['utterances']} utterances, "
        f"{settings['audio_seconds'] / 60:.1f} min of {settings['source']}; {machine['cpu']}, 1 thread, "
        f"{settings['repeats']} interleaved passes, {result['created'][:10]}; normaliser "
        f"{settings['normalizer']} v{settings['normalizer_version']}. Calibrated and searched on {heard}. "
        "KL, words changed, deletions and insertions are against the fp32 graph; time is the graph's alone."
    )
    lines = [f"| {' | '.join(HEADINGS)} |", "|---" + "|---:" * (len(HEADINGS) - 1) + "|"]
    lines += [f"| {' | '.join(_cells(name, row))} |" for name, row in result["rows"].items()]
    auto = result["bundle"]["auto"]
    if auto and auto["chosen"] is None:
        lines += ["", "`auto` found nothing within its budget and left fp32."]
    elif auto:
        lines += ["", f"`auto` chose: {auto['chosen']} (of {len(auto['tried'])} whole graphs tried)."]
    return "\n".join([facts, "", *lines])


def _cells(name: str, row: dict[str, Any]) -> list[str]:
    size = [name, f"{row['bytes'] / 1e6:.2f}", f"{100 * row['share']:.0f} %"]
    if "failed" in row:
        return [*size, f"failed: {row['failed']}", *[""] * (len(HEADINGS) - 4)]
    frames, words, wer, time, against = (
        row[key] for key in ("frames", "words", "wer", "time", "against_fp32")
    )
    return [
        *size,
        "1" if time is None else f"{time['median']:.2f} ({time['low']:.2f}–{time['high']:.2f})",
        f"{frames['kl']:.2g}",
        f"{100 * frames['agreement']:.2f}",
        f"{100 * words['disagreement']:.2f}",
        f"{100 * wer['rate']:.2f} [{100 * wer['low']:.1f}, {100 * wer['high']:.1f}]",
        ""
        if against is None
        else f"{100 * against['value']:+.2f} [{100 * against['low']:+.2f}, {100 * against['high']:+.2f}]",
        f"{100 * frames['blank_rate']:.2f}",
        str(words["deletions"]),
        str(words["insertions"]),
    ]


def rendered() -> str:
    """Return the README with its tables anew."""
    before, rest = README.read_text(encoding="utf-8").split(BEGIN)
    after = rest.split(END)[1]
    parts = [
        f"### {path.stem}\n\n{table(json.loads(path.read_text(encoding='utf-8')))}\n"
        for path in sorted(RESULTS.glob("*.json"))
    ]
    return f"{before}{BEGIN}\n\n" + "\n".join(parts) + f"\n{END}{after}"


def main() -> None:
    """Measure, rewrite or check."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, dest="command")
    measuring = commands.add_parser("measure", help="one student, all presets, into one JSON file")
    measuring.add_argument("run", type=Path, help="a run, which is exported first, or a bundle")
    measuring.add_argument("--manifest", type=Path, required=True, help="JSONL with audio_filepath and text")
    measuring.add_argument("--audio", type=Path, help="folder or manifest to calibrate and search on")
    measuring.add_argument("--bundle", type=Path, help="where to export to")
    measuring.add_argument("--out", type=Path, required=True, help="the JSON file to write")
    measuring.add_argument("--preset", action="append", help="only this one; repeatable")
    measuring.add_argument("--prefer", choices=("speed", "size"), default="speed", help="of auto")
    measuring.add_argument("--max-kl", type=float, default=0.001, help="of auto")
    measuring.add_argument("--max-disagreement", type=float, default=0.01, help="of auto")
    measuring.add_argument("--blank-bias", choices=("none", "auto", "teacher"), default="none")
    measuring.add_argument("--limit", type=int, help="only the first N utterances")
    measuring.add_argument("--repeats", type=int, default=5, help="timed passes")
    rendering = commands.add_parser("render", help="rewrite the tables of export/README.md")
    rendering.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    if arguments.command == "measure":
        measure(arguments)
        return
    new = rendered()
    if arguments.check:
        sys.exit(
            0
            if new == README.read_text(encoding="utf-8")
            else "export/README.md: run python export/presets.py render"
        )
    README.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
