"""`kdcompress export`: a trained student out, as files that other runtimes load."""

from pathlib import Path
from typing import Annotated

import typer

from kdcompress.cli.export.variants import (
    NAMES,
    PRESET_HELP,
    blank_bias_of,
    bytes_of,
    presets_of,
    render_variants,
)
from kdcompress.cli.threads import choose_threads
from kdcompress.config.deploy import HUGGINGFACE, Calibration, Preference


def export(
    run: Annotated[
        Path,
        typer.Argument(
            metavar="RUN",
            help="A run directory (its best checkpoint) or one checkpoint; with --verify, also a bundle.",
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(metavar="BUNDLE", help="The directory to write; required for a run.")
    ] = None,
    profile: Annotated[
        str,
        typer.Option(
            metavar="[portable|waveform|kaldi|streaming|telephone|huggingface|FILE]",
            help="Layout of the graph and the files: a file of export/profiles by name, or your own; or "
            "huggingface, for students of kind pretrained: a directory of transformers, without a graph.",
        ),
    ] = "portable",
    chunk_ms: Annotated[
        int | None,
        typer.Option("--chunk-ms", min=1, help="Of the profile streaming: text comes after so much speech."),
    ] = None,
    quantize: Annotated[
        list[str] | None,
        typer.Option(
            metavar=f"[{'|'.join(NAMES)}]",
            help="One more graph beside the fp32 one, by name or by the hardware it is for; repeatable. "
            f"int8-dynamic unless given; none: no more.{PRESET_HELP}",
        ),
    ] = None,
    audio: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR|MANIFEST",
            help="Measure the quantized graphs on this audio (two minutes of it; transcripts are not read). "
            "int8-static, auto and --blank-bias need it; int4, int3, int2 and ternary are fitted to it.",
        ),
    ] = None,
    calibration: Annotated[
        Calibration, typer.Option(help="How int8-static finds the ranges of activations.")
    ] = "percentile",
    max_kl: Annotated[
        float, typer.Option("--max-kl", min=0, help="Budget of auto: KL to fp32 [nats per frame].")
    ] = 0.001,
    max_disagreement: Annotated[
        float,
        typer.Option("--max-disagreement", min=0, help="Budget of auto: share of fp32's words changed."),
    ] = 0.01,
    prefer: Annotated[
        Preference,
        typer.Option(
            help="What auto saves within its budget: speed keeps 8 bits or float; size takes the fewest bits."
        ),
    ] = "speed",
    max_bytes: Annotated[
        str | None,
        typer.Option(
            "--max-bytes",
            metavar="SIZE",
            help="Let auto find the closest graph whose file is no larger (500kB, 1.2MB), whatever its KL.",
        ),
    ] = None,
    blank_bias: Annotated[
        str,
        typer.Option(
            metavar="none|auto|teacher|VALUE",
            help="Add a number to the blank's logit. auto: fit it so that each quantized graph says blank as "
            "often as fp32; teacher: and fp32 as its teacher did; VALUE: in nats, in every graph.",
        ),
    ] = "none",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a bundle that is there.")] = False,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify",
            help="Check the bundle afterwards: from 0.1 to 60 s of sound, padded batches, its self-test, and "
            "the transcripts of every runtime of its profile that is installed.",
        ),
    ] = False,
    python: Annotated[
        list[str] | None,
        typer.Option(
            metavar="RUNTIME=PATH",
            help="Let this interpreter run a runtime in --verify, where it cannot be installed beside "
            "kdcompress; repeatable.",
        ),
    ] = None,
) -> None:
    """Write a student as an ONNX bundle.

    The directory loads unmodified in kdcompress and in the runtimes of its profile: sherpa-onnx and onnx-asr
    (portable); transformers/optimum, sherpa-onnx and onnxruntime with numpy alone (waveform). The fp32 graph
    is compared with the trained model, alone and in padded batches, and not written if it differs; quantized
    graphs are compared with the fp32 one, and the table says how far they are. auto searches for the mixture
    of precisions that saves the most within a budget, and draws what it tried (auto.png).

    \b
    Examples:
      kdcompress export runs/mine --out bundles/mine
      kdcompress export runs/mine --out bundles/mine --audio recordings/ --overwrite
      kdcompress export runs/mine --out bundles/mine --quantize auto --blank-bias auto --audio recordings/
      kdcompress export runs/mine --out bundles/mine --quantize int4 --audio recordings/
      kdcompress export runs/mine --out bundles/mine --quantize auto --max-bytes 500kB --audio recordings/
      kdcompress export runs/mine --out bundles/web --profile waveform --quantize none
      kdcompress export runs/mine --out bundles/live --profile streaming --chunk-ms 320
      kdcompress export runs/mine --out hub/mine --profile huggingface
      kdcompress export bundles/mine --verify --audio recordings/
    """
    from kdcompress.cli.render import progress_bars
    from kdcompress.quantize.auto.budget import Budget
    from kdcompress.quantize.variants import Options
    from kdcompress.runtime.identify import Kind, identify

    presets, pythons = presets_of(quantize), _pythons(python)
    options = Options(
        calibration, Budget(max_kl, max_disagreement, prefer, bytes_of(max_bytes)), blank_bias_of(blank_bias)
    )
    if profile == HUGGINGFACE:
        if out is None or quantize:
            raise typer.BadParameter("it writes float weights to a directory: give --out DIR, no --quantize")
        _export_huggingface(run, out, audio, overwrite)
        return
    _check_profile(profile)
    kind = identify(run)
    if verify and out is None and kind is Kind.BUNDLE:
        _verify(run, audio, pythons)
        return
    if out is None:
        raise typer.BadParameter("a run is written to a directory: give --out BUNDLE", param_hint="--out")

    choose_threads()
    from kdcompress.graph.write import export_run  # torch: a bundle is verified without it

    with progress_bars() as bars:
        task = bars.add_task("", total=None)
        bundle = export_run(
            run,
            out,
            profile,
            presets,
            options=options,
            audio=audio,
            chunk_ms=chunk_ms,
            overwrite=overwrite,
            thorough=verify,
            on_progress=lambda step, done, total: bars.update(
                task, description=step, completed=done, total=total
            ),
        )
    render_variants(bundle)
    if verify:
        _verify(out, audio, pythons)


