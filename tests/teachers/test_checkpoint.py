from pathlib import Path

import pytest
import torch

from kdcompress.config.student import ConformerConfig
from kdcompress.errors import TeacherError
from kdcompress.students.conformer import ConformerStudent
from kdcompress.students.weights import load_student, save_student
from kdcompress.teachers.open import open_teacher, resolve_teacher
from kdcompress.text.vocabulary import Vocabulary

VOCABULARY = Vocabulary(("<pad>", "|", "a", "b"), 0, "|")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Return a run directory with one checkpoint, of a student with much dropout."""
    torch.manual_seed(0)
    config = ConformerConfig(width=16, layers=1, heads=2, stem_channels=4, frame_shift_ms=40, dropout=0.5)
    save_student(
        tmp_path / "checkpoints" / "step-1", ConformerStudent(config, len(VOCABULARY)), VOCABULARY, {}
    )
    (tmp_path / "best").write_text("step-1\n")
    return tmp_path


def audio(*samples: int) -> tuple[torch.Tensor, torch.Tensor]:
    lengths = torch.tensor(samples)
    noise = 0.1 * torch.randn(len(samples), max(samples), generator=torch.Generator().manual_seed(0))
    return noise * (torch.arange(max(samples)) < lengths[:, None]), lengths


@pytest.mark.parametrize("below", [".", "checkpoints/step-1"])
def test_a_run_and_a_checkpoint_give_the_students_posteriors(run: Path, below: str) -> None:
    teacher = open_teacher(resolve_teacher(str(run / below)))
    student = load_student(run)
    waveforms, lengths = audio(16000, 9000)
    with torch.no_grad():
        log_probs, frames = student.model.eval()(waveforms, lengths)
    found = teacher.posteriors(waveforms, lengths)
    assert torch.equal(found.lengths, frames)
    for row, count in enumerate(frames.tolist()):
        assert torch.equal(found.log_probs[row, :count], log_probs[row, :count])
    torch.testing.assert_close(found.log_probs.exp().sum(-1), torch.ones(found.log_probs.shape[:2]))
    assert not found.log_probs.requires_grad
    assert teacher.vocabulary == VOCABULARY
    assert (teacher.sample_rate, teacher.frame_shift) == (16000, 0.04)
    assert teacher.fingerprint == student.fingerprint != ""
    assert teacher.bytes == 4 * teacher.parameters == 4 * student.model.parameter_count()


def test_neither_padding_nor_company_changes_an_utterance(run: Path) -> None:
    teacher = open_teacher(resolve_teacher(str(run)))
    waveforms, lengths = audio(16000, 9000, 3000)
    together = teacher.posteriors(waveforms, lengths)
    for row, samples in enumerate(lengths.tolist()):
        alone = teacher.posteriors(waveforms[row : row + 1, :samples], lengths[row : row + 1])
        count = int(alone.lengths[0])
        assert count == int(together.lengths[row])
        torch.testing.assert_close(
            alone.log_probs[0, :count], together.log_probs[row, :count], atol=1e-4, rtol=0.0
        )


def test_not_finite_is_refused(run: Path) -> None:
    teacher = open_teacher(resolve_teacher(str(run)))
    waveforms, lengths = audio(8000)
    with pytest.raises(TeacherError, match="NaN or infinity"):
        teacher.posteriors(waveforms * float("inf"), lengths)


def test_a_run_that_lost_its_checkpoint(run: Path) -> None:
    (run / "checkpoints" / "step-1" / "student.json").unlink()
    with pytest.raises(TeacherError, match="cannot open teacher") as caught:
        open_teacher(resolve_teacher(str(run)))
    assert "\n" not in str(caught.value)
