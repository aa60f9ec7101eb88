"""A source remembers what a teacher said, for one run or for several."""

from pathlib import Path

import torch

from kdcompress.audio.manifest import read_utterances
from kdcompress.config.teacher import CheckpointTeacher
from kdcompress.distill.data.batches import decode
from kdcompress.distill.posteriors.source import PosteriorSource, open_source
from kdcompress.teachers.open import open_teacher
from kdcompress.teachers.teacher import Posteriors


class Counting:
    """A teacher that counts the utterances it hears."""

    def __init__(self, path: Path) -> None:
        self.inner, self.heard = open_teacher(CheckpointTeacher(path=path)), 0

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)

    def posteriors(self, waveforms: torch.Tensor, lengths: torch.Tensor) -> Posteriors:
        self.heard += len(lengths)
        return self.inner.posteriors(waveforms, lengths)


def test_what_was_heard_is_not_asked_for_again(audio_folder: Path, tiny_checkpoint: Path) -> None:
    utterances, _ = read_utterances(audio_folder)
    teacher = Counting(tiny_checkpoint)
    source = PosteriorSource(teacher, torch.device("cpu"))  # type: ignore[arg-type]
    source.label(utterances, [1.0, 0.9], batch_seconds=4)
    assert teacher.heard == 2 * len(utterances)
    # A second run on the same audio is given the source itself.
    again = open_source(source, torch.device("cpu"))
    assert isinstance(again, PosteriorSource)
    again.label(utterances, [1.0, 0.9], batch_seconds=4)
    batch = decode(utterances[:3], [0.9] * 3)
    answer = again(batch)
    assert teacher.heard == 2 * len(utterances)
    asked = teacher.inner.posteriors(batch.waveforms, batch.lengths)
    assert torch.equal(answer.lengths, asked.lengths)
    for row, length in enumerate(asked.lengths):
        torch.testing.assert_close(
            answer.log_probs[row, :length], asked.log_probs[row, :length], atol=1e-4, rtol=1e-4
        )
    again.label(utterances, [1.1], batch_seconds=4)  # another speed is other audio
    assert teacher.heard == 3 * len(utterances)
