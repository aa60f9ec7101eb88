"""What other people's runtimes make of a bundle: each in its own process, since some end it on errors."""

import importlib.metadata
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jiwer

from kdcompress.config.profile import Consumer
from kdcompress.resources import consumer_path
from kdcompress.runtime.bundle import Bundle, Variant

_TIMEOUT = 600  # [s] per runtime and variant
_NOT_THERE = 77  # a program's exit code where what it runs on is missing, as in automake's tests
_PROBE = "import importlib.metadata, sys; print(importlib.metadata.version(sys.argv[1]))"

SAME_LIMIT = 0.02
"""Share of characters that may differ where both sides compute the same features: rounding tips a frame."""
OWN_LIMIT = 0.1
"""The same where the runtime has its own definition of them; judged on the user's audio only."""


@dataclass(frozen=True)
class ConsumerRun:
    """What came back from a runtime.

    Attributes:
        texts: in the order of the recordings; None where it could not be run.
        failure: why not.
        version: of the package; None where it is not installed, which is no failure.
    """

    texts: tuple[str, ...] | None = None
    failure: str = ""
    version: str | None = None


def run_consumer(
    consumer: Consumer, bundle: Bundle, variant: Variant, manifest: Path, pythons: Mapping[str, Path]
) -> ConsumerRun:
    """Let a runtime transcribe the recordings of a manifest with its smallest program.

    Args:
        pythons: interpreters by runtime, for those whose requirements conflict with ours.
    """
    python = str(pythons.get(consumer.runtime, sys.executable))
    try:
        program = consumer_path(consumer.program)
        if consumer.package is None:
            version, missing = _told_version(python, program)
        else:
            version, missing = _version(consumer.package, python), f"{consumer.package} is not installed"
        if version is None:
            return ConsumerRun(failure=missing)
        command = [
            python,
            "-I",
            program,
            bundle.directory.resolve(),
            *_precision(variant),
            "--manifest",
            manifest,
        ]
        done = subprocess.run(
            list(map(str, command)), capture_output=True, text=True, timeout=_TIMEOUT, check=False
        )
        if done.returncode:
            return ConsumerRun(
                failure=f"exit code {done.returncode}: {_last_line(done.stderr)}", version=version
            )
        return ConsumerRun(
            tuple(str(json.loads(x)["text"]) for x in done.stdout.splitlines()), version=version
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return ConsumerRun(failure=" ".join(str(error).split()), version="unknown")
    except (ValueError, KeyError, TypeError):
        return ConsumerRun(failure=f"it printed no transcripts: {done.stdout[:100]!r}", version=version)


def character_difference(ours: Sequence[str], theirs: Sequence[str]) -> float:
    """Return the edits that turn our texts into theirs, per character of ours; 0 where all are equal."""
    if list(ours) == list(theirs):
        return 0.0
    # One text of all of them: an utterance without a text of ours has no rate of its own.
    return float(jiwer.cer("|".join(["", *ours, ""]), "|".join(["", *theirs, ""])))


def _precision(variant: Variant) -> list[str]:
    parts = variant.file.split(".")  # model.onnx, model.int8.onnx
    return ["--precision", parts[1]] if len(parts) > 2 else []


def _told_version(python: str, program: Path) -> tuple[str | None, str]:
    """Ask a program for the version of what it runs on; returns None and why where there is none."""
    command = [python, "-I", str(program), "--version"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT, check=False)
    if done.returncode == _NOT_THERE:
        return None, _last_line(done.stderr)
    return done.stdout.strip() or "unknown", ""


def _last_line(said: str) -> str:
    return (said.strip().splitlines() or ["it said nothing"])[-1][:200]


def _version(package: str, python: str) -> str | None:
    if python != sys.executable:
        command = [python, "-I", "-c", _PROBE, package]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return None if done.returncode else done.stdout.strip()
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
