"""The `kdcompress` command: its sub-commands, and how errors reach the user."""

import os
import signal
import sys
from contextlib import suppress
from typing import Annotated, NoReturn

import typer

from kdcompress import __version__
from kdcompress.cli.bench import bench
from kdcompress.cli.cache import cache
from kdcompress.cli.compare import compare
from kdcompress.cli.demo import demo
from kdcompress.cli.distill import distill
from kdcompress.cli.export import export
from kdcompress.cli.inspect import inspect
from kdcompress.cli.recipes import recipes
from kdcompress.cli.transcribe import transcribe
from kdcompress.errors import KdcompressError, MissingExtra

# What the extra `train` brings: a command that imports one of these without it says how to install it.
_TRAIN = frozenset(
    {"accelerate", "lhotse", "matplotlib", "onnxscript", "safetensors", "torch", "torchaudio", "transformers"}
)

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # a bug shows a plain traceback, without the values of variables
    rich_markup_mode=None,  # help is plain text: brackets mean brackets, and rich need not be imported
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
app.command(short_help="Train a small student to imitate a teacher.")(distill)
app.command(short_help="Look at a teacher before imitating it.")(inspect)
app.command(short_help="Run the teacher once and keep what it says.")(cache)
app.command(short_help="Write a student as an ONNX bundle.")(export)
app.command(short_help="Measure error rate, speed and size of bundles.")(bench)
app.command(short_help="Turn audio files into text.")(transcribe)
app.command(short_help="Train and score many settings with many seeds.")(compare)
app.command(short_help="Watch all of it on the shipped teacher and audio.")(demo)
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


def main() -> None:
    """Run the command line; an expected failure is one line on standard error."""
    # Left alone, SIGTERM skips every `finally`, and half-written directories would stay behind.
    with suppress(ValueError):  # not in the main thread: the host program owns the signals
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        try:
            app()
        finally:
            sys.stdout.flush()  # a full disk or a closed pipe shows here rather than after the last handler
    except KdcompressError as error:
        _fail(str(error))
    except BrokenPipeError:
        _forget_stdout()
        sys.exit(1)
    except OSError as error:
        _forget_stdout()
        _fail(_what_the_system_refused(error))
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _TRAIN:
            raise
        _fail(str(MissingExtra(package, "train", "this command")))
    except KeyboardInterrupt:
        sys.exit(130)


def _fail(message: str) -> NoReturn:
    from kdcompress.cli.render import show_error

    show_error(message)
    sys.exit(1)


def _what_the_system_refused(error: OSError) -> str:
    reason = (error.strerror or str(error) or type(error).__name__).lower()
    named = [str(name) for name in (error.filename, error.filename2) if name is not None]
    return f"{reason}: {' -> '.join(named)}" if named else reason


def _forget_stdout() -> None:
    """Let the interpreter's last flush succeed, so that it has nothing more to complain about."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
