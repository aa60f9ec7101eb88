"""How the `kdcompress` command starts, and how its errors reach the user.

Reading options takes longer than hearing a short recording: typer, and pydantic behind it, were a third of
the time of `kdcompress transcribe BUNDLE FILE` from a cold start. So the one command that stands in loops of
other programs does without them where it is given no options.
"""

import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from kdcompress.errors import KdcompressError, MissingExtra

# What the extra `train` brings: a command that imports one of these without it says how to install it.
_TRAIN = frozenset(
    {"accelerate", "lhotse", "matplotlib", "onnxscript", "safetensors", "torch", "torchaudio", "transformers"}
)

# On Windows a shell leaves patterns of file names to the command.
_SHELL_EXPANDS = os.name != "nt"


def main() -> None:
    """Run the command line; an expected failure is one line on standard error."""
    # Left alone, SIGTERM skips every `finally`, and half-written directories would stay behind.
    with suppress(ValueError):  # not in the main thread: the host program owns the signals
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        try:
            _run(sys.argv[1:])
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


def _run(arguments: Sequence[str]) -> None:
    if arguments[:1] == ["transcribe"] and len(arguments) > 2 and _SHELL_EXPANDS:
        bundle, *files = arguments[1:]
        if all(arguments) and not any(argument.startswith("-") for argument in arguments):
            from kdcompress.cli.transcription import write_transcripts

            sys.exit(write_transcripts(Path(bundle), [Path(file) for file in files]))
    from kdcompress.cli.app import app

    app()


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
