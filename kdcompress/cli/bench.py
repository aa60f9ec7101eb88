"""`kdcompress bench`: how accurate, how fast, on this machine."""

import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from kdcompress.cli.bench_models import candidates, numbers

# numpy's matrix products choose their threads when numpy is first imported.
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


def bench(
    manifest: Annotated[
        Path, typer.Option("--manifest", help="JSONL with audio_filepath and text: what to hear.")
    ],
    bundles: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="MODEL…",
            help="Bundles, ONNX models of other origin (a graph with its tokens), training runs.",
        ),
    ] = None,
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
            help="Run each model in all of these: kdcompress, sherpa-onnx, onnx-asr, torch.",
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
    normalizer: Annotated[
        Literal["basic", "none"], typer.Option("--normalizer", help="Applied to both texts before scoring.")
    ] = "basic",
    json_file: Annotated[
        Path | None,
        typer.Option(
            "--json", metavar="FILE", help="Write the whole report; - prints it instead of the table."
        ),
    ] = None,
) -> None:
    """Measure word error rate, speed, memory and size of models, and of their teacher, side by side.

    Every model, in every runtime, hears the same utterances, one at a time, in a process of its own. A first
    pass warms up and gives the transcripts; a candidate that crashes, answers NaN, says nothing where more
    than half of the time something was said, or computes elsewhere than on --provider is reported as failed,
    is not timed, and the exit code is 1. The timed passes are interleaved, so that all share the machine's
    moods. Reading audio files and loading models are timed apart.

    ONNX models of other origin are directories with a graph and its vocabulary: tokens.txt (NeMo,
    sherpa-onnx), vocab.txt (onnx-asr) or vocab.json (wav2vec2). sherpa-onnx and onnx-asr come with
    pip install 'kdcompress[runtimes]'.

    RTF is processing time / audio time (features, model and CTC decoding): 0.01 is a hundred times faster
    than real time. Speeds are relative to the teacher, or without one to the first candidate.

    \b
    Examples:
      kdcompress bench bundles/mine --manifest test.jsonl
      kdcompress bench bundles/small bundles/large --manifest test.jsonl --teacher runs/teacher --threads 2
      kdcompress bench bundles/mine --manifest test.jsonl --variant int8-dynamic --json report.json
      kdcompress bench bundles/mine --manifest test.jsonl --runtime kdcompress,sherpa-onnx,onnx-asr
      kdcompress bench runs/mine bundles/mine --manifest test.jsonl --runtime torch,kdcompress
      kdcompress bench sherpa-onnx-nemo-ctc/ bundles/mine --manifest test.jsonl --threads 1,2 --batch 1,8
      kdcompress bench bundles/mine --manifest test.jsonl --provider cuda --batch 1,8,32
    """
    counts, batches = numbers(threads, "--threads"), numbers(batch, "--batch")
    for name in _THREAD_VARIABLES:
        os.environ[name] = str(counts[0])

    from kdcompress.audio.manifest import read_references
    from kdcompress.bench.affinity import read_cores
    from kdcompress.bench.report import check_writable, dump_report, write_report
    from kdcompress.bench.run import run_bench
    from kdcompress.cli.render import progress_bars, render_bench

    to_stdout = json_file is not None and str(json_file) == "-"
    if json_file is not None and not to_stdout:
        check_writable(json_file)
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
    references = read_references(manifest)[:limit]
    with progress_bars() as bars:
        task = bars.add_task("reading audio", total=None)
        report = run_bench(
            measured,
            references,
            repeats=repeats,
            normalizer=normalizer,
            source=str(manifest),
            threads=counts,
            batches=batches,
            affinity=cores,
            allow_fallback=allow_fallback,
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
    if report.failed:
        raise typer.Exit(1)
