"""A narrowed student says what the wide one says, as far as the dropped units were idle."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from kdcompress.audio.decode import read_audio
from kdcompress.audio.manifest import read_utterances
from kdcompress.audio.utterance import Utterance
from kdcompress.config.student import ConformerConfig
from kdcompress.errors import AudioError, ConfigError
from kdcompress.students.conformer import ConformerStudent
from kdcompress.students.initialize import start_from
from kdcompress.students.layers import FeedForward
from kdcompress.students.pruning import narrow
from kdcompress.students.weights import save_student
from kdcompress.text.vocabulary import Vocabulary

SHAPE = {"width": 16, "heads": 2, "kernel": 3, "stem_channels": 4, "frame_shift_ms": 40, "layers": 2}


def wide(idle: int) -> ConformerStudent:
    """Return a student whose feed-forward modules have so many units that never change, in odd places."""
    torch.manual_seed(0)
    student = ConformerStudent(ConformerConfig(**SHAPE, feed_forward=2.0), 5).eval()
    with torch.no_grad():
        for module in student.modules():
            if isinstance(module, FeedForward):
                places = torch.randperm(32)[:idle]
                module[1].weight[places] = 0
                module[1].bias[places] = 3.0
    return student


def features(student: ConformerStudent, utterances: list[Utterance]) -> list[tuple[Tensor, Tensor]]:
    sounds = [torch.from_numpy(read_audio(u.audio, u.start, u.duration)) for u in utterances]
    return [student.features(sound[None], torch.tensor([len(sound)])) for sound in sounds]


@torch.no_grad()
def test_idle_units_are_dropped_without_loss(audio_folder: Path) -> None:
    utterances, _ = read_utterances(audio_folder)
    student = wide(idle=16)
    waveform = torch.randn(1, 16_000, generator=torch.Generator().manual_seed(1))
    before, _ = student(waveform, torch.tensor([16_000]))
    narrow(student.encoder, 16, features(student, utterances))
    after, _ = student(waveform, torch.tensor([16_000]))
    assert sum(m[1].out_features for m in student.modules() if isinstance(m, FeedForward)) == 4 * 16
    torch.testing.assert_close(after, before, atol=1e-5, rtol=0)
    narrow(student.encoder, 8, features(student, utterances))  # now units that matter have to go
    less, _ = student(waveform, torch.tensor([16_000]))
    assert (less - before).abs().max() > 1e-3


def test_a_student_starts_from_a_wider_one(audio_folder: Path, tmp_path: Path) -> None:
    utterances, _ = read_utterances(audio_folder)
    vocabulary = Vocabulary(("<blk>", "|", "a", "b", "c"), 0, "|")
    save_student(tmp_path, wide(idle=16), vocabulary, {})
    student = ConformerStudent(ConformerConfig(**SHAPE, feed_forward=1.0), 5).eval()
    start_from(tmp_path, student, vocabulary, utterances)
    waveform, length = torch.randn(1, 8000), torch.tensor([8000])
    with torch.no_grad():
        torch.testing.assert_close(
            student(waveform, length)[0], wide(idle=16)(waveform, length)[0], atol=1e-5, rtol=0
        )
    with pytest.raises(AudioError, match="choose feed-forward units"):
        start_from(tmp_path, student, vocabulary)
    deeper = ConformerStudent(ConformerConfig(**SHAPE | {"layers": 3}, feed_forward=2.0), 5)
    with pytest.raises(ConfigError, match="another shape"):
        start_from(tmp_path, deeper, vocabulary, utterances)


def test_a_student_starts_from_a_narrower_one_without_a_change(tmp_path: Path) -> None:
    vocabulary = Vocabulary(("<blk>", "|", "a", "b", "c"), 0, "|")
    save_student(tmp_path, wide(idle=0), vocabulary, {})
    student = ConformerStudent(ConformerConfig(**SHAPE, feed_forward=3.0), 5).eval()
    start_from(tmp_path, student, vocabulary)
    waveform, length = torch.randn(1, 8000), torch.tensor([8000])
    said = student(waveform, length)[0]
    torch.testing.assert_close(said, wide(idle=0)(waveform, length)[0], atol=1e-5, rtol=0)
    said[..., 1].sum().backward()
    new = student.encoder.blocks[0].first[3].weight.grad[:, 32:]
    assert new.abs().sum() > 0  # silent, but trained from the first step on


@torch.no_grad()
def test_what_is_kept_is_chosen_and_refitted_to_say_what_all_said(audio_folder: Path) -> None:
    """Twelve of 32 units, when 24 of them are copies of eight others: eight say all, without a loss."""
    utterances, _ = read_utterances(audio_folder)
    student = wide(idle=0)
    for module in student.modules():
        if isinstance(module, FeedForward):
            for unit in range(8, 32):
                module[1].weight[unit], module[1].bias[unit] = (
                    module[1].weight[unit % 8],
                    module[1].bias[unit % 8],
                )
    waveform = torch.randn(1, 16_000, generator=torch.Generator().manual_seed(1))
    before, _ = student(waveform, torch.tensor([16_000]))
    narrow(student.encoder, 12, features(student, utterances))
    after, _ = student(waveform, torch.tensor([16_000]))
    torch.testing.assert_close(after, before, atol=1e-3, rtol=0)
