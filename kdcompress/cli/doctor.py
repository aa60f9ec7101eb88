"""`kdcompress doctor`: what this machine and this installation can do."""

import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from kdcompress.diagnosis.check import Check

_COLOURS = {"ok": "green", "warn": "yellow", "bad": "bold red"}


def doctor(
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print JSON for a bug report: no personal paths, no user or host name."),
    ] = False,
) -> None:
    """Show what this machine and this installation can do, and what to do where they cannot.

    Cores, CPU quota and who else computes, instructions, memory, GPU, packages and extras, whether
    onnxruntime and torch really run, audio formats, disk space and write access: each is tried, which takes
    some seconds.
    Nothing is changed. The exit code is 1 if something is broken.

    \b
    Examples:
      kdcompress doctor
      kdcompress doctor --json > report.json
    """
    from kdcompress.diagnosis.report import examine

    checks = []
    for check in examine():
        checks.append(check)
        if not as_json:
            _show(check)
    if as_json:
        from kdcompress import __version__

        data = {"schema": 1, "version": __version__, "checks": [check.to_json() for check in checks]}
        sys.stdout.write(json.dumps(data, indent=1, ensure_ascii=False) + "\n")
    if any(check.state == "bad" for check in checks):
        raise typer.Exit(1)


def _show(check: "Check") -> None:
    from rich.text import Text

    from kdcompress.cli.render import console

    line = Text.assemble((f"{check.state:<5}", _COLOURS[check.state]), f"{check.topic:<22}", check.found)
    if check.advice:
        line.append(f"\n{'':<27}→ {check.advice}")
    console().print(line, soft_wrap=True)
