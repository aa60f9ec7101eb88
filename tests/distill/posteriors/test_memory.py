"""A live teacher is run once per utterance for as many runs as share its posteriors."""

from pathlib import Path

import torch

from kdcompress.audio.manifest import read_utterances
from kdcompress.config.teacher import CheckpointTeacher
from kdcompress.distill.data.audio_batch import AudioMemory, read_batch
from kdcompress.distill.posteriors.memory import TeacherPosteriors
from kdcompress.teachers.open import open_teacher
from kdcompress.teachers.teacher import Posteriors


class Counting:
    """A teacher that counts the utterances it is run on."""

    def __init__(self, path: Path) -> None:
        self.inner, self.seen = open_teacher(CheckpointTeacher(path=path)), 0

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)

    def posteriors(self, waveforms: torch.Tensor, lengths: torch.Tensor) -> Posteriors:
        self.seen += len(lengths)
        return self.inner.posteriors(waveforms, lengths)


def test_what_is_remembered_is_not_computed_again(audio_folder: Path, tiny_checkpoint: Path) -> None:
    utterances, _ = read_utterances(audio_folder)
    teacher = Counting(tiny_checkpoint)
    source = TeacherPosteriors(teacher, torch.device("cpu"))  # type: ignore[arg-type]
    told: list[tuple[int, int]] = []
    audio = AudioMemory(megabytes=100)
    source.label(utterances, [1.0, 0.9], 4, lambda *now: told.append(now), audio)
    assert audio.waveforms.keys() == {u.id for u in utterances}
    assert teacher.seen == told[-1][0] == told[-1][1] == 2 * len(utterances)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    source.label(utterances, [1.0, 0.9], 4)  # a second run on the same audio
    batch = read_batch(utterances[:3], [0.9] * 3)
    found = source(batch)
    assert teacher.seen == 2 * len(utterances)
    computed = teacher.inner.posteriors(batch.waveforms, batch.lengths)
    assert torch.equal(found.lengths, computed.lengths)
    for row, length in enumerate(computed.lengths):
        torch.testing.assert_close(
            found.log_probs[row, :length], computed.log_probs[row, :length], atol=1e-4, rtol=1e-4
        )
    source.label(utterances, [1.1], 4)  # another speed is other audio
    assert teacher.seen == 3 * len(utterances)
    source.label(utterances[:-1], [1.0], 4)  # other batches: the last bits may be others
    assert teacher.seen == 4 * len(utterances) - 1
