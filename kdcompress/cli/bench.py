"""`kdcompress bench`: how accurate, how fast, on this machine."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from kdcompress.cli import bench_options as options
from kdcompress.cli import bench_page as page
from kdcompress.cli.bench_outcome import Outcome, rescore_and_finish

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kdcompress.audio.utterance import Reference, Utterance
    from kdcompress.bench.candidate import Candidate

# numpy's matrix products choose their threads when numpy is first imported.
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


def bench(
    bundles: Annotated[
        list[Path] | None, typer.Argument(metavar="BUNDLE…", help="Directories written by kdcompress export.")
    ] = None,
    manifest: options.Manifest = None,
    audio: options.Audio = None,
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
    reference: options.Reference = None,
    normalizer: options.Normalizer = None,
    json_file: options.Json = None,
    hypotheses: options.Hypotheses = None,
    rescore: options.Rescore = None,
    baseline: options.Baseline = None,
    max_wer_increase: options.MaxWerIncrease = None,
    max_rtf_ratio: options.MaxRtfRatio = None,
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
    than real time. Speeds are relative to the --reference candidate: unless given, the teacher, or without
    one the first candidate. So are the paired differences and the agreement, which needs no transcripts.

    With --baseline the report is held against an earlier one. A limit is broken where the whole 95 % interval
    of the change lies beyond it, and where a candidate of the baseline is missing or failed. WER is compared
    utterance by utterance, time relative to the reference candidate of each run.

    Exit codes: 0 fine, 1 a candidate or the command failed, 2 wrong usage, 3 a limit is broken.

    \b
    Examples:
      kdcompress bench bundles/mine --manifest test.jsonl
      kdcompress bench bundles/small bundles/large --manifest test.jsonl --teacher runs/teacher --threads 2
      kdcompress bench bundles/mine --manifest test.jsonl --variant int8-dynamic --json report.json
      kdcompress bench bundles/mine --manifest test.jsonl --html report.html --markdown report.md
      kdcompress bench --report report.json --html report.html
      kdcompress bench --rescore report.json --normalizer english
      kdcompress bench --rescore report.json --baseline main.json --max-wer-increase 0.2 --max-rtf-ratio 1.1
    """
    pages = page.Pages(html, markdown, worst, not no_sound)
    if saved is not None:
        if bundles or teacher or manifest or audio or rescore:
            raise typer.BadParameter(
                "it measures nothing: it takes no bundle, teacher, manifest or audio", param_hint="--report"
            )
        page.write_saved(saved, pages)
        return
    outcome = Outcome(json_file, hypotheses, baseline, max_wer_increase, max_rtf_ratio, pages)
    if rescore is not None:
        if bundles or teacher or manifest or audio:
            raise typer.BadParameter("--rescore hears nothing: it takes no bundle, teacher or audio")
        rescore_and_finish(rescore, normalizer, reference, outcome)
        return
    source = manifest or audio
    if source is None or (manifest and audio):
        raise typer.BadParameter("what is to be heard? Give one of --manifest and --audio")
    for name in _THREAD_VARIABLES:
        os.environ[name] = str(threads)

    from kdcompress.bench.run import run_bench
    from kdcompress.cli.render import progress_bars

    outcome.check()
    candidates = _candidates(bundles or [], teacher, variant or [], provider, threads)
    references = _speech(source)[:limit]
    with progress_bars() as bars:
        task = bars.add_task("reading audio", total=None)
        report = run_bench(
            candidates,
            references,
            repeats=repeats,
            normalizer=normalizer or "basic",
            reference=reference,
            source=str(source),
            on_progress=lambda what, done, total: bars.update(
                task, description=what, completed=done, total=total
            ),
        )
    outcome.finish(report.to_json(), report)


def _speech(source: Path) -> "Sequence[Reference] | Sequence[Utterance]":
    from kdcompress.audio.speech import read_speech
    from kdcompress.audio.utterance import Reference
    from kdcompress.cli.render import show_note

    found = read_speech(source)
    if not any(isinstance(one, Reference) for one in found):
        show_note(f"{source} has no transcripts: no error rates, agreement with the reference candidate only")
    return found


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
