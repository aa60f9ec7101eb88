"""A narrowed student says what the wide one says, as far as the dropped units were idle."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_transformers import audio, padded
from torch import Tensor

from kdcompress.audio.decode import read_audio
from kdcompress.audio.manifest import read_utterances
from kdcompress.audio.utterance import Utterance
from kdcompress.config.student import ConformerConfig, PretrainedConfig
from kdcompress.distill.pretrained import make_pretrained
from kdcompress.errors import AudioError, ConfigError
from kdcompress.students.conformer import ConformerStudent
from kdcompress.students.initialize import start_from
from kdcompress.students.layers import FeedForward
from kdcompress.students.pruning.moments import Moments, rank_units
from kdcompress.students.pruning.prune import Cut, Place, prune
from kdcompress.students.student import Student
from kdcompress.students.weights import load_student, save_student
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


def narrow(student: ConformerStudent, inner: int, utterances: list[Utterance]) -> ConformerStudent:
    sounds = [torch.from_numpy(read_audio(u.audio, u.start, u.duration)) for u in utterances]
    sizes = {part.name: inner for _, part in student.anatomy() if part.lever == "feed_forward"}
    narrower = prune(student, Cut(sizes), sounds).student
    assert isinstance(narrower, ConformerStudent)
    return narrower


@torch.no_grad()
def test_idle_units_are_dropped_without_loss(audio_folder: Path) -> None:
    utterances, _ = read_utterances(audio_folder)
    student = wide(idle=16)
    waveform = torch.randn(1, 16_000, generator=torch.Generator().manual_seed(1))
    before, _ = student(waveform, torch.tensor([16_000]))
    student = narrow(student, 16, utterances)
    after, _ = student(waveform, torch.tensor([16_000]))
    assert sum(m[1].out_features for m in student.modules() if isinstance(m, FeedForward)) == 4 * 16
    torch.testing.assert_close(after, before, atol=1e-5, rtol=0)
    student = narrow(student, 8, utterances)  # now units that matter have to go
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
    with pytest.raises(AudioError, match="choose units"):
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
    student = narrow(student, 12, utterances)
    after, _ = student(waveform, torch.tensor([16_000]))
    torch.testing.assert_close(after, before, atol=1e-3, rtol=0)


def of_family(name: str, saved: Callable[[str], Path]) -> Student:
    """Return a student with all of a teacher's layers; of more than one head, and channels worth a choice."""
    if name == "conformer":
        return wide(idle=0)
    units = Vocabulary(tuple("abcdefghijklmnopqrstuvwxyzABCDEF"), 0, None)
    return make_pretrained(PretrainedConfig(source=str(saved(name))), None, units)


def sounds(count: int = 4) -> list[Tensor]:
    return [audio(24_000 + 4_000 * seed, seed) for seed in range(count)]


def apart(student: Student, other: Student) -> float:
    """Return the mean KL divergence on audio that nothing was fitted on."""
    batch = padded([audio(30_000, 77), audio(17_000, 78)])
    (p, lengths), (q, _) = student(*batch), other(*batch)
    kl = (p.exp() * (p - q)).sum(-1)
    return float(torch.cat([row[:n] for row, n in zip(kl, lengths, strict=True)]).mean())


NAMES = ["conformer", "wav2vec2-layer", "wav2vec2-group", "hubert-group", "wavlm-layer", "wavlm-group"]
NAMES += ["wav2vec2-bert", "parakeet"]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_cuts_of_every_family(name: str, saved: Callable[[str], Path], tmp_path: Path) -> None:
    teacher = of_family(name, saved)
    heard = sounds()
    assert apart(teacher, prune(teacher, Cut(), heard).student) < 1e-6, "what is whole stays as it is"
    sizes = {part.name: max(1, 3 * part.units // 4) for _, part in teacher.anatomy()}
    assert {part.lever for _, part in teacher.anatomy()} >= {"heads", "feed_forward"}
    plain = prune(teacher, Cut(sizes), heard, refit=False).student
    student = prune(teacher, Cut(sizes), heard).student
    assert student.anatomy().sizes() == sizes
    assert student.parameter_count() < 0.9 * teacher.parameter_count()
    assert apart(teacher, student) < apart(teacher, plain)
    with pytest.raises(AssertionError):
        torch.testing.assert_close(student(*padded(heard[:1]))[0], teacher(*padded(heard[:1]))[0])
    units = Vocabulary(tuple(map(chr, range(65, 65 + student.vocabulary_size))), 0, None)
    save_student(tmp_path, student, units, {})
    again = load_student(tmp_path).model
    batch, alone = padded(heard[:2]), padded(heard[:1])
    assert torch.equal(student(*batch)[0], again(*batch)[0])
    frames = int(again.output_lengths(alone[1]))
    torch.testing.assert_close(again(*batch)[0][0, :frames], again(*alone)[0][0], atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_a_front_is_cut_alike_whatever_was_heard_before(saved: Callable[[str], Path]) -> None:
    """The group norm's statistics are those of the utterance that it is given, not of the last one."""
    teacher = of_family("hubert-group", saved)
    cut = Cut({part.name: part.units // 2 for part in teacher.anatomy().front})
    first = prune(teacher, cut, sounds()).student.state_dict()
    teacher(*padded([audio(3_000, 5)]))
    again = prune(teacher, cut, sounds()).student.state_dict()
    assert all(torch.equal(value, again[name]) for name, value in first.items())


@pytest.mark.parametrize("name", ["conformer", "wav2vec2-layer", "wavlm-group", "parakeet"])
@pytest.mark.parametrize("dropped", [0, 1])
@torch.no_grad()
def test_what_is_in_front_of_a_dropped_layer_stands_in_for_it(
    name: str, dropped: int, saved: Callable[[str], Path]
) -> None:
    teacher, cut = of_family(name, saved), Cut(dropped=frozenset({dropped}))
    pruned = prune(teacher, cut, sounds())
    plain = prune(teacher, cut, sounds(), refit=False).student
    assert pruned.places == ((Place(1, 2),) if dropped == 0 else (Place(0, 2),))
    assert len(pruned.student.anatomy().layers) == 1
    if dropped == 1:
        assert apart(teacher, pruned.student) < apart(teacher, plain)


@given(st.integers(0, 50), st.integers(1, 3), st.integers(1, 4))
def test_units_are_chosen_as_a_naive_loop_chooses_them(seed: int, columns: int, count: int) -> None:
    noise = torch.Generator().manual_seed(seed)
    x = torch.randn(60, 5 * columns, generator=noise, dtype=torch.float64)
    y = torch.randn(60, 3, generator=noise, dtype=torch.float64) + x[:, :3]
    moments = Moments.of(torch.nn.Linear(5 * columns, 3), [(x[None, :20], y[:20]), (x[None, 20:], y[20:])])
    chosen: list[int] = []
    errors = []
    for _ in range(count):
        left = {}
        for unit in set(range(5)) - set(chosen):
            index = [u * columns + c for u in [*chosen, unit] for c in range(columns)]
            design = torch.cat([x[:, index], x.new_ones(60, 1)], dim=1)
            left[unit] = float((y - design @ torch.linalg.lstsq(design, y).solution).square().sum())
        chosen.append(min(left, key=lambda unit: left[unit]))
        errors.append(left[chosen[-1]])
    found, found_errors = rank_units(moments, columns, count)
    assert found == chosen
    assert found_errors == pytest.approx(errors)
