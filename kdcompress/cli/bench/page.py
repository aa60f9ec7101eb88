"""The pages of `kdcompress bench`: a report, just measured or read back, as HTML and Markdown."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

if TYPE_CHECKING:
    from kdcompress.report.record import Report

Html: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--html",
        metavar="FILE",
        help="Write one page with plots, tables and the worst utterances; it needs no network.",
    ),
]
Markdown: TypeAlias = Annotated[
    Path | None,
    typer.Option("--markdown", metavar="FILE", help="Write the same tables as Markdown, for a comment."),
]
Worst: TypeAlias = Annotated[
    int, typer.Option("--worst", min=0, metavar="N", help="Worst utterances on the pages; 0 shows none.")
]
NoSound: TypeAlias = Annotated[
    bool, typer.Option("--no-sound", help="Leave the audio of the worst utterances out of the page.")
]
Saved: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--report",
        metavar="FILE",
        help="Measure nothing: make --html and --markdown of what --json wrote. Takes no bundles.",
    ),
]


@dataclass(frozen=True)
class Pages:
    """Which pages are wanted; None writes none.

    Attributes:
        worst: how many of the worst utterances are shown.
        sound: put their audio into the HTML, where it is at hand.
    """

    html: Path | None
    markdown: Path | None
    worst: int
    sound: bool

    def check(self) -> None:
        """Find out before minutes of measuring whether they can be written.

        Raises:
            BenchError: one of them cannot.
        """
        from kdcompress.report.record import check_writable

        for path in (self.html, self.markdown):
            if path is not None:
                check_writable(path)

    def write(self, report: "Report") -> None:
        """Write those that are wanted."""
        from kdcompress.files import write_file

        if self.html is not None:
            from kdcompress.report.pages.html.page import render_html

            write_file(self.html, render_html(report, worst=self.worst, audio=self.sound))
        if self.markdown is not None:
            from kdcompress.report.pages.markdown import render_markdown

            write_file(self.markdown, render_markdown(report, worst=self.worst))


def write_saved(saved: Path, pages: Pages) -> None:
    """Write the pages of a report that was measured before.

    Raises:
        BenchError: there is no such report, or a page cannot be written.
    """
    from kdcompress.report.record import read_report

    if pages.html is None and pages.markdown is None:
        raise typer.BadParameter(
            "into what? Give --html FILE, --markdown FILE or both", param_hint="--report"
        )
    pages.check()
    pages.write(read_report(saved))
