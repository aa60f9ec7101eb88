"""A student of a Hugging Face model: 20 ms frames, lengths that differ at the end, its vocabulary."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from kdcompress.config.recipe import Recipe
from kdcompress.distill.loop import distill
from kdcompress.students.weights import load_student

UNITS = ["<pad>", "<s>", "</s>", "<unk>", "|", *"abcdefghijklmnopqrstuvwxyz'"]


def test_a_student_takes_the_frame_shift_and_units_of_a_hugging_face_teacher(
    hugging_face: Callable[..., Path], recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    figures: list[dict[str, Any]] = []
    observer = SimpleNamespace(
        stage=lambda *rest: None,
        step=lambda step, total, now: figures.append(now),
        validated=lambda *rest: None,
        say=lambda text: None,
    )
    teacher = {"kind": "huggingface", "path": str(hugging_face(UNITS))}
    changed = recipe(teacher=teacher, training__steps=30, training__peak_lr=4e-2)
    assert distill(changed, tmp_path / "run", observer).finished
    student = load_student(tmp_path / "run")
    assert student.model.frame_shift == 0.02
    assert student.vocabulary.tokens == tuple(UNITS)
    assert (student.vocabulary.blank, student.vocabulary.word_boundary) == (0, "|")
    assert figures[-1]["loss"] < 0.8 * figures[0]["loss"]