def _export_huggingface(run: Path, out: Path, audio: Path | None, overwrite: bool) -> None:
    from kdcompress.cli.render import console
    from kdcompress.graph.huggingface import export_huggingface

    choose_threads()
    found, said = export_huggingface(run, out, audio=audio, overwrite=overwrite)
    console().print(f"{out}: log-probabilities differ by up to {found.max_abs:.2g}; {said}")


def _pythons(choices: list[str] | None) -> dict[str, Path]:
    pythons = {}
    for choice in choices or []:
        runtime, equals, path = choice.partition("=")
        if not equals or not Path(path).is_file():
            raise typer.BadParameter(
                f"{choice!r} is not RUNTIME=PATH of an interpreter", param_hint="--python"
            )
        pythons[runtime] = Path(path)
    return pythons


def _verify(path: Path, audio: Path | None, pythons: dict[str, Path]) -> None:
    from rich.table import Table

    from kdcompress.cli.render import console, progress_bars
    from kdcompress.errors import ExportError
    from kdcompress.verify.verify import verify_bundle

    with progress_bars() as bars:
        task = bars.add_task("", total=None)
        _, found = verify_bundle(
            path,
            audio,
            pythons,
            lambda step, done, total: bars.update(task, description=step, completed=done, total=total),
        )
    table = Table(box=None, pad_edge=False, header_style="")
    for heading in ("check", "variant", "result", f"what was found ({found.audio})"):
        table.add_column(heading)
    for check in found.checks:
        result = {True: "passed", False: "FAILED", None: "skipped"}[check.passed]
        table.add_row(check.what, check.variant, result, check.detail)
    console().print(table)
    if not found.passed:
        first = next(check for check in found.checks if check.passed is False)
        raise ExportError(f"{path} fails the check {first.what} of {first.variant}: {first.detail}")


def _check_profile(name: str) -> None:
    from kdcompress.errors import ConfigError
    from kdcompress.resources import profile_path

    try:
        profile_path(name)
    except ConfigError as error:
        raise typer.BadParameter(str(error), param_hint="--profile") from error
