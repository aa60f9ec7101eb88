"""`kdcompress bench`: how accurate, how fast, on this machine."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from kdcompress.cli.bench import options, page
from kdcompress.cli.bench.models import candidates, numbers
from kdcompress.cli.bench.outcome import Outcome, rescore_and_finish

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kdcompress.audio.utterance import Reference, Utterance


def bench(
    bundles: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="MODEL…",
            help="Bundles, ONNX models of other origin (a graph with its tokens), training runs.",
        ),
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
    runtime: Annotated[
        str | None,
        typer.Option(
            "--runtime",
            metavar="NAME,…",
            help="Run each model in all of these, such as kdcompress,onnx-asr; an unknown name lists them.",
        ),
    ] = None,
    provider: Annotated[
        Literal["cpu", "cuda"], typer.Option("--provider", help="Where the models run.")
    ] = "cpu",
    allow_fallback: Annotated[
        bool,
        typer.Option("--allow-fallback", help="Time models of which parts ran elsewhere than on --provider."),
    ] = False,
    threads: Annotated[
        str,
        typer.Option(
            "--threads", metavar="N,…", help="For every model; of more numbers than one, throughput only."
        ),
    ] = "1",
    batch: Annotated[
        str, typer.Option("--batch", metavar="N,…", help="Utterances at once, to measure throughput with.")
    ] = "1",
    pin: Annotated[
        str,
        typer.Option(
            "--pin", metavar="auto|none|N,…", help="Cores to keep to; auto takes idle ones, on a CPU."
        ),
    ] = "auto",
    torch_precision: Annotated[
        Literal["fp32", "fp16", "bf16"],
        typer.Option("--torch-precision", help="Of what runs in torch, by its autocast."),
    ] = "fp32",
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
    stress: options.Stress = None,
    max_stress_ratio: options.MaxStressRatio = None,
    max_stress_characters: options.MaxStressCharacters = None,
    max_delay_increase: options.MaxDelayIncrease = None,
    streams: options.Streams = None,
    html: page.Html = None,
    markdown: page.Markdown = None,
    worst: page.Worst = 12,
    no_sound: page.NoSound = False,
    saved: page.Saved = None,
) -> None:
    """Measure word error rate, speed, memory and size of models, and of their teacher, side by side.

    Every model, in every runtime, decodes the same utterances, one at a time, in a process of its own. A
    first pass warms up and gives the transcripts; a candidate that crashes, answers NaN, says nothing where
    more than half of the time something was said, or computes elsewhere than on --provider is reported as
    failed, is not timed, and the exit code is 1. The timed passes are interleaved, so that all share what
    slows the machine. Reading audio files and loading models are timed apart.

    ONNX models of other origin are directories with a graph and its vocabulary: tokens.txt (NeMo,
    sherpa-onnx), vocab.txt (onnx-asr) or vocab.json (wav2vec2). sherpa-onnx and onnx-asr come with
    pip install 'kdcompress[runtimes]'.

    RTF is processing time / audio time (features, model and CTC decoding): 0.01 is a hundred times faster
    than real time. Speeds are relative to the --reference candidate: unless given, the teacher, or without
    one the first candidate. So are the paired differences and the agreement, which needs no transcripts.

    With --streams, bundles of the profile streaming are also given speech as it is said: how long after the
    reference candidate's spike a word is shown, time per chunk, chunks that took longer than they sound, and
    streams that a core keeps up with. sherpa-onnx is then its online recogniser.

    With --baseline the report is held against an earlier one. A limit is broken where the whole 95 % interval
    of the change lies beyond it, and where a candidate of the baseline is missing or failed. WER is compared
    utterance by utterance, time relative to the reference candidate of each run.

    --stress shows how fragile a student is beside its teacher: what each stress costs in points of WER,
    paired over utterances, and the characters printed where nobody speaks.

    Exit codes: 0 fine, 1 a candidate or the command failed, 2 wrong usage, 3 a limit is broken.

    \b
    Examples:
      kdcompress bench bundles/mine --manifest test.jsonl
      kdcompress bench bundles/small bundles/large --manifest test.jsonl --teacher runs/teacher --threads 2
      kdcompress bench bundles/mine --manifest test.jsonl --variant int8-dynamic --json report.json
      kdcompress bench bundles/mine --manifest test.jsonl --runtime kdcompress,sherpa-onnx,onnx-asr
      kdcompress bench runs/mine bundles/mine --manifest test.jsonl --runtime torch,kdcompress
      kdcompress bench sherpa-onnx-nemo-ctc/ bundles/mine --manifest test.jsonl --threads 1,2 --batch 1,8
      kdcompress bench bundles/mine --manifest test.jsonl --provider cuda --batch 1,8,32
      kdcompress bench bundles/offline bundles/live --manifest test.jsonl --streams 1,8,64,256
      kdcompress bench bundles/mine --manifest test.jsonl --html report.html --markdown report.md
      kdcompress bench bundles/mine --manifest test.jsonl --teacher runs/teacher --stress all
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
    limits = (max_wer_increase, max_rtf_ratio, max_delay_increase and max_delay_increase / 1000)
    under_stress = (max_stress_ratio, max_stress_characters)
    outcome = Outcome(json_file, hypotheses, baseline, limits, pages, *under_stress)
    if rescore is not None:
        if bundles or teacher or manifest or audio:
            raise typer.BadParameter("--rescore runs no model: it takes no bundle, teacher or audio")
        rescore_and_finish(rescore, normalizer, reference, outcome)
        return
    source = manifest or audio
    if source is None or (manifest and audio):
        raise typer.BadParameter("what is to be decoded? Give one of --manifest and --audio")
    counts, batches = numbers(threads, "--threads"), numbers(batch, "--batch")

    from kdcompress.bench.affinity import read_cores
    from kdcompress.bench.run import run_bench
    from kdcompress.bench.stress import read_stresses
    from kdcompress.cli.render import progress_bars

    outcome.check()
    stresses = read_stresses(stress) if stress else ()
    measured = candidates(
        bundles or [],
        teacher,
        runtimes=runtime,
        variants=variant or [],
        provider=provider,
        threads=counts[0],
        torch_precision=torch_precision,
    )
    cores = None if (pin, provider) == ("auto", "cuda") else read_cores(pin, max(counts))
    references = _speech(source)[:limit]
    with progress_bars() as bars:
        task = bars.add_task("reading audio", total=None)
        report = run_bench(
            measured,
            references,
            repeats=repeats,
            normalizer=normalizer or "basic",
            reference=reference,
            source=str(source),
            threads=counts,
            batches=batches,
            streams=numbers(streams, "--streams") if streams else (),
            affinity=cores,
            allow_fallback=allow_fallback,
            stresses=stresses,
            on_progress=lambda what, done, total: bars.update(
                task, description=what, completed=done, total=total
            ),
        )
    outcome.finish(report, times=True)


def _speech(source: Path) -> "Sequence[Reference] | Sequence[Utterance]":
    from kdcompress.audio.speech import read_speech
    from kdcompress.audio.utterance import Reference
    from kdcompress.cli.render import show_note

    found = read_speech(source)
    if not any(isinstance(one, Reference) for one in found):
        show_note(f"{source} has no transcripts: no error rates, agreement with the reference candidate only")
    return found
