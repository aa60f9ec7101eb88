"""What a teacher is, and how one is found and opened.

B batch, S samples, T frames, V vocabulary (with the blank).
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor
from typing_extensions import Self

from kdcompress.config.teacher import (
    CachedTeacher,
    CheckpointTeacher,
    EnsembleTeacher,
    HuggingFaceTeacher,
    OnnxTeacher,
    TeacherConfig,
    TorchaudioTeacher,
)
from kdcompress.errors import TeacherError
from kdcompress.runtime.identify import Kind, identify
from kdcompress.text.vocabulary import Vocabulary

# organisation/model, as the hub allows them: letters, digits, and - _ . inside.
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_PIPELINE = "torchaudio:"


@dataclass(frozen=True, repr=False)
class Posteriors:
    """Log posteriors of a padded batch.

    Attributes:
        log_probs: float32 [B, T, V], natural logarithm, normalised over V; frames at and beyond an
            utterance's length are padding: finite, but without meaning.
        lengths: int64 [B], valid frames of each utterance; 0 is possible.
        frame_shift: time between two frames [s].

    Raises:
        ValueError: a tensor has another shape or dtype, or the frame shift is not positive.
    """

    log_probs: Tensor
    lengths: Tensor
    frame_shift: float

    def __post_init__(self) -> None:
        # Shapes and dtypes only: looking at values would make the host wait for the GPU.
        if self.log_probs.ndim != 3 or self.log_probs.dtype != torch.float32:
            raise ValueError(f"log_probs must be float32 [B, T, V], found {_shape(self.log_probs)}")
        if self.lengths.shape != self.log_probs.shape[:1] or self.lengths.dtype != torch.int64:
            raise ValueError(
                f"lengths must be int64 [{self.log_probs.shape[0]}] (one per row), found "
                f"{_shape(self.lengths)}"
            )
        if not self.frame_shift > 0:
            raise ValueError(f"frame_shift must be a positive number of seconds, found {self.frame_shift}")

    def __repr__(self) -> str:
        return f"Posteriors(log_probs={_shape(self.log_probs)}, frame_shift={self.frame_shift})"


def _shape(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"


class Teacher(Protocol):
    """A frozen CTC model: in eval mode, without gradients, deaf to the padding of its batch.

    Attributes:
        vocabulary: the units of its output, blank included.
        sample_rate: of the audio it expects [Hz].
        frame_shift: time between two output frames [s].
        fingerprint: changes with its weights and with its vocabulary.
        parameters: their number.
        bytes: of its weights in float32.
    """

    @property
    def vocabulary(self) -> Vocabulary: ...
    @property
    def sample_rate(self) -> int: ...
    @property
    def frame_shift(self) -> float: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def parameters(self) -> int: ...
    @property
    def bytes(self) -> int: ...

    def posteriors(self, waveforms: Tensor, lengths: Tensor) -> Posteriors:
        """Listen to a batch; what an utterance gets does not depend on the others or on padding.

        Args:
            waveforms: float32 [B, S], zeros after each utterance's end, on any device.
            lengths: int64 [B], valid samples.

        Raises:
            TeacherError: an output is not finite.
        """
        ...

    def to(self, device: torch.device | str) -> Self:
        """Move the weights; returns itself."""
        ...


def resolve_teacher(text: str) -> TeacherConfig:
    """Tell runs, checkpoints, bundles, ONNX files, Hugging Face directories, pipelines and hub ids apart.

    Raises:
        TeacherError: the text is none of them; says what was looked for.
    """
    if text.startswith(_PIPELINE):
        return TorchaudioTeacher(name=text.removeprefix(_PIPELINE))
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


def looks_like_hub_id(text: str) -> bool:
    """Tell whether a text has the form ORGANISATION/MODEL."""
    return _HUB_ID.fullmatch(text) is not None


def open_teacher(config: TeacherConfig, device: torch.device | str = "cpu") -> Teacher:
    """Load a teacher's weights, frozen, on a device.

    Raises:
        TeacherError: it cannot be found or read, or is no CTC model that can be imitated.
        MissingExtra: it needs a library that is not installed.
    """
    # Imported on demand: a run of our own needs no transformers, which takes seconds to import.
    match config:
        case CheckpointTeacher():
            from kdcompress.teachers.checkpoint import open_checkpoint

            return open_checkpoint(config).to(device)
        case HuggingFaceTeacher():
            from kdcompress.teachers.huggingface import open_huggingface

            return open_huggingface(config).to(device)
        case TorchaudioTeacher():
            from kdcompress.teachers.torchaudio_pipeline import open_pipeline

            return open_pipeline(config).to(device)
        case OnnxTeacher():
            from kdcompress.teachers.onnx_model import open_onnx

            return open_onnx(config, device)
        case EnsembleTeacher():
            from kdcompress.teachers.ensemble import open_ensemble

            return open_ensemble(config, device)
        case CachedTeacher():
            raise TeacherError(
                f"{config.path} is a cache: it answers for the audio that it was made from only; name the "
                "teacher itself"
            )
