"""Audio in which the teacher transcribes nothing is refused, and else tells how many labels speech has."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch

from kdcompress.config.recipe import Recipe
from kdcompress.distill.data.audio_batch import Batch, audio_batches
from kdcompress.distill.data.training_data import load_training_data
from kdcompress.distill.loop import distill
from kdcompress.distill.objective.label_rate import resolve_label_rate
from kdcompress.distill.objective.pseudo_labels import best_paths
from kdcompress.distill.posteriors.memory import TeacherPosteriors
from kdcompress.distill.run import Run
from kdcompress.errors import AudioError
from kdcompress.students.weights import load_student, save_student
from kdcompress.teachers.open import open_teacher
from kdcompress.teachers.teacher import Posteriors
from kdcompress.text.tokenizer import LongestMatch

Make = Callable[..., Recipe]


def nothing(*_: object) -> None: ...


OBSERVER: Any = SimpleNamespace(stage=nothing, step=nothing, validated=nothing, say=nothing)


def test_a_teacher_that_transcribes_nothing_teaches_nothing(
    recipe: Make, teacher_folder: Path, tmp_path: Path
) -> None:
    found = load_student(teacher_folder)
    with torch.no_grad():
        found.model.head.bias[0] += 1000
    save_student(tmp_path / "silent", found.model, found.vocabulary, {})
    made = recipe(teacher={"kind": "checkpoint", "path": str(tmp_path / "silent")}, training__steps=1)
    with pytest.raises(
        AudioError, match=r"transcribes nothing of .* utterances.* kdcompress inspect"
    ) as line:
        distill(made, tmp_path / "run", OBSERVER)
    assert "\n" not in str(line.value)


def test_the_rate_is_that_of_the_teachers_labels(recipe: Make, tmp_path: Path) -> None:
    made = recipe(data__noise_share=0.3)
    source = TeacherPosteriors(open_teacher(made.teacher), torch.device("cpu"))
    tokenizer = LongestMatch(source.vocabulary)
    data = load_training_data(made, tokenizer, Run(tmp_path), with_texts=False)
    assert data.clips
    labels = seconds = 0.0
    for utterance in data.training[: -data.clips]:
        (batch,) = audio_batches([utterance], 100)
        if ids := best_paths(source(batch), source.vocabulary).labels[0]:
            labels, seconds = labels + len(ids), seconds + utterance.duration
    rate = resolve_label_rate(made, data, source, tokenizer, is_spoken=True)
    assert rate == pytest.approx(labels / seconds, rel=1e-6)
    without = recipe(objective={"pseudo_label": {"weight": 0}})
    assert resolve_label_rate(without, data, source, tokenizer, is_spoken=True) == 0  # nothing asks for it


def test_the_rate_is_found_at_a_speed_of_the_recipe(recipe: Make, tmp_path: Path) -> None:
    class Watched(TeacherPosteriors):
        speeds: ClassVar[set[float]] = set()

        def __call__(self, batch: Batch) -> Posteriors:
            self.speeds.update(batch.speeds)
            return super().__call__(batch)

    rates = []
    for speed in (0.8, 1.1), (1.0,):
        made = recipe(objective={"pseudo_label": {"weight": 1.0}}, data__speed=speed)
        source = Watched(open_teacher(made.teacher), torch.device("cpu"))
        tokenizer = LongestMatch(source.vocabulary)
        data = load_training_data(made, tokenizer, Run(tmp_path), with_texts=False)
        rates.append(resolve_label_rate(made, data, source, tokenizer, is_spoken=True))
    assert Watched.speeds == {1.1, 1.0}, "a cache has no other"
    assert rates[0] == pytest.approx(rates[1], rel=0.3)
