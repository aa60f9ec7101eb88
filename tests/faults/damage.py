"""Damaged copies of what kdcompress writes, and what its openers make of them."""

import hashlib
import json
import random
import re
import resource
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch

from kdcompress.audio.manifest import read_texts, read_utterances
from kdcompress.config.comparison import load_comparison
from kdcompress.config.recipe import load_recipe
from kdcompress.distill.checkpoint import load_checkpoint
from kdcompress.distill.inputs import Inputs
from kdcompress.distill.objective.prior import load_prior
from kdcompress.distill.optim import make_optimizer
from kdcompress.distill.posteriors.cache import open_cache
from kdcompress.distill.run import Run
from kdcompress.errors import KdcompressError, RunError
from kdcompress.files import _remove_leftovers_once
from kdcompress.report.record import read_report
from kdcompress.runtime.recognizer import Recognizer
from kdcompress.students.weights import load_student

LONGEST = 1500  # characters of an error
SECONDS = 20  # for one opener
FOREIGN = (
    "", " ", "null", "[]", "{}", "0", '"x"', "[[]]", '{"schema": 1}', '{"schema": 99}', "true", "NaN",
    '{"kind": "kdcompress-bundle"}', "---\n- 1\n", "a: &a [*a]\n", "\x00", "\ufeff{}",
)  # fmt: skip
DEEP = ("[" * 100_000, '{"a":' * 100_000, "- " * 20_000, "[" * 5_000 + "]" * 5_000)
NUMBERS = ("9" * 400, "1e308", "-1", "1e-400", "9" * 5000, "NaN", "-Infinity", "2147483648", "0", "true")

KINDS = (
    "bit", "bit", "byte", "bytes", "cut", "cut", "appended", "inserted", "zeros", "removed",
    "foreign", "deep",
    "number", "number", "word", "twice", "gone",
)  # fmt: skip


@dataclass(frozen=True)
class Artifact:
    """Something on the disk, and how it is read.

    Attributes:
        place: a file or a folder.
        files: which files of it are damaged, as patterns.
        read: returns all that a caller would go on with, given the place.
        checked: whether a value that is not what was written must be refused; nothing tells that of files
            that people write, nor of logs.
    """

    name: str
    place: Path
    files: tuple[str, ...]
    read: Callable[[Path], Any]
    checked: bool = True


def student(place: Path) -> Any:
    found = load_student(place)
    return found.fingerprint, found.record, _weights(found.model.state_dict())


def resumed(place: Path) -> Any:
    """Read what `distill --resume` reads."""
    run, recipe = Run.resume(place, None)
    found = load_student(place / "checkpoints" / "step-000002")
    optimizer = make_optimizer(found.model, recipe.training)
    state = load_checkpoint(place, found.model, optimizer)
    moved = {
        f"{index}/{name}": value
        for index, entries in optimizer.state_dict()["state"].items()
        for name, value in entries.items()
    }
    inputs = Inputs.read(place)
    if inputs is None and run.keeps_inputs:
        raise RunError("what --resume says")
    assert inputs is None or isinstance(inputs.changes(inputs), list)
    prior = load_prior(place / "data" / "prior.json")
    return (
        vars(state),
        _weights(moved),
        recipe.model_dump(mode="json"),
        inputs,
        sorted(run.bad),
        prior.tolist(),
    )


def logs(place: Path) -> Any:
    Run(place).forget_after(2)
    Run.resume(place, None)


def cache(place: Path) -> Any:
    source = open_cache(place, torch.device("cpu"))
    digest = hashlib.sha256()
    for key in sorted(source._places):
        digest.update(source._read(*key, "").numpy().tobytes())
    return source.record.model_dump(mode="json"), digest.hexdigest()


def bundle(place: Path) -> Any:
    found = []
    sound = 0.3 * np.sin(2 * np.pi * 500 * np.arange(8000) / 16_000).astype(np.float32)
    for variant in ("fp32", "int8-dynamic"):
        recognizer = Recognizer(place, variant, threads=1)
        log_probs = recognizer.log_probs([recognizer.features(sound)])[0]
        found.append((recognizer.transcribe(sound).text, hashlib.sha256(log_probs.tobytes()).hexdigest()))
    return recognizer.bundle.to_json(), found


def report(place: Path) -> Any:
    return read_report(place).model_dump(mode="json")


def manifest(place: Path) -> Any:
    return len(read_utterances(place)[0]), len(read_texts(place))


def comparison(place: Path) -> Any:
    return load_comparison(place)


def recipe_file(place: Path) -> Any:
    return load_recipe(place)


