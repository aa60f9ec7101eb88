"""What a teacher is.

B batch, S samples, T frames, V vocabulary (with the blank).
"""

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from typing_extensions import Self

from kdcompress.text.vocabulary import Vocabulary


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

    def to(self, device: torch.device) -> "Posteriors":
        """Return them on a device."""
        if self.log_probs.device == device:
            return self
        log_probs = self.log_probs.to(device, non_blocking=True)
        return Posteriors(log_probs, self.lengths.to(device, non_blocking=True), self.frame_shift)

    def __repr__(self) -> str:
        return f"Posteriors(log_probs={_shape(self.log_probs)}, frame_shift={self.frame_shift})"


def _shape(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"


class Teacher(Protocol):
    """A frozen CTC model: in eval mode, without gradients.

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
        """Run the model on a batch; an utterance's posteriors do not depend on the others or on padding.

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


def __getattr__(name: str) -> Any:
    # Programs written for the first releases take these from here.
    if name in {"open_teacher", "resolve_teacher", "looks_like_hub_id"}:
        from kdcompress.teachers import open as opening

        return getattr(opening, name)
    raise AttributeError(f"module {__name__} has no attribute {name}")
