"""A student of ours as the teacher of the next one: a run directory or one of its checkpoints.

B batch, S samples, T frames, V vocabulary.
"""

import math

import torch
from torch import Tensor
from typing_extensions import Self

from kdcompress.audio.utterance import SAMPLE_RATE
from kdcompress.config.teacher import CheckpointTeacher
from kdcompress.errors import KdcompressError, TeacherError
from kdcompress.students.weights import LoadedStudent, fingerprint, load_student
from kdcompress.teachers.teacher import Posteriors


class StudentTeacher:
    """A trained `CtcStudent`, frozen; see `Teacher` for the attributes."""

    def __init__(self, student: LoadedStudent, name: str) -> None:
        self._name = name
        self._model = student.model.eval().requires_grad_(False)
        self.vocabulary = student.vocabulary
        self.sample_rate = SAMPLE_RATE
        self.frame_shift = float(self._model.frame_shift)
        self.parameters = sum(p.numel() for p in self._model.parameters())
        self.bytes = 4 * self.parameters
        self.fingerprint = student.fingerprint or fingerprint(self._model.state_dict(), student.vocabulary)

    @classmethod
    def open(cls, config: CheckpointTeacher, device: torch.device | str = "cpu") -> Self:
        """Load the best checkpoint of a run, or the checkpoint that the path names.

        Raises:
            TeacherError: there is none, or it cannot be read.
        """
        try:
            return cls(load_student(config.path), str(config.path)).to(device)
        except KdcompressError as error:
            raise TeacherError(f"cannot open teacher {config.path}: {error}") from error

    def posteriors(self, waveforms: Tensor, lengths: Tensor) -> Posteriors:
        """Run the model on a batch; see `Teacher.posteriors`."""
        device = next(self._model.parameters()).device
        # no_grad, not inference_mode: the result enters losses that autograd runs through.
        with torch.no_grad():
            log_probs, frames = self._model(waveforms.to(device, torch.float32), lengths.to(device))
        # Padding is the uniform distribution: what padded the batch cannot reach a loss.
        padding = torch.arange(log_probs.shape[1], device=device) >= frames[:, None]
        log_probs = log_probs.float().masked_fill(padding[:, :, None], -math.log(log_probs.shape[2]))
        if not torch.isfinite(log_probs).all():
            raise TeacherError(
                f"teacher {self._name} gave NaN or infinity: its weights or the audio are damaged"
            )
        return Posteriors(log_probs, frames.to(torch.int64), self.frame_shift)

    def to(self, device: torch.device | str) -> Self:
        """Move the weights; returns itself."""
        self._model.to(device)
        return self
