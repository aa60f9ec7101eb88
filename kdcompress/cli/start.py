"""How the `kdcompress` command starts, and how its errors reach the user.

Reading options takes longer than hearing a short recording: typer, and pydantic behind it, were a third of
the time of `kdcompress transcribe BUNDLE FILE` from a cold start. So the one command that stands in loops of
other programs does without them where all it is given is paths and the options that programs give.
"""

import codecs
import errno
import io
import json
import os
import re
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from kdcompress.errors import KdcompressError, MissingExtra

# What the extra `train` brings: a command that imports one of these without it says how to install it.
_TRAIN = frozenset(
    {"accelerate", "lhotse", "matplotlib", "onnxscript", "safetensors", "torch", "torchaudio", "transformers"}
)

# What programs ask for: the parameter of `write_transcripts`, and the values that need no explanation.
_OPTIONS = {
    "--format": ("chosen", "text|json|jsonl"),
    "--variant": ("variant", "[a-z][a-z0-9-]*"),
    "--threads": ("threads", "[1-9][0-9]{0,3}"),
}
# On Windows a shell leaves patterns of file names to the command.
_SHELL_EXPANDS = os.name != "nt"


def main() -> None:
    """Run the command line; an expected failure is one line on standard error."""
    _replace_closed_streams()
    _let_every_character_pass()
    _let_no_line_end_the_work()
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
        from kdcompress.files import what_was_refused

        _forget_stdout()
        if error.errno == errno.ENOSPC and error.filename is None:  # files are named by who writes them
            error = OSError(error.errno, error.strerror, "standard output")
        _fail(what_was_refused(error))
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _TRAIN:
            raise
        _fail(str(MissingExtra(package, "train", "this command")))
    except KeyboardInterrupt:
        sys.exit(130)


def _replace_closed_streams() -> None:
    """Put nothing where a shell's `>&-` left no stream, so that no file of ours gets its number."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free, which is this one
        if getattr(sys, name) is None:
            nothing = os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, os.fdopen(nothing, "w" if number else "r", encoding="utf-8"))


class _Lossy(io.FileIO):
    """A file that takes what cannot be written for written."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data) or 0
        except OSError:
            return len(memoryview(data).cast("B"))


def _let_no_line_end_the_work() -> None:
    """Drop lines of standard error that nobody reads any more: a training, or texts of other files, go on."""
    stream = sys.stderr
    if stream is sys.__stderr__ and isinstance(stream, io.TextIOWrapper):  # not a test's or a host program's
        stream.flush()
        raw = io.BufferedWriter(_Lossy(stream.fileno(), "wb", closefd=False))
        sys.stderr = io.TextIOWrapper(
            raw, encoding=stream.encoding, errors=stream.errors, line_buffering=True, write_through=True
        )


def _let_every_character_pass() -> None:
    """Give standard output an encoding that ends no command, whatever a transcript or a file's name holds.

    Files and pipes get UTF-8 unless PYTHONIOENCODING says otherwise. What an encoding lacks is written as
    JSON escapes it, so that JSON stays JSON.
    """
    codecs.register_error("json-escape", _json_escape)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # not what a test or a host program put there
            chosen = stream.isatty() or "PYTHONIOENCODING" in os.environ
            stream.reconfigure(encoding=None if chosen else "utf-8", errors="json-escape")


def _json_escape(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(json.dumps(c)[1:-1] for c in error.object[error.start : error.end]), error.end


def _run(arguments: Sequence[str]) -> None:
    simple = _simple(arguments[1:]) if arguments[:1] == ["transcribe"] and _SHELL_EXPANDS else None
    if simple is not None:
        from kdcompress.audio.sources import find_sources
        from kdcompress.cli.transcribe.recordings import write_transcripts

        (bundle, *named), options = simple
        sys.exit(write_transcripts(bundle, list(find_sources(named)), **options))
    from kdcompress.cli.app import app

    app()


def _simple(arguments: Sequence[str]) -> tuple[list[Path], dict[str, Any]] | None:
    """Return paths and options of `transcribe`, each once and none wrong; None leaves them to typer."""
    paths: list[Path] = []
    options: dict[str, Any] = {}
    rest = iter(arguments)
    for argument in rest:
        if argument and not argument.startswith("-"):
            paths.append(Path(argument))
            continue
        name, value = ("--format", "jsonl") if argument == "--json" else (argument, next(rest, ""))
        taken = _OPTIONS.get(name)
        if taken is None or taken[0] in options or not re.fullmatch(taken[1], value):
            return None
        options[taken[0]] = int(value) if name == "--threads" else value
    return (paths, options) if len(paths) > 1 else None


def _fail(message: str) -> NoReturn:
    from kdcompress.cli.render import show_error

    show_error(message)
    sys.exit(1)


def _forget_stdout() -> None:
    """Let the interpreter's last flush succeed, so that it has nothing more to complain about."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
