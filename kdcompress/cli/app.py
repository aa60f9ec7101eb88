"""The `kdcompress` command and its sub-commands."""

import sys
from typing import Annotated

import typer

from kdcompress import __version__
from kdcompress.cli.bench.command import bench
from kdcompress.cli.cache import cache
from kdcompress.cli.compare import compare
from kdcompress.cli.demo import demo
from kdcompress.cli.distill import distill
from kdcompress.cli.doctor import doctor
from kdcompress.cli.export.command import export
from kdcompress.cli.inspect import inspect
from kdcompress.cli.pack import pack
from kdcompress.cli.recipes import recipes
from kdcompress.cli.shrink import shrink
from kdcompress.cli.transcribe.command import transcribe

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # a bug shows a plain traceback, without the values of variables
    rich_markup_mode=None,  # help is plain text: brackets mean brackets, and rich need not be imported
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
app.command(short_help="Train a small student to imitate a teacher.")(distill)
app.command(short_help="Look at a teacher before imitating it.")(inspect)
app.command(short_help="Cut a teacher down to a budget, without training.")(shrink)
app.command(short_help="Run the teacher once and keep what it says.")(cache)
app.command(short_help="Write a corpus as shards that training opens at once.")(pack)
app.command(short_help="Write a student as an ONNX bundle.")(export)
app.command(short_help="Measure error rate, speed and size of bundles.")(bench)
app.command(short_help="Turn audio files into text.")(transcribe)
app.command(short_help="Train and score many settings with many seeds.")(compare)
app.command(short_help="Watch all of it on the shipped teacher and audio.")(demo)
app.command(short_help="Show what this machine and installation can do.")(doctor)
app.add_typer(recipes, name="recipes", short_help="List, show, copy and check recipes.")


def _print_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"kdcompress {__version__}\n")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Make a small, deployable CTC speech recogniser out of a large one, from audio alone.

    \b
    First look, without a model or data of one's own (minutes on two cores):
      kdcompress demo

    \b
    With one's own teacher and audio:
      kdcompress distill --teacher facebook/wav2vec2-base-960h --audio recordings/ --out runs/mine
      kdcompress export runs/mine --out bundles/mine --quantize int8-dynamic
      kdcompress bench bundles/mine --manifest test.jsonl

    Results go to standard output, progress to standard error. Exit codes: 0 done, 1 failed (one line says
    why), 2 wrong usage, 3 a limit of bench broken, 130 interrupted, 143 terminated.
    """
