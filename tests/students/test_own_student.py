"""A student that is not ours: trained, kept, taken up again and exported by what knows `Student` only."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn

from kdcompress.config.recipe import Recipe
from kdcompress.config.student import STUDENTS, ConformerConfig, StudentConfig
from kdcompress.distill.loop import distill
from kdcompress.errors import ConfigError
from kdcompress.frontend.masks import valid_frames
from kdcompress.graph.write import export_run
from kdcompress.runtime.recognizer import Recognizer
from kdcompress.students.conformer import ConformerStudent
from kdcompress.students.features import FeatureStudent
from kdcompress.students.student import build_student, with_frame_shift
from kdcompress.students.weights import RECORD, load_student, save_student
from kdcompress.text.vocabulary import Vocabulary
from kdcompress.verify.sound import synthetic_waveform

VOCABULARY = Vocabulary(("<blk>", "|", "a", "b", "c"), blank=0, word_boundary="|")


class Plain(FeatureStudent):
    """One convolution."""

    class Config(StudentConfig):
        kind: Literal["plain"] = "plain"
        frame_shift_ms: Literal[40] = 40
        width: int = 8

    def __init__(self, config: Config, vocabulary_size: int) -> None:
        super().__init__(config, vocabulary_size)
        self.stem = nn.Conv1d(80, config.width, 5, stride=4, padding=2)
        self.head = nn.Linear(config.width, vocabulary_size)

    def encode(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        inside = features * valid_frames(lengths, features.shape[1])[..., None]
        x = self.stem(inside.transpose(1, 2)).relu().transpose(1, 2)
        return self.head(x).log_softmax(-1), (lengths + 3) // 4


class Quiet:
    """An observer that keeps the losses."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def step(self, step: int, steps: int, figures: dict[str, Any]) -> None:
        self.losses.append(figures["loss"])

    def stage(self, *_: object) -> None: ...
    def validated(self, *_: object) -> None: ...
    def say(self, *_: object) -> None: ...


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make the kind known for the time of a test."""
    monkeypatch.setattr(STUDENTS, "_given", dict(STUDENTS._given))
    STUDENTS.add("plain", Plain)
    yield
    STUDENTS.__dict__.pop("_known", None)


def test_it_is_trained_and_exported_by_its_kind(
    plain: None, recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    notes = Quiet()
    made = recipe(student={"kind": "plain", "width": 12}, training__steps=12)
    assert distill(made, tmp_path / "run", notes).finished
    assert min(notes.losses[6:]) < notes.losses[0]
    loaded = load_student(tmp_path / "run")
    assert isinstance(loaded.model, Plain)
    assert loaded.model.config == Plain.Config(width=12)

    bundle = export_run(tmp_path / "run", tmp_path / "bundle", quantize=())
    sound = synthetic_waveform(1.7)
    recognizer = Recognizer(bundle, "fp32", threads=1)
    found = recognizer.log_probs([recognizer.features(sound)])[0]
    with torch.no_grad():
        expected, _ = loaded.model(torch.from_numpy(sound)[None], torch.tensor([len(sound)]))
    torch.testing.assert_close(torch.from_numpy(found), expected[0], atol=1e-3, rtol=1e-3)


def test_one_that_is_made_already_is_trained_and_taken_up_again(
    plain: None, recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    student = Plain(Plain.Config(), 5)
    before = student.head.weight.detach().clone()
    distill(recipe(training__steps=2), tmp_path / "run", Quiet(), student=student)
    assert not torch.equal(student.head.weight, before)
    again = Plain(Plain.Config(), 5)
    assert distill(None, tmp_path / "run", Quiet(), resume=True, student=again).finished
    assert torch.equal(again.head.weight, student.head.weight)


def test_one_that_does_not_fit_is_refused_before_anything_is_written(
    recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="the student has 9 outputs, the vocabulary 5 units"):
        distill(recipe(), tmp_path / "run", Quiet(), student=Plain(Plain.Config(), 9))
    assert not (tmp_path / "run").exists()


def test_a_checkpoint_of_a_kind_that_is_not_installed_names_it(tmp_path: Path) -> None:
    save_student(tmp_path, Plain(Plain.Config(), 5), VOCABULARY, {})
    assert json.loads((tmp_path / RECORD).read_text())["config"]["kind"] == "plain"
    with pytest.raises(ConfigError, match=r"no student kind 'plain'.*kdcompress\.students") as caught:
        load_student(tmp_path)
    assert "\n" not in str(caught.value)


def test_weights_go_to_a_student_of_the_same_configuration_only(tmp_path: Path) -> None:
    torch.manual_seed(0)
    first, second = Plain(Plain.Config(), 5), Plain(Plain.Config(), 5)
    second.start_from(first, [])
    assert torch.equal(first.stem.weight, second.stem.weight)
    with pytest.raises(ConfigError, match="another shape"):
        Plain(Plain.Config(width=16), 5).start_from(first, [])
    conformer = ConformerStudent(ConformerConfig(width=16, layers=1, heads=2, frame_shift_ms=40), 5)
    with pytest.raises(ConfigError, match="of kind plain, this one of kind conformer"):
        conformer.start_from(first, [])


def test_the_frame_shift_comes_from_the_teacher_where_the_kind_allows_it() -> None:
    shape = with_frame_shift(ConformerConfig(width=16, layers=1, heads=2), 20)
    assert build_student(shape, VOCABULARY).frame_shift == 0.02
    with pytest.raises(
        ConfigError, match="frame shift is 30 ms, which students of kind conformer cannot have"
    ):
        with_frame_shift(shape, 30)
