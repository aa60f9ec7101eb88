"""What the commands share on the terminal: where lines go, bars with ETA, the table of a benchmark."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

    from kdcompress.report.record import Report

# Without a terminal nobody wraps the lines of a table: give it the room that it needs.
_WIDTH_OF_FILES = 170


def console(stderr: bool = False) -> "Console":
    """Return a console; results go to standard output, everything else to standard error."""
    from kdcompress.cli.screen import Console

    made = Console(stderr=stderr, highlight=False, soft_wrap=False)
    if not made.is_terminal:
        made.width = max(made.width, _WIDTH_OF_FILES)
    return made


def show_error(message: str) -> None:
    """Print one line on standard error and go on."""
    from rich.text import Text

    line = Text.assemble(("error: ", "bold red"), " ".join(message.split()))
    console(stderr=True).print(line, soft_wrap=True)


@contextmanager
def progress_bars() -> "Iterator[Progress]":
    """Show bars with time left on standard error while the block runs, if it is a terminal."""
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    bars = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        console=console(stderr=True),
        transient=True,
        # Redirected, what a command writes to standard output would end up on standard error.
        redirect_stdout=False,
        disable=not sys.stderr.isatty(),
    )
    with bars:
        yield bars


def render_report(report: "Report", *, times: bool) -> None:
    """Print a report on standard output: its times, or without them what the texts alone say."""
    from kdcompress.report.table import ReportTables

    console().print(ReportTables(report, times=times))


def show_note(message: str) -> None:
    """Print a line that is no error on standard error."""
    console(stderr=True).print(f"note: {message}", markup=False, soft_wrap=True)
