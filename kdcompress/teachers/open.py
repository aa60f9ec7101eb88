"""How a teacher is found and opened."""

import re
from pathlib import Path

import torch
from pydantic import ValidationError

from kdcompress.config.teacher import (
    TEACHERS,
    CachedTeacher,
    CheckpointTeacher,
    HuggingFaceTeacher,
    OnnxTeacher,
    TeacherConfig,
    TorchaudioTeacher,
)
from kdcompress.errors import TeacherError
from kdcompress.runtime.identify import Kind, identify
from kdcompress.teachers.teacher import Teacher

# organisation/model, as the hub allows them: letters, digits, and - _ . inside.
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_NAMED_BY = {"transcripts": "manifest", "command": "command"}
_PIPELINE = "torchaudio:"


def resolve_teacher(text: str) -> TeacherConfig:
    """Find out what a text names: a run, checkpoint, bundle, ONNX file, Hugging Face model or pipeline.

    `KIND:PATH` names the kind, for those that other packages add.

    Raises:
        TeacherError: the text names none of them.
    """
    if text.startswith(_PIPELINE):
        return TorchaudioTeacher(name=text.removeprefix(_PIPELINE))
    prefix, colon, path = text.partition(":")
    if colon and prefix in TEACHERS.names():
        return _of_kind(prefix, path)
    folder = Path(text).expanduser()
    match identify(folder):
        case Kind.RUN | Kind.CHECKPOINT:
            return CheckpointTeacher(path=folder)
        case Kind.CACHE:
            return CachedTeacher(path=folder)
        case Kind.BUNDLE | Kind.ONNX_FILE | Kind.ONNX_FOLDER:
            return OnnxTeacher(path=folder)
        case Kind.HUGGING_FACE:
            return HuggingFaceTeacher(path=str(folder))
        case Kind.NOTHING:
            pass
        case kind:
            raise TeacherError(
                f"{text} is no teacher but {kind.value}: found neither best or last (a run that has reached "
                "a validation), student.json (a checkpoint), bundle.json or a graph *.onnx, nor config.json "
                "(a Hugging Face model) in it"
            )
    if looks_like_hub_id(text):
        return HuggingFaceTeacher(path=text)
    raise TeacherError(
        f"no teacher {text!r}: no such file or folder, and not a hub id either; expected a run directory, a "
        "bundle, an ONNX file, a Hugging Face model directory, ORGANISATION/MODEL or torchaudio:PIPELINE"
    )


def _of_kind(kind: str, path: str) -> TeacherConfig:
    try:
        return TEACHERS.validate({"kind": kind, _NAMED_BY.get(kind, "path"): path})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise TeacherError(
            f"{kind}:{path} names no teacher: {where}: {first['msg']}; use a recipe"
        ) from error


def looks_like_hub_id(text: str) -> bool:
    """Return whether a text has the form ORGANISATION/MODEL."""
    return _HUB_ID.fullmatch(text) is not None


def open_teacher(config: TeacherConfig, device: torch.device | str = "cpu") -> Teacher:
    """Load a teacher's weights, frozen, on a device.

    Raises:
        TeacherError: it cannot be found or read, or is no CTC model that can be imitated.
        MissingExtra: it needs a library that is not installed.
        ConfigError: its kind is not known.
    """
    if isinstance(config, CachedTeacher):
        raise TeacherError(
            f"{config.path} is a cache: it has the posteriors of the audio that it was made from only; name "
            "the teacher itself"
        )
    # Imported on demand: a run of our own needs no transformers, which takes seconds to import.
    teacher: Teacher = TEACHERS.target(config.kind).open(config, device)
    return teacher
