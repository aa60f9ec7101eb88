"""Keep a student: `model.safetensors` and `student.json`, which together rebuild it.

A run directory holds `best` and `last`, small text files that name a folder below `checkpoints/`.
"""

import hashlib
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from kdcompress.config.student import STUDENTS
from kdcompress.digests import altered_file
from kdcompress.errors import ConfigError, RunError
from kdcompress.files import write_file
from kdcompress.students.student import Student, build_student
from kdcompress.text.vocabulary import Vocabulary

SCHEMA = 1
WEIGHTS = "model.safetensors"
RECORD = "student.json"


@dataclass(frozen=True)
class LoadedStudent:
    """A student from disk, in eval mode.

    Attributes:
        record: what student.json has beside the shape: step, figures, teacher, parameters.
        fingerprint: twelve hex digits of the weights and the vocabulary.
        folder: the checkpoint directory it came from.
    """

    model: Student
    vocabulary: Vocabulary
    record: dict[str, Any]
    fingerprint: str
    folder: Path


def save_student(
    folder: Path,
    model: Student,
    vocabulary: Vocabulary,
    record: dict[str, Any],
    *,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write weights and record into `folder`, which the caller renames into place when complete.

    Args:
        dtype: of the weights on disk; float16 halves a model that is only to be a teacher.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in student_files(model, vocabulary, record, dtype=dtype).items():
        write_file(folder / name, content)


def student_files(
    model: Student,
    vocabulary: Vocabulary,
    record: dict[str, Any],
    *,
    dtype: torch.dtype = torch.float32,
) -> dict[str, bytes]:
    """Return the files that `save_student` writes."""
    tensors = {
        name: value.detach().to("cpu", dtype).contiguous() for name, value in model.state_dict().items()
    }
    data = {
        "schema": SCHEMA,
        "kind": "kdcompress-student",
        "config": model.config.model_dump(mode="json"),
        "vocabulary": vocabulary.to_json(),
        "parameters": model.parameter_count(),
        "fingerprint": fingerprint(tensors, vocabulary),
        **record,
    }
    text = json.dumps(data, indent=1, ensure_ascii=False) + "\n"
    # Not safetensors' save_file: it hides from the caller what the system refused.
    return {WEIGHTS: save(tensors), RECORD: text.encode("utf-8", "backslashreplace")}


def load_student(path: Path) -> LoadedStudent:
    """Rebuild the student of a run directory (its best checkpoint) or of one checkpoint directory.

    Raises:
        RunError: there is none, it is incomplete or damaged, or of another schema.
        ConfigError: it is of a kind that is not installed here.
    """
    for pause in (*[0.01] * 10, 0.1, 0.5):
        folder = path
        try:
            folder = find_checkpoint(path)
            return _load(folder)
        except RunError:
            # A run that goes on removes old checkpoints and names new ones: look again.
            whole = (folder / RECORD).is_file() and (folder / WEIGHTS).is_file()
            if whole or not (path / "checkpoints").is_dir():
                raise
            time.sleep(pause)
    return _load(find_checkpoint(path))


def _load(folder: Path) -> LoadedStudent:
    record_path = folder / RECORD
    try:
        if (altered := altered_file(folder, RECORD, WEIGHTS, promised_by=RECORD)) is not None:
            there = altered.exists()
            fault = "not what was written: it is damaged" if there else f"missing: {RECORD} names it"
            raise RunError(f"{altered} is {fault}; restore the checkpoint, all files of it")
        record = json.loads(record_path.read_text(encoding="utf-8"))
        if record["schema"] != SCHEMA:
            raise RunError(
                f"{record_path}: schema {record['schema']}, this kdcompress reads {SCHEMA}; upgrade it"
            )
        config = STUDENTS.validate(record["config"])
        vocabulary = Vocabulary.from_json(record["vocabulary"])
    except ConfigError as error:
        raise ConfigError(f"{record_path}: {error}") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = " ".join(str(error).split())[:300]
        raise RunError(
            f"{record_path} is damaged ({type(error).__name__}: {reason}); restore the checkpoint"
        ) from error
    model = build_student(config, vocabulary)
    try:
        tensors = load_file(folder / WEIGHTS)
        model.load_state_dict(tensors)
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise RunError(
            f"{folder / WEIGHTS} is damaged or of another shape ({reason}); restore the checkpoint"
        ) from error
    found, expected = fingerprint(tensors, vocabulary), str(record.get("fingerprint", ""))
    if expected and found != expected:
        raise RunError(
            f"{folder} has weights and a vocabulary of the fingerprint {found} where {RECORD} says "
            f"{expected}: one of them is damaged; restore the checkpoint"
        )
    return LoadedStudent(model.eval(), vocabulary, record, found, folder)


def find_checkpoint(path: Path, which: str = "best") -> Path:
    """Return the checkpoint directory that `path` means: itself, or the run's `best` (else `last`).

    Raises:
        RunError: `path` holds neither a checkpoint nor a run with one.
    """
    if (path / RECORD).is_file():
        return path
    for pointer in (path / which, path / "last"):
        if pointer.is_file():
            try:
                name = pointer.read_text(encoding="utf-8").strip()
            except (OSError, ValueError) as error:
                raise RunError(f"{pointer} cannot be read as the name of a checkpoint; restore it") from error
            folder = path / "checkpoints" / name
            plain = name.isprintable() and len(name) < 256  # longer ones no file system has
            if plain and (folder / RECORD).is_file():
                return folder
            name = name if plain else repr(name[:80])
            raise RunError(f"{pointer} names {name}, which is not there or incomplete; restore it")
    raise RunError(
        f"{path} is no run or checkpoint: it has neither {RECORD} nor a pointer named {which} or last"
    )


def fingerprint(tensors: dict[str, Tensor], vocabulary: Vocabulary) -> str:
    """Return twelve hex digits that change with any weight or with the vocabulary."""
    digest = hashlib.sha256(vocabulary.fingerprint.encode())
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:12]
