"""`kdcompress demo`: the whole chain on what ships with the package."""

import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer


def demo(
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder for the run and the bundle; a new temporary one unless given."),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override any value of the recipe demo; repeatable."),
    ] = None,
) -> None:
    """Watch a teacher become a small int8 ONNX student: distill, export, quantize, bench.

    Needs the extra [train], but no network and no GPU; takes minutes on two cores. The teacher, 40 minutes
    of untranscribed audio and a transcribed test of voices that nobody was trained on ship with the package.
    Each step is a command of its own, printed before it runs.

    \b
    Examples:
      kdcompress demo
      kdcompress demo --out demo --set training.steps=200
    """
    from kdcompress.resources import resource_dir

    home = Path(tempfile.mkdtemp(prefix="kdcompress-demo-")) if out is None else out
    run, bundle = str(home / "run"), str(home / "bundle")
    shipped = resource_dir("recipes") / "demo"
    audio, test = str(shipped / "train.jsonl"), str(shipped / "test.jsonl")
    overrides = [part for item in set_ or [] for part in ("--set", item)]

    _run("distill", "demo", "--out", run, *overrides)
    _run("export", run, "--out", bundle, "--quantize", "int8-dynamic", "--audio", audio)
    _run("bench", bundle, "--manifest", test, "--teacher", str(shipped / "teacher"), "--repeats", "3")
    _run("transcribe", bundle, str(shipped / "start.opus"))


def _run(*arguments: str) -> None:
    """Run a command as a user would: in a process of its own, with the threads that it asks for."""
    typer.secho(f"\n$ kdcompress {shlex.join(arguments)}", err=True, bold=True)
    code = subprocess.run([sys.executable, "-m", "kdcompress", *arguments], check=False).returncode
    if code:
        raise typer.Exit(code)
