"""A student as a directory that transformers opens by itself."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_transformers import FAMILIES, save_model

from kdcompress.config.student import PretrainedConfig
from kdcompress.config.teacher import HuggingFaceTeacher
from kdcompress.distill.pretrained import make_pretrained
from kdcompress.errors import ConfigError, ExportError
from kdcompress.graph.huggingface import export_huggingface
from kdcompress.students.pretrained import PretrainedStudent
from kdcompress.students.transformers_inputs import import_transformers
from kdcompress.students.weights import save_student
from kdcompress.teachers.huggingface import TransformersTeacher
from kdcompress.verify.sound import synthetic_waveform


def made(name: str, folder: Path, shares: dict[str, float]) -> tuple[PretrainedStudent, Path]:
    """Return a student with a share of a family's units left in two of three parts, and its run."""
    import_transformers()
    (folder / "model").mkdir()
    save_model(name, folder / "model")
    source = str(folder / "model")
    vocabulary = TransformersTeacher.open(HuggingFaceTeacher(path=source)).vocabulary
    student = make_pretrained(PretrainedConfig(source=source), None, vocabulary)
    assert isinstance(student, PretrainedStudent)
    for index, (owner, part) in enumerate(student.anatomy()):
        if index % 3 and part.lever in shares and not part.fixed:
            kept = max(1, round(part.units * shares[part.lever]))
            part.cut(owner, torch.arange(part.units)[-kept:])
    student.config = student.config.model_copy(update={"sizes": student.anatomy().sizes()})
    save_student(folder / "run", student, vocabulary, {"step": 1})
    return student, folder / "run"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "shares"),
    [
        ("wav2vec2-layer", {"heads": 0.5, "feed_forward": 0.4, "front": 0.5}),
        ("hubert-group", {"feed_forward": 0.4, "front": 0.7}),
        ("wavlm-layer", {"heads": 0.5, "feed_forward": 0.3}),
        ("parakeet", {"heads": 0.5, "feed_forward": 0.3, "convolution": 0.6}),
        ("wav2vec2-bert", {"feed_forward": 0.3}),
    ],
)
def test_a_student_that_was_cut_unevenly_is_the_same_in_transformers(
    name: str, shares: dict[str, float], tmp_path: Path
) -> None:
    student, run = made(name, tmp_path, shares)
    found, said = export_huggingface(run, tmp_path / "out")
    assert found.max_abs < 5e-3
    assert "of rendered sound" in said
    # Its weights are a teacher's again, with the same units.
    teacher = TransformersTeacher.open(HuggingFaceTeacher(path=str(tmp_path / "out")))
    assert len(teacher.vocabulary) == student.vocabulary_size
    assert teacher.frame_shift == pytest.approx(FAMILIES[name].frame_shift)
    sound = torch.from_numpy(synthetic_waveform(1.1))[None]
    lengths = torch.tensor([sound.shape[1]])
    with torch.no_grad():
        np.testing.assert_allclose(
            teacher.posteriors(sound, lengths).log_probs, student(sound, lengths)[0], atol=5e-3
        )
    with pytest.raises(ExportError, match="already holds a model"):
        export_huggingface(run, tmp_path / "out")
    with pytest.raises(ExportError, match="not from here"):
        export_huggingface(run, tmp_path / "model", overwrite=True)


def test_what_transformers_cannot_say_is_refused(tmp_path: Path, tiny_checkpoint: Path) -> None:
    _, run = made("wav2vec2-bert", tmp_path, {"convolution": 0.5})
    with pytest.raises(ExportError, match="cut where a norm lies over what is left"):
        export_huggingface(run, tmp_path / "out")
    with pytest.raises(ConfigError, match="for students of kind pretrained"):
        export_huggingface(tiny_checkpoint, tmp_path / "out")
    assert not (tmp_path / "out").exists()
