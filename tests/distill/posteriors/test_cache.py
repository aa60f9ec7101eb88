"""Cached training against training beside the teacher, and what a cache refuses."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from kdcompress.config.cache import CacheStorage
from kdcompress.config.recipe import Recipe
from kdcompress.distill.cache_writer import CacheSummary, write_cache
from kdcompress.distill.data.training_data import load_training_data
from kdcompress.distill.loop import distill
from kdcompress.distill.posteriors.cache import open_cache, read_record
from kdcompress.distill.run import Run
from kdcompress.errors import CacheError, TeacherError
from kdcompress.students.weights import load_student, save_student
from kdcompress.teachers.open import open_teacher, resolve_teacher
from kdcompress.text.vocabulary import Vocabulary

Make = Callable[..., Recipe]

SHARD_SECONDS = 4.0
ALL, SELECTED = CacheStorage(), CacheStorage(frames="selected")


class Notes:
    """An observer that remembers."""

    def __init__(self) -> None:
        self.steps: list[dict[str, Any]] = []
        self.figures: list[Any] = []
        self.lines: list[str] = []

    def stage(self, name: str, done: int, total: int) -> None:
        self.lines.append(f"{name} {done}/{total}")

    def step(self, step: int, total: int, figures: dict[str, Any]) -> None:
        self.steps.append(figures)

    def validated(self, step: int, figures: Any, best: bool) -> None:
        self.figures.append(figures)

    def say(self, text: str) -> None:
        self.lines.append(text)


def write(recipe: Recipe, out: Path, storage: CacheStorage = ALL, **options: Any) -> CacheSummary:
    return write_cache(recipe, out, storage, Notes(), **{"shard_seconds": SHARD_SECONDS, **options})


def train(recipe: Recipe, run: Path) -> Notes:
    notes = Notes()
    distill(recipe, run, notes)
    return notes


def from_cache(recipe: Recipe, cache: Path) -> Recipe:
    return Recipe.model_validate(
        {**recipe.model_dump(mode="json"), "teacher": {"kind": "cache", "path": str(cache)}}
    )


@pytest.mark.parametrize("storage", [ALL, SELECTED], ids=["all", "selected"])
def test_cached_training_is_online_training_without_the_teacher(
    recipe: Make, copied: dict[str, Any], tmp_path: Path, storage: CacheStorage
) -> None:
    """Losses agree within 0.1 %: two units of fp16 rounding (2^-11), see the bound in test_packing."""
    made = recipe(**copied, data__noise_share=0.2, training__steps=6)
    online = train(made, tmp_path / "online")
    write(made, tmp_path / "cache", storage)
    shutil.rmtree(tmp_path / "teacher")
    cached = train(from_cache(made, tmp_path / "cache"), tmp_path / "cached")
    for one, other in zip(online.steps, cached.steps, strict=True):
        for name in ("loss", "kd", "occupancy"):
            assert other[name] == pytest.approx(one[name], rel=1e-3, abs=1e-6)
        for name in ("selected_share", "teacher_blank_rate"):
            assert other[name] == pytest.approx(one[name], abs=1e-9)
    for one, other in zip(online.figures, cached.figures, strict=True):
        assert other.kl == pytest.approx(one.kl, rel=1e-3)  # held-out audio is kept whole
        assert other.wer_against_teacher == one.wer_against_teacher
    record = json.loads((tmp_path / "cached" / "checkpoints" / "step-000006" / "student.json").read_text())
    assert record["teacher"] == read_record(tmp_path / "cache").teacher
    assert distill(
        None, tmp_path / "cached", Notes(), resume=True
    ).finished  # the run's recipe names the cache


def test_top_k_asks_for_no_more_than_it_knows(recipe: Make, tmp_path: Path) -> None:
    """With the rest in one class the divergence is at most that of all tokens."""
    made = recipe(training__steps=1)
    online = train(made, tmp_path / "online").steps[0]
    for top_k in (2, 4):
        cache, run = tmp_path / f"cache-{top_k}", tmp_path / f"run-{top_k}"
        write(made, cache, CacheStorage(top_k=top_k))
        cached = train(from_cache(made, cache), run)
        assert 0.3 * online["kd"] < cached.steps[0]["kd"] <= online["kd"] * 1.001
        assert cached.steps[0]["occupancy"] == pytest.approx(online["occupancy"], rel=1e-3)
        assert cached.steps[0]["selected_share"] == online["selected_share"]
    # Four of five tokens, the rest is the fifth: nothing is lost.
    assert cached.steps[0]["kd"] == pytest.approx(online["kd"], rel=1e-3)


def level(audio: Path) -> None:
    """Double the loudness of a file in place: same id, same length, other sound."""
    samples, rate = soundfile.read(audio / "u07.wav")
    soundfile.write(audio / "u07.wav", 2 * samples, rate)


def lengthen(audio: Path) -> None:
    samples, rate = soundfile.read(audio / "u07.wav")
    soundfile.write(audio / "u07.wav", np.concatenate([samples, samples]), rate)


def add(audio: Path) -> None:
    shutil.copy(audio / "u07.wav", audio / "zz.wav")


@pytest.mark.parametrize(("change", "words"), [(level, "u07"), (lengthen, "u07"), (add, "zz")])
def test_other_audio_is_refused(
    recipe: Make, copied: dict[str, Any], tmp_path: Path, change: Callable[[Path], None], words: str
) -> None:
    made, cache = recipe(**copied), tmp_path / "cache"
    write(made, cache)
    change(tmp_path / "audio")
    with pytest.raises(CacheError, match=rf"is of other audio: 1 of .* {words} .*make the cache anew"):
        distill(from_cache(made, cache), tmp_path / "run", Notes())
    with pytest.raises(
        CacheError, match=r"is a cache of other (training|held-out) audio: choose another --out"
    ):
        write(made, cache)
    assert read_record(cache).shards


def test_fewer_files_and_moved_ones_are_no_other_audio(
    recipe: Make, copied: dict[str, Any], tmp_path: Path
) -> None:
    write(recipe(**copied), tmp_path / "cache")
    (tmp_path / "audio").rename(tmp_path / "moved")
    moved = recipe(**{**copied, "data__audio": str(tmp_path / "moved")}, training__steps=1)
    train(from_cache(moved, tmp_path / "cache"), tmp_path / "run")
    shorter = recipe(**{**copied, "data__audio": str(tmp_path / "moved"), "training__steps": 1})
    data = shorter.data.model_copy(update={"max_seconds": 0.97})
    train(from_cache(shorter.model_copy(update={"data": data}), tmp_path / "cache"), tmp_path / "fewer")


def test_other_settings_are_refused(
    recipe: Make, teacher_folder: Path, copied: dict[str, Any], tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    narrow = {"objective": {"selection": {"kind": "symmetric", "frames": 1}}}
    made = recipe(data__noise_share=0.2, **narrow)
    write(made, cache, SELECTED)

    def refused(words: str, **changes: Any) -> None:
        asked = from_cache(recipe(**{"data__noise_share": 0.2, **narrow, **changes}), cache)
        with pytest.raises(CacheError, match=words) as caught:
            distill(asked, tmp_path / "run", Notes())
        assert "\n" not in str(caught.value)

    refused(
        "keeps the frames of symmetric frames=1 only, .* asks for all",
        objective={"selection": {"kind": "all"}},
    )
    refused("symmetric ms=80.0", objective={})
    assert not (tmp_path / "run").exists()  # before anything is written
    refused(r"has the speeds \[0.9, 1.0\], data.speed asks for \[1.1\]", data__speed=[1.0, 1.1])
    refused("noise-0000 .changed since.", seed=4)
    refused("was made with data.noise_share=0.2, the recipe has 0.3", data__noise_share=0.3)
    eliminate = recipe(
        data__noise_share=0.2, objective={"selection": {"kind": "eliminate"}}, training__steps=1
    )
    train(from_cache(eliminate, cache), tmp_path / "eliminate")
    student = from_cache(made, cache)
    with pytest.raises(CacheError, match="selected frames of 40 ms, the student has 80 ms"):
        open_cache(cache, torch.device("cpu")).check(student.objective.selection, 0.08)

    with pytest.raises(CacheError, match="is a cache of other storage"):
        write(made, cache, CacheStorage(frames="selected", top_k=2))
    with pytest.raises(CacheError, match="is a cache of other selection, storage"):
        write(made, cache, ALL)
    torch.manual_seed(1)
    other = recipe(data__noise_share=0.2, **narrow, **copied)
    changed = load_student(tmp_path / "teacher")
    with torch.no_grad():
        next(changed.model.parameters()).add_(1)
    save_student(changed.folder, changed.model, changed.vocabulary, {})
    with pytest.raises(CacheError, match="is a cache of other teacher"):
        write(other, cache, SELECTED)


def test_what_is_no_cache_is_left_alone(recipe: Make, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    with pytest.raises(CacheError, match="exists and is no cache"):
        write(recipe(), tmp_path / "run")
    with pytest.raises(CacheError, match=r"it has no cache\.json"):
        distill(from_cache(recipe(), tmp_path / "run"), tmp_path / "out", Notes())
    with pytest.raises(TeacherError, match="name the teacher itself"):
        write(from_cache(recipe(), tmp_path / "x"), tmp_path / "y")
    write(recipe(), tmp_path / "cache")
    record = json.loads((tmp_path / "cache" / "cache.json").read_text())
    (tmp_path / "cache" / "cache.json").write_text(json.dumps({**record, "schema": 99}))
    with pytest.raises(CacheError, match="schema 99, this kdcompress reads 1"):
        open_cache(tmp_path / "cache", torch.device("cpu"))
    with pytest.raises(TeacherError, match="name the teacher itself"):
        open_teacher(resolve_teacher(str(tmp_path / "cache")))


def test_a_shard_of_another_cache_is_refused(recipe: Make, tmp_path: Path) -> None:
    write(recipe(), tmp_path / "one")
    write(recipe(), tmp_path / "two", SELECTED)
    name = "shard-00001.safetensors"
    shutil.copy(tmp_path / "two" / name, tmp_path / "one" / name)
    with pytest.raises(CacheError, match="belongs to another cache"):
        train(from_cache(recipe(), tmp_path / "one"), tmp_path / "run")
    with pytest.raises(CacheError, match="belongs to another cache"):
        write(recipe(), tmp_path / "one")


def test_held_out_audio_has_ids_of_its_own(recipe: Make, audio_folder: Path, tmp_path: Path) -> None:
    """Answers are remembered by id: validation must not get those to a training file of the same name."""
    held = tmp_path / "held"
    held.mkdir()
    shutil.copy(audio_folder / "u19.wav", held / "u00.wav")
    shutil.copy(audio_folder / "u18.wav", held / "new.wav")
    made = recipe(data__validation={"audio": str(held)}, training__steps=1)
    material = load_training_data(
        made, Vocabulary(("<blk>", "a"), 0), Run.create(tmp_path / "gathered", made), with_texts=False
    )
    assert [u.id for u in material.held_out] == ["new", "held out/u00"]
    notes = [train(made, tmp_path / "remembered")]
    notes += [
        train(
            recipe(data__validation={"audio": str(held)}, training__steps=1, training__teacher_memory_mb=0),
            tmp_path / "asked",
        )
    ]
    write(made, tmp_path / "cache")
    notes += [train(from_cache(made, tmp_path / "cache"), tmp_path / "cached")]
    kl = [note.figures[0].kl for note in notes]
    assert kl == pytest.approx([kl[0]] * 3, rel=1e-3)
