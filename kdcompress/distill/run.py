"""The run directory: what it holds, how it is begun, and how it is taken up again.

runs/NAME/  recipe.yaml  environment.json  [tokenizer.model]  [cut/]  data/  metrics.jsonl  skipped.jsonl
            checkpoints/  best  last
"""

import hashlib
import json
import os
import platform
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from kdcompress import __version__, locks
from kdcompress.audio.manifest import BadFile
from kdcompress.audio.utterance import Utterance
from kdcompress.config.recipe import Recipe, dump_recipe, make_recipe, merge, read_layers
from kdcompress.errors import ConfigError, RunError, TooManyBadFiles
from kdcompress.files import remove_leftovers, write_file
from kdcompress.students.weights import RECORD, find_checkpoint

_LIBRARIES = ("torch", "torchaudio", "transformers", "accelerate", "lhotse", "numpy", "soundfile", "soxr")
_LEFT = ("skipped.jsonl", "out_of_range.jsonl", "tokenizer.model")
_RECIPE_DIGEST = "recipe_sha256"
_EARLIER = {"training": {"optimizer": "adamw"}}  # what recipes did not say when nothing else could be meant
_INPUTS = "inputs"  # the key of environment.json that says that there is a record of them
_BEFORE_TRAINING = {"recipe.yaml", "environment.json", "data", "cut", locks.NAME, *_LEFT}


