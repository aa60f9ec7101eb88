"""What earlier versions wrote still opens: a recipe, a run, a cache and a bundle of commit 57bbdbf."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from kdcompress.config.recipe import load_recipe
from kdcompress.config.student import ConformerConfig
from kdcompress.runtime.recognizer import Recognizer
from kdcompress.verify.sound import synthetic_waveform

OLD = Path(__file__).parent / "old_files"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """Return a copy of the files, with the recordings that they name: tones, rendered again."""
    shutil.copytree(OLD, tmp_path / "old")
    (tmp_path / "old" / "recordings").mkdir()
    generator = np.random.default_rng(0)
    for index in range(4):
        time = np.arange(8000 + 800 * index) / 16_000
        sound = 0.3 * np.sin(2 * np.pi * (300 + 200 * index) * time)
        sound += 0.02 * generator.standard_normal(len(time))
        soundfile.write(tmp_path / "old" / "recordings" / f"{index}.wav", sound, 16_000)
    return tmp_path / "old"


class Quiet:
    """An observer that keeps the losses."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def step(self, step: int, steps: int, figures: dict[str, Any]) -> None:
        self.losses.append(figures["loss"])

    def stage(self, *_: object) -> None: ...
    def validated(self, *_: object) -> None: ...
    def say(self, *_: object) -> None: ...


def test_a_recipe_without_kinds_means_a_conformer() -> None:
    recipe = load_recipe(OLD / "run" / "recipe.yaml")
    assert isinstance(recipe.student, ConformerConfig)
    assert (recipe.student.kind, recipe.student.width) == ("conformer", 16)
    assert (
        "kind" not in (OLD / "run" / "recipe.yaml").read_text().partition("student:")[2].partition("data:")[0]
    )


def test_a_run_goes_on_and_a_cache_teaches(old: Path) -> None:
    """Its checkpoint is resumed, and the loss of the next step is that of the version that wrote it."""
    pytest.importorskip("torch", reason="no torch to train with")
    from kdcompress.distill.loop import distill
    from kdcompress.students.weights import load_student

    before = load_student(old / "run")
    assert (
        before.fingerprint
        == json.loads((old / "run" / "checkpoints" / "step-000002" / "student.json").read_text())[
            "fingerprint"
        ]
    )
    recipe = (old / "run" / "recipe.yaml").read_text()
    for was, now in (
        ("kind: checkpoint\n  path: /old/teacher", f"kind: cache\n  path: {old / 'cache'}"),
        ("audio: /old/recordings", f"audio: {old / 'recordings'}"),
        ("steps: 2\n", "steps: 3\n"),
    ):
        assert was in recipe
        recipe = recipe.replace(was, now)
    (old / "run" / "recipe.yaml").write_text(recipe)
    notes = Quiet()
    outcome = distill(None, old / "run", notes, resume=True)
    assert (outcome.step, outcome.finished, len(notes.losses)) == (3, True, 1)
    assert notes.losses[0] == pytest.approx(1.0524272, rel=1e-4)  # what 57bbdbf went on with
    assert load_student(old / "run").record["step"] in {2, 3}


def test_a_bundle_gives_the_tokens_that_it_promised() -> None:
    promised = json.loads((OLD / "bundle" / "selftest.json").read_text())["variants"]
    for variant in ("fp32", "int8-dynamic"):
        recognizer = Recognizer(OLD / "bundle", variant, threads=1)
        log_probs = recognizer.log_probs([recognizer.features(synthetic_waveform(1.5))])[0]
        assert log_probs.argmax(axis=1).tolist() == promised[variant]["best_tokens"]
