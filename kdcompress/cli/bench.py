"""`kdcompress bench`: how accurate, how fast, on this machine."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from kdcompress.cli import bench_page as page

if TYPE_CHECKING:
    from kdcompress.bench.candidate import Candidate

# numpy's matrix products choose their threads when numpy is first imported.
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


def bench(
    bundles: Annotated[
        list[Path] | None, typer.Argument(metavar="BUNDLE…", help="Directories written by kdcompress export.")
    ] = None,
    manifest: Annotated[
        Path | None, typer.Option("--manifest", help="JSONL with audio_filepath and text: what to hear.")
    ] = None,
    teacher: Annotated[
        str | None,
        typer.Option("--teacher", help="Anything that distill --teacher takes, beside them."),
    ] = None,
    variant: Annotated[
        list[str] | None, typer.Option("--variant", help="Only this variant; repeatable. All unless given.")
    ] = None,
    provider: Annotated[
        Literal["cpu", "cuda"], typer.Option("--provider", help="Where the models run.")
    ] = "cpu",
    threads: Annotated[
        int, typer.Option("--threads", min=1, help="For every model and for the features.")
    ] = 1,
    repeats: Annotated[int, typer.Option("--repeats", min=1, help="Timed passes over all utterances.")] = 5,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="Take the first N utterances only.")
    ] = None,
    normalizer: Annotated[
        Literal["basic", "none"], typer.Option("--normalizer", help="Applied to both texts before scoring.")
    ] = "basic",
    json_file: Annotated[
        Path | None,
        typer.Option(
            "--json", metavar="FILE", help="Write the whole report; - prints it instead of the table."
        ),
    ] = None,
    html: page.Html = None,
    markdown: page.Markdown = None,
    worst: page.Worst = 12,
    no_sound: page.NoSound = False,
    saved: page.Saved = None,
) -> None:
    """Measure word error rate, speed and size of bundles, and of their teacher, side by side.

    Every variant of every bundle hears the same utterances, one at a time. A first pass warms up and gives
    the transcripts; a candidate that crashes, answers NaN or says nothing at all is reported as failed, is
    not timed, and the exit code is 1. The timed passes are interleaved, so that all share the machine's
    moods. Reading audio files and loading models are timed apart.

    RTF is processing time / audio time (features, model and CTC decoding): 0.01 is a hundred times faster
    than real time. Speeds are relative to the teacher, or without one to the first candidate.

    \b
    Examples:
      kdcompress bench bundles/mine --manifest test.jsonl
      kdcompress bench bundles/small bundles/large --manifest test.jsonl --teacher runs/teacher --threads 2
      kdcompress bench bundles/mine --manifest test.jsonl --variant int8-dynamic --json report.json
      kdcompress bench bundles/mine --manifest test.jsonl --html report.html --markdown report.md
      kdcompress bench --report report.json --html report.html
    """
    if saved is not None:
        if bundles or teacher or manifest:
            raise typer.BadParameter(
                "it measures nothing: it takes no bundle, teacher or manifest", param_hint="--report"
            )
        page.render_saved(saved, html, markdown, worst=worst, sound=not no_sound)
        return
    if manifest is None:
        raise typer.BadParameter("what is to be heard? Give a manifest", param_hint="--manifest")
    for name in _THREAD_VARIABLES:
        os.environ[name] = str(threads)

    from kdcompress.audio.manifest import read_references
    from kdcompress.bench.report import check_writable, dump_report, write_report
    from kdcompress.bench.run import run_bench
    from kdcompress.cli.render import progress_bars, render_bench

    to_stdout = json_file is not None and str(json_file) == "-"
    if json_file is not None and not to_stdout:
        check_writable(json_file)
    page.check_files(html, markdown)
    candidates = _candidates(bundles or [], teacher, variant or [], provider, threads)
    references = read_references(manifest)[:limit]
    with progress_bars() as bars:
        task = bars.add_task("reading audio", total=None)
        report = run_bench(
            candidates,
            references,
            repeats=repeats,
            normalizer=normalizer,
            source=str(manifest),
            on_progress=lambda what, done, total: bars.update(
                task, description=what, completed=done, total=total
            ),
        )
    if to_stdout:
        sys.stdout.write(dump_report(report))
    else:
        render_bench(report)
        if json_file is not None:
            write_report(report, json_file)
    page.render_files(report.to_json(), html, markdown, worst=worst, sound=not no_sound)
    if report.failed:
        raise typer.Exit(1)


def _candidates(
    bundles: list[Path],
    teacher: str | None,
    variants: list[str],
    provider: Literal["cpu", "cuda"],
    threads: int,
) -> "list[Candidate]":
    from kdcompress.bench.candidate import bundle_candidates
    from kdcompress.errors import ConfigError

    candidates: list[Candidate] = []
    if teacher is not None:
        from kdcompress.teachers.candidate import TeacherCandidate
        from kdcompress.teachers.teacher import resolve_teacher

        candidates.append(TeacherCandidate(resolve_teacher(teacher), provider, threads))
    candidates += bundle_candidates(bundles, variants, provider, threads)
    if not candidates:
        raise ConfigError("nothing to measure: name at least one bundle, or a --teacher")
    return candidates
