"""`kdcompress export`: a trained student out, as files that other runtimes load."""

from pathlib import Path
from typing import Annotated

import typer

from kdcompress.cli.variants import NAMES, blank_bias_of, presets_of, render_variants
from kdcompress.config.deploy import Calibration, Preference, Profile


def export(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="A run directory (its best checkpoint) or one checkpoint.")
    ],
    out: Annotated[Path, typer.Option(metavar="BUNDLE", help="The directory to write.")],
    profile: Annotated[Profile, typer.Option(help="Layout of the graph and the files.")] = "portable",
    quantize: Annotated[
        list[str] | None,
        typer.Option(
            metavar=f"[{'|'.join(NAMES)}]",
            help="One more graph beside the fp32 one, by name or by the hardware it is for; repeatable. "
            "int8-dynamic unless given; none: no more.",
        ),
    ] = None,
    audio: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR|MANIFEST",
            help="Measure the quantized graphs on this audio (two minutes of it; transcripts are not read). "
            "int8-static, auto and --blank-bias need it.",
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
    prefer: Annotated[Preference, typer.Option(help="What auto saves within its budget.")] = "speed",
    blank_bias: Annotated[
        str,
        typer.Option(
            metavar="none|auto|teacher|VALUE",
            help="Add a number to the blank's logit. auto: fit it so that each quantized graph says blank as "
            "often as fp32; teacher: and fp32 as its teacher did; VALUE: in nats, in every graph.",
        ),
    ] = "none",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a bundle that is there.")] = False,
) -> None:
    """Write a student as an ONNX bundle.

    The directory loads unmodified in kdcompress, sherpa-onnx and onnx-asr. The fp32 graph is compared with
    the trained model, alone and in padded batches, and not written if it differs; quantized graphs are
    compared with the fp32 one, and the table says how far they are. auto searches for the mixture of
    precisions that saves the most within a budget, and draws what it tried (auto.png).

    \b
    Examples:
      kdcompress export runs/mine --out bundles/mine
      kdcompress export runs/mine --out bundles/mine --audio recordings/ --overwrite
      kdcompress export runs/mine --out bundles/mine --quantize auto --blank-bias auto --audio recordings/
      kdcompress export runs/mine --out bundles/mine --quantize none
    """
    from kdcompress.cli.render import progress_bars
    from kdcompress.graph.write import export_run
    from kdcompress.quantize.search import Budget
    from kdcompress.quantize.variants import Options

    presets = presets_of(quantize)
    options = Options(calibration, Budget(max_kl, max_disagreement, prefer), blank_bias_of(blank_bias))
    with progress_bars() as bars:
        task = bars.add_task("", total=None)
        bundle = export_run(
            run,
            out,
            profile,
            presets,
            options=options,
            audio=audio,
            overwrite=overwrite,
            on_progress=lambda step, done, total: bars.update(
                task, description=step, completed=done, total=total
            ),
        )
    render_variants(bundle)
