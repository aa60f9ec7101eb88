from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from kdcompress.config.teacher import (
    TEACHERS,
    CheckpointTeacher,
    EnsembleTeacher,
    HuggingFaceTeacher,
    OnnxTeacher,
    TeacherConfig,
    TorchaudioTeacher,
)
from kdcompress.errors import TeacherError
from kdcompress.teachers.open import resolve_teacher
from kdcompress.teachers.teacher import Posteriors


def test_posteriors_check_their_shapes() -> None:
    log_probs, lengths = torch.zeros(2, 5, 3), torch.tensor([5, 0])
    found = repr(Posteriors(log_probs, lengths, 0.02))
    assert found == "Posteriors(log_probs=float32 [2, 5, 3], frame_shift=0.02)"
    for wrong in ((log_probs[0], lengths), (log_probs.double(), lengths), (log_probs, lengths[:1])):
        with pytest.raises(ValueError, match=r"\["):
            Posteriors(*wrong, 0.02)
    with pytest.raises(ValueError, match="int64"):
        Posteriors(log_probs, lengths.int(), 0.02)
    with pytest.raises(ValueError, match="frame_shift"):
        Posteriors(log_probs, lengths, 0.0)


@pytest.mark.parametrize("file", ["best", "last", "student.json"])
def test_a_run_or_checkpoint(tmp_path: Path, file: str) -> None:
    (tmp_path / file).write_text("")
    assert resolve_teacher(str(tmp_path)) == CheckpointTeacher(path=tmp_path)


def test_a_hugging_face_directory(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert resolve_teacher(str(tmp_path)) == HuggingFaceTeacher(path=str(tmp_path))


@pytest.mark.parametrize(
    "files", [["bundle.json", "config.json"], ["model.onnx", "tokens.txt"], ["model.onnx", "config.json"]]
)
def test_a_bundle_or_another_folder_with_a_graph(tmp_path: Path, files: list[str]) -> None:
    for file in files:
        (tmp_path / file).write_text("{}")
    assert resolve_teacher(str(tmp_path)) == OnnxTeacher(path=tmp_path)


def test_a_graph(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(b"")
    assert resolve_teacher(str(tmp_path / "a.onnx")) == OnnxTeacher(path=tmp_path / "a.onnx")
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"")
    # The graph beside the weights is somebody's export of them.
    assert resolve_teacher(str(tmp_path)) == HuggingFaceTeacher(path=str(tmp_path))


def test_a_pipeline() -> None:
    found = resolve_teacher("torchaudio:HUBERT_ASR_LARGE")
    assert found == TorchaudioTeacher(name="HUBERT_ASR_LARGE")


def test_a_hub_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert resolve_teacher("facebook/hubert-large-ls960-ft") == HuggingFaceTeacher(
        path="facebook/hubert-large-ls960-ft"
    )
    (tmp_path / "facebook" / "empty").mkdir(parents=True)  # what exists here is meant before the hub
    with pytest.raises(TeacherError, match="found neither"):
        resolve_teacher("facebook/empty")


@pytest.mark.parametrize("text", ["nothing", "./runs/missing", "/runs/missing", "runs/missing/best", ""])
def test_no_teacher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TeacherError, match=r"expected a run|found neither") as caught:
        resolve_teacher(text)
    assert "\n" not in str(caught.value)


class Mine:
    """A teacher that another package might add; only its keys matter here."""

    class Config(TeacherConfig):
        path: Path


@pytest.fixture
def mine(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make the kind known for the time of a test."""
    monkeypatch.setattr(TEACHERS, "_given", dict(TEACHERS._given))
    TEACHERS.add("mine", Mine)
    yield
    TEACHERS.__dict__.pop("_known", None)


def test_a_kind_of_another_package_is_named_before_a_colon(mine: None) -> None:
    assert resolve_teacher("mine:some/file") == Mine.Config(kind="mine", path=Path("some/file"))
    with pytest.raises(TeacherError, match="no teacher 'other:some/file'"):
        resolve_teacher("other:some/file")
    with pytest.raises(
        TeacherError, match="ensemble:x names no teacher: members: Field required; use a recipe"
    ):
        resolve_teacher("ensemble:x")


def test_members_of_an_ensemble_may_be_of_any_kind_but_two(mine: None) -> None:
    member = {"kind": "mine", "path": "x"}
    assert EnsembleTeacher(members=(member, member)).members[0] == Mine.Config(kind="mine", path=Path("x"))
    with pytest.raises(ValidationError, match="no members of kind cache; name the teachers one by one"):
        EnsembleTeacher(members=(member, {"kind": "cache", "path": "y"}))


def test_programs_of_the_first_releases_find_the_functions_where_they_were() -> None:
    from kdcompress.teachers import open as opening
    from kdcompress.teachers import teacher

    assert teacher.open_teacher is opening.open_teacher
    assert teacher.resolve_teacher is opening.resolve_teacher