@dataclass
class Run:
    """A run directory open for training.

    Attributes:
        bad: files that were left out, and why.
        writes: False in the processes of a distributed run that leave the files to the first one.
        keeps_inputs: it was begun by a version that records what it reads, and goes on.
    """

    folder: Path
    bad: dict[Path, str] = field(default_factory=dict)
    writes: bool = True
    keeps_inputs: bool = False

    @classmethod
    def create(cls, folder: Path, recipe: Recipe) -> "Run":
        """Begin a run.

        Raises:
            RunError: the directory exists and is not empty, or cannot be written.
        """
        check_vacant(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            text = dump_recipe(recipe)
            about = environment() | {_RECIPE_DIGEST: _sha256(text), _INPUTS: "data/inputs.json"}
            write_file(folder / "environment.json", json.dumps(about, indent=1) + "\n")
            write_file(folder / "recipe.yaml", text)
            for left in _LEFT:
                (folder / left).unlink(missing_ok=True)
        except OSError as error:
            raise RunError(
                f"cannot write the run directory {folder}: {error.strerror}; choose another --out"
            ) from error
        return cls(folder)

    @classmethod
    def resume(cls, folder: Path, recipe: Recipe | None) -> tuple["Run", Recipe]:
        """Take up a run with its own recipe.

        Raises:
            RunError: there is no run in the folder, or its recipe was altered.
            ConfigError: another recipe was given; the loss trajectory would not go on but break.
        """
        path = folder / "recipe.yaml"
        if not path.is_file():
            raise RunError(
                f"nothing to resume in {folder}: it has no recipe.yaml; start the run without --resume"
            )
        about = _environment_of(folder, path)
        own = make_recipe(merge(_EARLIER, read_layers(path)), (), str(path))
        if recipe is not None and recipe != own:
            key = _first_difference(own.model_dump(mode="json"), recipe.model_dump(mode="json"))
            raise ConfigError(
                f"--resume goes on with the run's own recipe, and {key} was given anew; leave it out"
            )
        run = cls(folder, keeps_inputs=_INPUTS in about)
        if run.skipped.is_file():
            for entry in _whole_lines(run.skipped, "path", "reason"):
                run.bad[Path(entry["path"])] = entry["reason"]
        return run, own

    @property
    def skipped(self) -> Path:
        """The list of files that were left out, with reasons."""
        return self.folder / "skipped.jsonl"

    @property
    def out_of_range(self) -> Path:
        """The list of utterances that are shorter or longer than the recipe trains on."""
        return self.folder / "out_of_range.jsonl"

    @property
    def metrics(self) -> Path:
        """One JSON object a line: training and validation figures by step."""
        return self.folder / "metrics.jsonl"

    def log(self, figures: Mapping[str, Any]) -> None:
        """Append a line to metrics.jsonl."""
        if not self.writes:
            return
        with open(self.metrics, "a", encoding="utf-8") as file:
            file.write(json.dumps(figures) + "\n")

    def forget_after(self, step: int) -> None:
        """Drop the metrics of steps that a resumed run repeats."""
        if self.metrics.is_file():
            kept = [line for line in _whole_lines(self.metrics, "step") if line["step"] <= step]
            write_file(self.metrics, "".join(json.dumps(line) + "\n" for line in kept))

    def skip(self, bad: Iterable[BadFile], total: int, allowed_share: float) -> None:
        """List unusable files, and give up when they are too many.

        Raises:
            TooManyBadFiles: more than the allowed share of `total` files.
        """
        fresh = [entry for entry in bad if entry.path not in self.bad]
        if not fresh:
            return
        self.bad |= {entry.path: entry.reason for entry in fresh}
        entries = ({"path": str(path), "reason": reason} for path, reason in self.bad.items())
        self._write_lines(self.skipped, entries)
        if len(self.bad) > allowed_share * total:
            raise TooManyBadFiles(
                f"{len(self.bad)} of {total} audio files are unusable, more than data.max_bad_share "
                f"{allowed_share:.0%} allows; first: {fresh[0].path}: {fresh[0].reason}; all: {self.skipped}"
            )

    def note_out_of_range(self, utterances: Sequence[Utterance]) -> None:
        """List utterances that are shorter or longer than the recipe trains on."""
        if utterances:
            entries = ({"id": u.id, "duration": round(u.duration, 3)} for u in utterances)
            self._write_lines(self.out_of_range, entries)

    def _write_lines(self, path: Path, entries: Iterable[Mapping[str, Any]]) -> None:
        if self.writes:
            lines = (json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries)
            write_file(path, "".join(lines))


def check_vacant(folder: Path) -> None:
    """Refuse a directory that holds something: cheap, so it comes before the teacher is loaded.

    What a run leaves that ended before its first step does not count: nothing is lost in trying again.

    Raises:
        RunError: the directory exists and is not empty.
    """
    remove_leftovers(folder)
    if folder.exists() and (
        not folder.is_dir() or {path.name for path in folder.iterdir()} - _BEFORE_TRAINING
    ):
        raise RunError(f"{folder} exists already: choose another --out, or go on with it by --resume")


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _environment_of(folder: Path, recipe: Path) -> dict[str, Any]:
    """Return what environment.json says, whose digest of the recipe must be that of the recipe there is."""
    record = folder / "environment.json"
    if not record.is_file():
        if not _has_digests(folder):
            return {}  # earlier versions wrote it behind the recipe
        raise RunError(
            f"cannot resume {folder}: environment.json is missing, which tells whether recipe.yaml is as it "
            f"was; restore it, or begin a new run with training.start_from={folder}"
        )
    try:
        about = json.loads(record.read_text(encoding="utf-8"))
        expected = about.get(_RECIPE_DIGEST)  # None before there were digests
        found = expected and _sha256(recipe.read_text(encoding="utf-8"))
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise RunError(
            f"cannot resume {folder}: environment.json or recipe.yaml is damaged ({reason}); restore it"
        ) from error
    if found != expected:
        raise RunError(
            f"cannot resume {folder}: recipe.yaml is not what the run began with: it was altered or cut "
            "short; restore it, or start a new run with it"
        )
    return dict(about)


def _has_digests(run: Path) -> bool:
    """Tell whether the last checkpoint is of a version that writes digests, which keeps environment.json."""
    try:
        record = find_checkpoint(run, "last") / RECORD
        return "digests" in json.loads(record.read_text(encoding="utf-8"))
    except (RunError, OSError, ValueError, TypeError, RecursionError):
        return False


def _whole_lines(path: Path, *keys: str) -> Iterator[dict[str, Any]]:
    """Yield the records of a JSON lines file; what a kill, a full disk or a power cut spoiled is left out."""
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict) and all(key in record for key in keys):
            yield record


def environment() -> dict[str, Any]:
    """Return what a reader needs to know of the machine to repeat a run."""
    versions: dict[str, str | None] = {}
    for name in _LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = None
    return {
        "kdcompress": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processors": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "libraries": versions,
        "command": " ".join(["kdcompress", *sys.argv[1:]]),
    }


def _first_difference(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> str:
    for key, value in old.items():
        other = new.get(key)
        if value != other:
            if isinstance(value, Mapping) and isinstance(other, Mapping):
                return _first_difference(value, other, f"{prefix}{key}.")
            return f"{prefix}{key}"
    return f"{prefix}{next(iter(set(new) - set(old)), '')}"
