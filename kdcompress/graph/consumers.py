"""What other people's runtimes make of a bundle: each in its own process, since some end it on errors."""

import importlib.util
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
_PROBE = "import importlib.util, sys; sys.exit(importlib.util.find_spec(sys.argv[1]) is None)"

SAME_LIMIT = 0.02
"""Share of characters that may differ where both sides compute the same features: rounding tips a frame."""
OWN_LIMIT = 0.1
"""The same where the runtime has its own definition of them; judged on the user's audio only."""


@dataclass(frozen=True)
class Heard:
    """What came back from a runtime.

    Attributes:
        texts: in the order of the recordings; None where it could not be run.
        failure: why not.
        missing: it is not installed, which is no failure.
    """

    texts: tuple[str, ...] | None = None
    failure: str = ""
    missing: bool = False


def listen(
    consumer: Consumer, bundle: Bundle, variant: Variant, manifest: Path, pythons: Mapping[str, Path]
) -> Heard:
    """Let a runtime transcribe the recordings of a manifest with its smallest program.

    Args:
        pythons: interpreters by runtime, for those whose requirements conflict with ours.
    """
    python = str(pythons.get(consumer.runtime, sys.executable))
    try:
        if not _installed(consumer.module, python):
            return Heard(failure="not installed", missing=True)
        program = consumer_path(consumer.program)
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
    except (OSError, subprocess.TimeoutExpired) as error:
        return Heard(failure=" ".join(str(error).split()))
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        return Heard(failure=f"exit code {done.returncode}: {last[:200]}")
    try:
        texts = tuple(str(json.loads(line)["text"]) for line in done.stdout.splitlines())
    except (ValueError, KeyError, TypeError):
        return Heard(failure=f"it printed no transcripts: {done.stdout[:100]!r}")
    return Heard(texts)


def character_difference(ours: Sequence[str], theirs: Sequence[str]) -> float:
    """Return the edits that turn our texts into theirs, per character of ours; 0 where all are equal."""
    if list(ours) == list(theirs):
        return 0.0
    # One text of all of them: an utterance in which we heard nothing has no rate of its own.
    return float(jiwer.cer("|".join(["", *ours, ""]), "|".join(["", *theirs, ""])))


def _precision(variant: Variant) -> list[str]:
    parts = variant.file.split(".")  # model.onnx, model.int8.onnx
    return ["--precision", parts[1]] if len(parts) > 2 else []


def _installed(module: str, python: str) -> bool:
    if python != sys.executable:
        done = subprocess.run([python, "-I", "-c", _PROBE, module], capture_output=True, check=False)
        return done.returncode == 0
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # its parent is missing
        return False
