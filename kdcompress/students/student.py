"""What a student is, and how one is built from its configuration.

B batch, S samples, T frames, F mel bands, V vocabulary.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar

from pydantic import ValidationError
from torch import Tensor, nn
from typing_extensions import Self

from kdcompress.aliases import Progress
from kdcompress.config.profile import LayoutName
from kdcompress.config.student import STUDENTS, StudentConfig
from kdcompress.errors import ConfigError
from kdcompress.students.pruning.anatomy import Anatomy
from kdcompress.students.view import ExportView
from kdcompress.text.vocabulary import Vocabulary

Augment = Callable[[Tensor, Tensor], Tensor]
"""Changes features [B, T, F] given their lengths [B]: SpecAugment in training."""


class Student(nn.Module, ABC):
    """A CTC model that is trained: what loop, checkpoints and export use of one.

    An utterance's output does not depend on padding or on the other utterances of its batch.

    Attributes:
        Config: class of `config`, for kinds that other packages add; see `docs/extending.md`.
        config: rebuilds the student, by `build`.
        vocabulary_size: V.
        frame_shift: time between two output frames [s].
        exits: number of earlier outputs that `forward(…, exits=True)` gives as well, as
            [exits + 1, B, T, V] with the last one at the end; 0 where there is no such argument.
        streams: whether it can be run in chunks, and has `forward(…, full_rows=N)`: in training, the last N
            rows of the batch are run with the whole utterance as context.
    """

    Config: ClassVar[type[StudentConfig]]
    config: StudentConfig
    vocabulary_size: int
    frame_shift: float
    exits: int = 0
    streams: bool = False

    @classmethod
    def build(cls, config: Any, vocabulary: Vocabulary) -> Self:
        """Make one of random weights; here `cls(config, V)`."""
        return cls(config, len(vocabulary))

    @abstractmethod
    def forward(
        self, waveforms: Tensor, lengths: Tensor, augment: Augment | None = None
    ) -> tuple[Tensor, Tensor]:
        """Map 16 kHz waveforms [B, S] and lengths [B] to log-probabilities [B, T, V] float32 and lengths.

        Args:
            augment: to be applied to the features; a student without any may leave it out.
        """

    @abstractmethod
    def output_lengths(self, samples: Tensor) -> Tensor:
        """Return the output frames [B] of waveforms with so many samples [B]."""

    @abstractmethod
    def export_view(self, layout: LayoutName) -> ExportView:
        """Return what is traced for a profile of a layout.

        Raises:
            ConfigError: the student has no graph of this layout.
        """

    def select_chunk(self, chunk_ms: int | None) -> None:
        """Choose what a frame depends on from now on, in eval mode.

        Args:
            chunk_ms: its chunk of so many milliseconds and what is before; None for the whole utterance.

        Raises:
            ConfigError: this student cannot do so.
        """
        if chunk_ms is not None:
            raise ConfigError(
                "this student cannot follow speech in chunks: train one with student.streaming, "
                "or choose a profile for whole utterances"
            )

    def start_from(
        self, other: "Student", waveforms: Iterable[Tensor], on_progress: Progress | None = None
    ) -> None:
        """Take over the weights of a trained student of the same vocabulary, which may be changed by that.

        Args:
            waveforms: float32 [S] each, to measure by what the weights do; read only where that is needed.
            on_progress: called with layers done, of all.

        Raises:
            ConfigError: its shape does not fit.
            AudioError: waveforms are needed, and there are none.
        """
        if self.config != other.config:
            raise ConfigError(
                f"it has another shape; students of kind {self.config.kind} start from their like only"
            )
        self.load_state_dict(other.state_dict())

    def linear_chains(self) -> Iterable[tuple[nn.Module, nn.Linear]]:
        """Return layers with the linear layer that alone reads their output, where nothing lies between."""
        return ()

    def measure(self, waveforms: Iterable[Tensor]) -> None:
        """Measure what a student keeps of the training audio; called once, before the first step.

        Args:
            waveforms: float32 [S] each; read only where something is kept, and not known yet.

        Raises:
            AudioError: waveforms are needed, and there are none.
        """

    def anatomy(self) -> Anatomy:
        """Return what of the student can be cut away.

        Raises:
            ConfigError: nothing, in students of this kind.
        """
        raise ConfigError(f"students of kind {self.config.kind} cannot be cut")

    def keep_layers(self, kept: Sequence[int]) -> None:
        """Leave the student some of its layers, in place, and note the sizes of their parts in `config`."""
        raise ConfigError(f"students of kind {self.config.kind} cannot be cut")

    def parameter_count(self) -> int:
        """Return the number of trained values."""
        return sum(p.numel() for p in self.parameters())


def with_frame_shift(config: StudentConfig, shift_ms: float) -> StudentConfig:
    """Return a student's configuration with the frame shift of its teacher.

    Raises:
        ConfigError: students of this kind cannot have it.
    """
    try:
        return type(config).model_validate({**config.model_dump(), "frame_shift_ms": shift_ms})
    except ValidationError as error:
        raise ConfigError(
            f"the teacher's frame shift is {shift_ms:g} ms, which students of kind {config.kind} cannot have "
            f"({error.errors()[0]['msg']}): set student.frame_shift_ms to a multiple or a whole part of it"
        ) from error


def build_student(config: StudentConfig, vocabulary: Vocabulary) -> Student:
    """Make a student of any kind, of random weights.

    Raises:
        ConfigError: the kind is not known, or its configuration is not complete.
    """
    student: Student = STUDENTS.target(config.kind).build(config, vocabulary)
    return student


def check_outputs(student: Student, vocabulary: Vocabulary) -> None:
    """See that a student has an output for each unit.

    Raises:
        ConfigError: it has more or fewer.
    """
    if student.vocabulary_size != len(vocabulary):
        raise ConfigError(
            f"the student has {student.vocabulary_size} outputs, the vocabulary {len(vocabulary)} units; "
            "make it for this vocabulary"
        )
