"""Students made of a transformers model: the teacher as it is, fewer layers of it, and back from disk."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tiny_transformers import FAMILIES, audio, padded

from kdcompress.config.student import PretrainedConfig
from kdcompress.config.teacher import HuggingFaceTeacher
from kdcompress.distill.pretrained import make_pretrained
from kdcompress.errors import ConfigError
from kdcompress.students.pretrained import PretrainedStudent, layers_of
from kdcompress.students.weights import load_student, save_student
from kdcompress.teachers.huggingface import TransformersTeacher
from kdcompress.text.vocabulary import Vocabulary

NAMES = ["wav2vec2-layer", "wav2vec2-group", "hubert-group", "wavlm-layer", "wav2vec2-bert", "parakeet"]
Saved = Callable[[str], Path]


def student_of(folder: Path, **keys: object) -> tuple[PretrainedStudent, Vocabulary, TransformersTeacher]:
    config = HuggingFaceTeacher(path=str(folder))
    teacher = TransformersTeacher.open(config)
    made = make_pretrained(PretrainedConfig.model_validate(keys), config, teacher.vocabulary)
    assert isinstance(made, PretrainedStudent)
    return made, teacher.vocabulary, teacher


@pytest.mark.parametrize("name", NAMES)
def test_all_layers_are_the_teacher_and_padding_does_not_matter(name: str, saved: Saved) -> None:
    student, _, teacher = student_of(saved(name))
    assert student.frame_shift == pytest.approx(FAMILIES[name].frame_shift)
    waveforms, lengths = padded([audio(16_000), audio(7_000), audio(11_111), audio(300), audio(0)])
    wanted = teacher.posteriors(waveforms, lengths)
    with torch.no_grad():
        log_probs, frames = student(waveforms, lengths)
    assert frames.tolist() == wanted.lengths.tolist() == student.output_lengths(lengths).tolist()
    for row, count in enumerate(frames.tolist()):
        torch.testing.assert_close(
            log_probs[row, :count], wanted.log_probs[row, :count], atol=2e-3, rtol=1e-3
        )


@pytest.mark.parametrize("name", NAMES)
def test_fewer_layers_come_back_from_disk_to_the_bit(name: str, saved: Saved, tmp_path: Path) -> None:
    student, vocabulary, _ = student_of(saved(name), layers=[1])
    assert len(layers_of(student.model)) == 1
    save_student(tmp_path / "kept", student, vocabulary, {})
    text = (tmp_path / "kept" / "student.json").read_text()
    assert str(saved(name)) not in text, "a run opens without its source"
    again = load_student(tmp_path / "kept").model
    batch = padded([audio(9_000), audio(16_000)])
    with torch.no_grad():
        assert torch.equal(student(*batch)[0], again(*batch)[0])
    assert again.config == student.config


@pytest.mark.parametrize("name", ["wav2vec2-group", "wavlm-layer", "parakeet"])
def test_training_reaches_every_weight_and_leaves_statistics(name: str, saved: Saved) -> None:
    student, _, _ = student_of(saved(name), dropout=0.0)
    student.train()
    before = {key: value.clone() for key, value in student.named_buffers()}
    batch = padded([audio(9_000), audio(16_000)])
    first = student(*batch)[0]
    assert torch.equal(first, student(*batch)[0]), "nothing is dropped or masked"
    first.square().sum().backward()
    assert not [key for key, value in student.named_parameters() if value.grad is None]
    assert all(torch.equal(value, before[key]) for key, value in student.named_buffers())


def test_only_features_are_augmented(saved: Saved) -> None:
    seen = []

    def blank(features: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        seen.append((tuple(features.shape), lengths.tolist()))
        return features * 0

    batch = padded([audio(9_000), audio(16_000)])
    student_of(saved("wav2vec2-layer"))[0](*batch, blank)
    assert not seen
    student_of(saved("parakeet"))[0](*batch, blank)
    assert seen == [((2, 100, 80), [56, 100])]


def test_a_directory_without_weights_or_of_other_units_gives_random_ones(
    saved: Saved, tmp_path: Path
) -> None:
    source = saved("wav2vec2-layer")
    units = Vocabulary(("<b>", *"abc"), 0, None, frozenset(), False)
    config = PretrainedConfig(source=str(source))
    other = make_pretrained(config, None, units)
    teacher = TransformersTeacher.open(HuggingFaceTeacher(path=str(source)))
    first = next(iter(dict(other.named_parameters())))
    assert torch.equal(other.get_parameter(first), dict(teacher._model.named_parameters())[first[6:]])
    assert other(*padded([audio(9_000)]))[0].shape[2] == len(units)
    for file in ("config.json", "preprocessor_config.json"):
        (tmp_path / file).write_bytes((source / file).read_bytes())
    empty = make_pretrained(PretrainedConfig(source=str(tmp_path)), None, units)
    assert not torch.equal(empty.get_parameter(first), other.get_parameter(first))


def test_what_cannot_become_a_student_is_refused_in_one_line(saved: Saved) -> None:
    with pytest.raises(ConfigError, match="layer 7, the source has 0 to 1"):
        student_of(saved("parakeet"), layers=[0, 7])
    with pytest.raises(ConfigError, match="layers is 3, the source has 2"):
        student_of(saved("parakeet"), layers=3)
    with pytest.raises(ConfigError, match="adapter"):
        student_of(saved("wav2vec2-adapter"))
    with pytest.raises(ConfigError, match=r"family 'data2vec-audio'; students .* wav2vec2"):
        student_of(saved("data2vec"))
    with pytest.raises(ConfigError, match="80 ms: leave it out"):
        student_of(saved("parakeet"), frame_shift_ms=40)
    with pytest.raises(ConfigError, match="there is none"):
        make_pretrained(PretrainedConfig(), None, Vocabulary(("<b>", "a"), 0, None, frozenset(), False))
    assert json.loads(PretrainedConfig(layers=(0, 2)).model_dump_json())["layers"] == [0, 2]
