"""Begin with the weights of a trained student."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from kdcompress.aliases import Progress
from kdcompress.audio.decode import read_audio
from kdcompress.audio.utterance import Utterance
from kdcompress.errors import AudioError, ConfigError, VocabularyError
from kdcompress.students.student import Student
from kdcompress.students.weights import load_student
from kdcompress.text.vocabulary import Vocabulary

SECONDS = 480.0  # of audio to measure by: twice as much changes nothing


def start_from(
    path: Path,
    student: Student,
    vocabulary: Vocabulary,
    utterances: Sequence[Utterance] = (),
    on_progress: Progress | None = None,
) -> None:
    """Give a student the weights of a trained one, as far as its kind can take them over.

    Args:
        utterances: to measure by what the weights do; read only where the kind needs that.
        on_progress: called with layers done, of all.

    Raises:
        RunError: there is no student at `path`.
        ConfigError: its shape does not fit.
        VocabularyError: its units are others.
        AudioError: audio is needed, and none of it can be read.
    """
    found = load_student(path)
    if found.vocabulary != vocabulary:
        raise VocabularyError(
            f"training.start_from {path} has {len(found.vocabulary)} units, this run {len(vocabulary)}, and "
            "they are not the same; start from a student of the same teacher"
        )
    try:
        student.start_from(found.model, sample_waveforms(utterances), on_progress)
    except ConfigError as error:
        raise ConfigError(f"training.start_from {path}: {error}") from error


def sample_waveforms(utterances: Sequence[Utterance]) -> Iterator[Tensor]:
    """Read evenly spaced utterances of about eight minutes; what cannot be decoded is left out."""
    total = sum(utterance.duration for utterance in utterances)
    for utterance in utterances[:: max(1, int(total / SECONDS))]:
        try:
            samples = read_audio(utterance.audio, utterance.start, utterance.duration)
        except AudioError:
            continue  # training is where bad files are counted
        yield torch.from_numpy(samples)
