"""Students made of a Hugging Face teacher in the loop: from the teacher, from a cache, after a kill."""

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import torch
from tiny_transformers import save_model

from kdcompress.config.cache import CacheStorage
from kdcompress.config.recipe import Recipe
from kdcompress.distill.cache_writer import write_cache
from kdcompress.distill.loop import distill
from kdcompress.students.transformers_inputs import import_transformers
from kdcompress.students.weights import load_student

from .test_loop import Notes, losses, same_weights


def test_it_trains_and_goes_on_exactly_without_its_source(
    recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    import_transformers()
    source = tmp_path / "source"
    source.mkdir()
    save_model("parakeet", source)
    keys = {"kind": "pretrained", "layers": [1], "dropout": 0.1}
    asked = recipe(
        teacher={"kind": "huggingface", "path": str(source)}, student=keys, training__ema_decay=0.9
    )
    whole, broken, cached = (tmp_path / name for name in ("whole", "broken", "cached"))
    assert distill(asked, whole, Notes()).finished
    assert losses(whole)[-1][1] < losses(whole)[0][1]
    stopped = distill(asked, broken, Notes(4, lambda: os.kill(os.getpid(), signal.SIGTERM)))
    assert not stopped.finished
    assert distill(None, broken, Notes(), resume=True).finished
    assert losses(whole) == losses(broken)
    assert same_weights(whole, broken)
    write_cache(asked, tmp_path / "cache", CacheStorage(), Notes())
    from_cache = asked.model_copy(
        update={"teacher": recipe(teacher={"kind": "cache", "path": tmp_path / "cache"}).teacher}
    )
    assert distill(from_cache, cached, Notes()).finished
    assert losses(cached)[0][1] < 1.2 * losses(whole)[0][1]  # posteriors are kept in half precision
    shutil.rmtree(source)
    model = load_student(whole).model
    assert torch.isfinite(model(torch.zeros(1, 16_000), torch.tensor([16_000]))[0]).all()


def test_a_run_of_our_own_is_cut_to_a_budget_and_goes_on(
    recipe: Callable[..., Recipe], teacher_folder: Path, tmp_path: Path
) -> None:
    asked = recipe(student={"kind": "pretrained", "budget": "0.6x"}, training__steps=4)
    run = tmp_path / "run"
    assert not distill(asked, run, Notes(2, lambda: os.kill(os.getpid(), signal.SIGTERM))).finished
    begun = load_student(run / "cut")
    teacher = load_student(teacher_folder).model
    assert begun.model.parameter_count() <= 0.6 * teacher.parameter_count()
    assert json.loads((run / "cut" / "frontier.json").read_text())["tried"][-1]["share"] <= 0.6
    assert distill(None, run, Notes(), resume=True).finished
    assert load_student(run).model.config == begun.model.config
    again = tmp_path / "again"
    kept = recipe(student={"kind": "pretrained", "source": str(run), "dropout": 0.25}, training__steps=2)
    assert distill(kept, again, Notes()).finished
    assert load_student(again).model.config == begun.model.config.model_copy(update={"dropout": 0.25})
