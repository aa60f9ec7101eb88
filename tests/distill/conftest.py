"""A small world: noisy tones as speech, a random tiny teacher, a recipe of a few steps."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from kdcompress.config.recipe import Recipe
from kdcompress.config.student import StudentConfig
from kdcompress.students.student import CtcStudent
from kdcompress.students.weights import save_student
from kdcompress.text.vocabulary import Vocabulary

TINY = {"width": 16, "layers": 1, "heads": 2, "feed_forward": 2.0, "kernel": 3, "stem_channels": 4}


@pytest.fixture(scope="session")
def audio_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return twenty wav files of 0.4 to 1 s."""
    folder = tmp_path_factory.mktemp("audio")
    rng = np.random.default_rng(0)
    for index in range(20):
        time = np.arange(6400 + 480 * index) / 16_000
        tone = np.sin(2 * np.pi * rng.uniform(200, 3000) * time)
        soundfile.write(
            folder / f"u{index:02}.wav", 0.3 * tone + 0.02 * rng.standard_normal(len(time)), 16_000
        )
    return folder


@pytest.fixture(scope="session")
def teacher_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a checkpoint of a random model that does not say blank all the time."""
    folder = tmp_path_factory.mktemp("teacher") / "checkpoint"
    torch.manual_seed(5)
    model = CtcStudent(StudentConfig(**TINY, frame_shift_ms=40), 5)
    with torch.no_grad():
        model.head.weight *= 8
    save_student(folder, model, Vocabulary(("<blk>", "|", "a", "b", "c"), blank=0, word_boundary="|"), {})
    return folder


@pytest.fixture
def recipe(audio_folder: Path, teacher_folder: Path) -> Callable[..., Recipe]:
    """Return a maker of recipes of eight steps, three batches to an epoch."""

    def make(**changes: Any) -> Recipe:
        data = {
            "seed": 3,
            "teacher": {"kind": "checkpoint", "path": str(teacher_folder)},
            "student": {**TINY, "dropout": 0.1},
            "data": {
                "audio": str(audio_folder),
                "batch_seconds": 5,
                "buckets": 2,
                "speed": [0.9, 1.0],
                "validation": {"share": 0.1},
            },
            "training": {"steps": 8, "validate_every": 3, "log_every": 1, "peak_lr": 1e-2},
        }
        for key, value in changes.items():
            section, _, name = key.partition("__")
            if name:
                data.setdefault(section, {})
                data[section] = {**data[section], name: value}  # type: ignore[dict-item]
            else:
                data[section] = value
        return Recipe.model_validate(data)

    return make


@pytest.fixture
def copied(teacher_folder: Path, audio_folder: Path, tmp_path: Path) -> dict[str, Any]:
    """Return changes that let a recipe use copies of the teacher and of the audio, to be spoiled."""
    shutil.copytree(teacher_folder, tmp_path / "teacher")
    shutil.copytree(audio_folder, tmp_path / "audio")
    return {
        "teacher": {"kind": "checkpoint", "path": str(tmp_path / "teacher")},
        "data__audio": str(tmp_path / "audio"),
    }
