"""Which audio to train on, and what to hold out."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from kdcompress.config.base import Frozen

# The fields of the time when what was longer was always skipped, and nothing put around utterances.
_ALL_BEFORE = {
    "audio",
    "batch_seconds",
    "min_seconds",
    "max_seconds",
    "max_bad_share",
    "speed",
    "noise_share",
}
_ALL_BEFORE |= {"buckets", "workers", "memory_mb", "validation"}


class ValidationConfig(Frozen):
    """Held-out audio. Without `audio` and `references` a share of the training audio is held out.

    Attributes:
        audio: folder or manifest; its texts, if any, are not read.
        references: manifest with texts; then WER is reported beside the label-free figures.
        share: of the training utterances, held out by a hash of their ids.
        max_seconds: of the share; what is more is given back to training.
    """

    audio: Path | None = None
    references: Path | None = None
    share: float = Field(0.05, gt=0, lt=0.5)
    max_seconds: float = Field(600.0, gt=0)


class SurroundConfig(Frozen):
    """Silence around and between utterances, noise and gain, of the student's audio.

    The targets stay the teacher's on the clean utterance, moved by whole frames, and the blank in silence: a
    cache serves them. Lengths and levels are drawn for each row and epoch.

    Attributes:
        share: of the batches that are so changed; 0 trains on utterances as they are.
        silence: longest before, between and after utterances [s].
        join: most utterances in a row; no row has more than `max_seconds`, and none is added to a batch whose
            `batch_seconds` are full: the utterances left over wait for another epoch.
        snr_db: loudest noise, under the whole row [dB]; every other row has none, and digital silence.
        gain_db: largest change in level of an utterance, short of clipping [dB].
    """

    share: float = Field(0.5, ge=0, le=1)
    silence: float = Field(1.5, ge=0, le=10)
    join: int = Field(3, ge=1, le=100)
    snr_db: float = Field(10.0, ge=-10, le=60)
    gain_db: float = Field(10.0, ge=0, le=40)


class DataConfig(Frozen):
    """Training audio.

    Attributes:
        audio: folder (searched recursively), JSONL manifest, or another corpus (docs/formats.md).
        batch_seconds: audio per batch [s], padding included.
        min_seconds: shorter utterances are skipped and counted [s].
        max_seconds: longer utterances are cut at pauses, as `transcribe` cuts, or skipped and counted [s].
        longer: which of the two; those with a transcript are skipped in any case.
        channels: of recordings with several: mix averages them, split makes an utterance of each (its id ends
            with #0, #1, …), a number takes one, from 0.
        max_bad_share: of unusable files (unreadable, empty); more end the run.
        speed: factors drawn per batch and epoch, the same for teacher and student.
        noise_share: clips of noise and silence, made here, to train on for each utterance; with transcripts
            theirs is empty, else the teacher is run on them as on all else.
        surround: silence, noise and gain around what the student is given, at no cost to the targets.
        buckets: duration buckets of the sampler.
        workers: loader processes.
        memory_mb: of decoded audio to keep from the first epoch on [MB]; with loader processes none is kept.
        validation: what to hold out.
    """

    audio: Path | None = None
    batch_seconds: float = Field(120.0, gt=0)
    min_seconds: float = Field(0.1, ge=0.05)
    max_seconds: float = Field(30.0, gt=0)
    longer: Literal["cut", "skip"] = "cut"
    channels: Literal["mix", "split"] | Annotated[int, Field(ge=0)] = "mix"
    max_bad_share: float = Field(0.05, ge=0, le=1)
    speed: tuple[Annotated[float, Field(ge=0.5, le=2.0)], ...] = (1.0,)
    noise_share: float = Field(0.04, ge=0, le=1)
    surround: SurroundConfig = SurroundConfig()
    buckets: int = Field(30, ge=1)
    workers: int = Field(0, ge=0)
    memory_mb: float = Field(512.0, ge=0)
    validation: ValidationConfig = ValidationConfig()

    @model_validator(mode="before")
    @classmethod
    def _as_it_was(cls, given: Any) -> Any:
        """Keep to what a run or a cache did that names all fields of its time, and is older than a choice."""
        if isinstance(given, dict) and given.keys() >= _ALL_BEFORE:
            return {"longer": "skip", "surround": {"share": 0}} | given
        return given
