"""The unit that flows through training: a stretch of audio, and nothing else."""

from dataclasses import dataclass
from pathlib import Path

SAMPLE_RATE = 16_000  # [Hz] what every student and every teacher here listens at


@dataclass(frozen=True, slots=True)
class Utterance:
    """A stretch of an audio file. It has no text: distillation cannot read a transcript.

    Attributes:
        id: unique within its manifest or folder.
        audio: the file.
        start: where the stretch begins [s].
        duration: its length [s].
        channel: the one that is meant, from 0; None is the mix of all.
    """

    id: str
    audio: Path
    start: float
    duration: float
    channel: int | None = None


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of an audio file, or its all.

    Attributes:
        audio: the file.
        start: [s].
        duration: [s]; None goes to the end.
        channel: from 0; None is the mix of all.
    """

    audio: Path
    start: float = 0.0
    duration: float | None = None
    channel: int | None = None


@dataclass(frozen=True, slots=True)
class Reference:
    """An utterance with its transcript: read by bench, validation on request and the CTC term only."""

    utterance: Utterance
    text: str
