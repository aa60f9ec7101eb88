"""`kdcompress compare`: a table of methods, each trained with several seeds."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kdcompress.cli.threads import choose_threads

if TYPE_CHECKING:
    from kdcompress.analysis.comparison import Cell


def compare(
    comparison: Annotated[
        Path, typer.Argument(help="A comparison (YAML): recipe, rows of overrides, seeds.")
    ],
    teacher: Annotated[str, typer.Option("--teacher", help="As distill takes it; shared by all rows.")],
    audio: Annotated[Path, typer.Option("--audio", help="Untranscribed audio that all rows train on.")],
    test: Annotated[
        Path, typer.Option("--test", help="Manifest with texts that all students are scored on.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder of the runs: OUT/ROW/seed-N.")],
    transcribed: Annotated[
        Path | None, typer.Option("--transcribed", help="The audio with texts, for rows whose λ is below 1.")
    ] = None,
    silence: Annotated[
        Path | None, typer.Option("--silence", help="Clips without speech: what is printed there is counted.")
    ] = None,
    shard: Annotated[
        str, typer.Option("--shard", metavar="I/N", help="Train every N-th run from the I-th.")
    ] = "0/1",
    cache: Annotated[
        Path | None, typer.Option("--cache", help="Posteriors of the teacher that all rows train on.")
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the summary of all that is done.")
    ] = None,
    plot: Annotated[Path | None, typer.Option("--plot", help="Draw the error rates (PNG or SVG).")] = None,
) -> None:
    """Train and score every row of a comparison with every seed.

    All rows are tried for one step first, and those that cannot be trained are listed. What is done is
    skipped and what was interrupted goes on, so the same command continues after Ctrl-C. A run that fails
    does not keep the others from being trained; what is done is summed up in any case.
    Processes with --shard 0/2 and --shard 1/2 share the work; one more call sums up.

    \b
    Examples:
      kdcompress compare an4.yaml --teacher runs/an4-teacher --audio an4/audio/train \\
        --transcribed an4/train.jsonl --test an4/test.jsonl --silence silence --out runs/compare-an4 \\
        --json recipes/results/compare-an4.json
    """
    choose_threads()
    from kdcompress.analysis.comparison import Materials, summarize
    from kdcompress.analysis.comparison import compare as run_comparison
    from kdcompress.cli.progress import DistillProgress
    from kdcompress.config.comparison import load_comparison
    from kdcompress.errors import RunError
    from kdcompress.files import write_file

    asked = load_comparison(comparison)
    materials = Materials(teacher, audio, transcribed, test, silence, cache)
    index, _, of = shard.partition("/")
    if not (index.isdigit() and of.isdigit() and int(index) < int(of)):
        raise typer.BadParameter(
            f"{shard!r}: expected I/N with I below N, for example 0/2", param_hint="--shard"
        )
    finished, failure = True, None
    with DistillProgress() as progress:

        def announce(cell: "Cell", number: int, total: int) -> None:
            progress.say(f"[{number + 1}/{total}] {cell.row}, seed {cell.seed}")

        try:
            finished = run_comparison(
                asked, materials, out, progress, shard=(int(index), int(of)), on_cell=announce
            )
        except RunError as error:
            failure = error
    summary = summarize(asked, materials, out)
    if json_file is not None:
        write_file(json_file, json.dumps(summary, indent=1, ensure_ascii=False) + "\n")
    if plot is not None:
        from kdcompress.analysis.comparison_plot import plot_comparison

        plot_comparison(summary, plot)
    for name, row in summary["rows"].items():
        wer, rate = row["wer"], "phone errors" if row["unit"] == "phones" else "WER"
        sys.stdout.write(
            f"{name:<28} {rate} {100 * wer['value']:6.2f} % "
            f"[{100 * wer['low']:.1f}, {100 * wer['high']:.1f}] seeds {len(row['seeds'])}\n"
        )
    if failure is not None:
        raise failure
    if not finished:
        typer.echo("stopped; the same command goes on", err=True)
        raise typer.Exit(130)
