"""`kdcompress export`: a trained student out, as files that other runtimes load."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kdcompress.config.deploy import QUANTIZE_PRESETS, QuantizePreset

if TYPE_CHECKING:
    from kdcompress.runtime.bundle import Bundle

_NONE = "none"


def export(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="A run directory (its best checkpoint) or one checkpoint.")
    ],
    out: Annotated[Path, typer.Option(metavar="BUNDLE", help="The directory to write.")],
    profile: Annotated[
        str,
        typer.Option(
            metavar="[portable|waveform|kaldi|FILE]",
            help="Layout of the graph and the files: a file of export/profiles by name, or your own.",
        ),
    ] = "portable",
    quantize: Annotated[
        list[str] | None,
        typer.Option(
            metavar=f"[{'|'.join((*QUANTIZE_PRESETS, _NONE))}]",
            help="One more graph beside the fp32 one; repeatable. int8-dynamic unless given; none: no more.",
        ),
    ] = None,
    audio: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR|MANIFEST",
            help="Measure the quantized graphs on this audio (two minutes of it; transcripts are not read).",
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a bundle that is there.")] = False,
) -> None:
    """Write a student as an ONNX bundle.

    The directory loads unmodified in kdcompress and in the runtimes of its profile: sherpa-onnx and onnx-asr
    (portable); transformers/optimum, sherpa-onnx and onnxruntime with numpy alone (waveform). The fp32 graph
    is compared with the trained model, alone and in padded batches, and not written if it differs; quantized
    graphs are compared with the fp32 one, and the table says how far they are.

    \b
    Examples:
      kdcompress export runs/mine --out bundles/mine
      kdcompress export runs/mine --out bundles/mine --audio recordings/ --overwrite
      kdcompress export runs/mine --out bundles/mine --quantize none
    """
    from kdcompress.cli.render import progress_bars
    from kdcompress.graph.write import export_run

    presets = _presets(quantize)
    _check_profile(profile)
    with progress_bars() as bars:
        task = bars.add_task("", total=None)
        bundle = export_run(
            run,
            out,
            profile,
            presets,
            audio=audio,
            overwrite=overwrite,
            on_progress=lambda step, done, total: bars.update(
                task, description=step, completed=done, total=total
            ),
        )
    _render(bundle)


def _presets(names: list[str] | None) -> tuple[QuantizePreset, ...]:
    if not names:
        return ("int8-dynamic",)
    for name in names:
        if name not in (*QUANTIZE_PRESETS, _NONE):
            raise typer.BadParameter(
                f"{name!r} is not one of {', '.join((*QUANTIZE_PRESETS, _NONE))}", param_hint="--quantize"
            )
    return tuple(preset for preset in QUANTIZE_PRESETS if preset in names)


def _check_profile(name: str) -> None:
    from kdcompress.errors import ConfigError
    from kdcompress.resources import profile_path

    try:
        profile_path(name)
    except ConfigError as error:
        raise typer.BadParameter(str(error), param_hint="--profile") from error


def _render(bundle: "Bundle") -> None:
    from rich.table import Table

    from kdcompress.cli.render import console

    table = Table(box=None, pad_edge=False, header_style="")
    for heading in ("variant", "file", "compared with"):
        table.add_column(heading)
    for heading in ("MB", "KL per frame", "same best token", "blank"):
        table.add_column(heading, justify="right")
    for variant in bundle.variants.values():
        figures = bundle.parity[variant.name]
        table.add_row(
            variant.name,
            variant.file,
            f"{figures['against']}, {figures['on']}",
            f"{variant.bytes / 1e6:.2f}",
            f"{figures['kl']:.2g}",
            f"{figures['agreement']:.2%}",
            f"{figures['blank_rate']:.1%}",
        )
    screen = console()
    screen.print(table)
    screen.print(f"wrote {bundle.directory}", soft_wrap=True, markup=False)