def damaged(content: bytes, draw: random.Random) -> tuple[str, bytes | None]:
    """Return a kind of damage and the content after it; None is a file that is gone."""
    kind = draw.choice(KINDS)
    size = max(1, len(content))
    at = draw.randrange(size) if draw.random() < 0.6 else min(size - 1, int(draw.expovariate(1 / 200)))
    some = bytearray(content or b"\0")
    if kind == "bit":
        some[at] ^= 1 << draw.randrange(8)
    elif kind == "byte":
        some[at] = draw.randrange(256)
    elif kind == "bytes":
        some[at : at + 8] = draw.randbytes(8)
    elif kind == "cut":
        del some[at:]
    elif kind == "appended":
        some += draw.choice((b"\0", b"x", b"\n", b"}", draw.randbytes(100)))
    elif kind == "inserted":
        some[at:at] = draw.choice((b"\0", b"\xff", b"9", b'"', b"\xed\xa0\x80", b"\n"))
    elif kind == "zeros":
        some[at : at + 512] = bytes(len(some[at : at + 512]))
    elif kind == "removed":
        del some[at : at + draw.randrange(1, 64)]
    elif kind == "foreign":
        return kind, draw.choice(FOREIGN).encode()
    elif kind == "deep":
        return kind, draw.choice(DEEP).encode()
    elif kind in {"number", "word"}:
        pattern = rb"-?\d+(?:\.\d+)?(?:e-?\d+)?" if kind == "number" else rb"[A-Za-z_]{3,}"
        found = list(re.finditer(pattern, content[:200_000]))
        if found:
            chosen = draw.choice(found)
            new = draw.choice(NUMBERS) if kind == "number" else draw.choice(("null", "other", "1", "ä"))
            some[chosen.start() : chosen.end()] = new.encode()
        else:
            some[at] ^= 255
    elif kind == "twice":
        some = some * 2
    else:
        return kind, None
    return kind, bytes(some)


@dataclass(frozen=True)
class Outcome:
    """What became of one damaged copy.

    Attributes:
        verdict: refused, same, other (accepted with another value), or what was raised.
    """

    number: int
    artifact: str
    file: str
    damage: str
    verdict: str
    detail: str = ""

    @property
    def is_fault(self) -> bool:
        return self.verdict not in {"refused", "same", "unchecked"}


class Campaign:
    """Damage after damage to copies of some artifacts; variant k depends on k alone."""

    def __init__(self, artifacts: list[Artifact], work: Path) -> None:
        self.artifacts, self.work = artifacts, work
        self.expected = {artifact.name: _plain(artifact.read(artifact.place)) for artifact in artifacts}

    def attempt(self, number: int) -> Outcome:
        """Damage a file of one artifact, and read it."""
        draw = random.Random(number)
        artifact = self.artifacts[number % len(self.artifacts)]
        copy = self.work / artifact.place.name
        shutil.rmtree(copy, ignore_errors=True)
        copy.unlink(missing_ok=True)
        if artifact.place.is_dir():
            shutil.copytree(artifact.place, copy)
            victim = draw.choice(sorted(p for pattern in artifact.files for p in copy.glob(pattern)))
        else:
            victim = Path(shutil.copy(artifact.place, copy))
        before = victim.read_bytes()
        damage, content = damaged(before, draw)
        if content is None:
            victim.unlink()
        else:
            victim.write_bytes(content)
        _remove_leftovers_once.cache_clear()
        known = number, artifact.name, victim.name, damage
        try:
            with _alarm():
                value = _plain(artifact.read(copy))
        except KdcompressError as error:
            text = str(error)
            if "\n" in text or len(text) > LONGEST:
                return Outcome(*known, "not one line", text[:300])
            return Outcome(*known, "refused")
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            return Outcome(*known, type(error).__name__, str(error)[:300])
        if not artifact.checked:
            return Outcome(*known, "unchecked")
        same = value == self.expected[artifact.name]
        return Outcome(
            *known,
            "same" if same else "other",
            "" if same else _difference(value, self.expected[artifact.name]),
        )


def limit_memory(gigabytes: int) -> None:
    """Let a file that asks for too much memory end in an error, not in the machine's."""
    resource.setrlimit(resource.RLIMIT_AS, (gigabytes << 30, gigabytes << 30))


@contextmanager
def _alarm() -> Iterator[None]:
    def late(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"more than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _weights(tensors: dict[str, torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode() + tensors[name].numpy().tobytes())
    return digest.hexdigest()


def _plain(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=repr)


def _difference(one: str, other: str) -> str:
    at = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), 0)
    return f"{one[max(0, at - 40) : at + 40]!r} for {other[max(0, at - 40) : at + 40]!r}"
