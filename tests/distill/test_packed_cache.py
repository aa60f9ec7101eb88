"""A cache of a packed corpus: one file for each of its shards and speeds, found by name."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from kdcompress.audio.corpus.pack import pack
from kdcompress.config.cache import CacheStorage
from kdcompress.config.recipe import Recipe
from kdcompress.distill.cache_writer import CacheSummary, write_cache
from kdcompress.distill.loop import distill
from kdcompress.distill.posteriors.cache import open_cache
from kdcompress.errors import CacheError

Make = Callable[..., Recipe]


class Quiet:
    def stage(self, name: str, done: int, total: int) -> None: ...
    def step(self, step: int, total: int, figures: dict[str, Any]) -> None: ...
    def validated(self, step: int, figures: Any, best: bool) -> None: ...
    def say(self, text: str) -> None: ...


def made(recipe: Recipe, out: Path, **options: Any) -> CacheSummary:
    return write_cache(recipe, out, CacheStorage(), Quiet(), **options)


@pytest.fixture
def packed(recipe: Make, audio_folder: Path, tmp_path: Path) -> Callable[..., Recipe]:
    pack(audio_folder, tmp_path / "packed", shard_size=6)

    def make(**changes: Any) -> Recipe:
        return recipe(data__audio=str(tmp_path / "packed"), data__noise_share=0.1, **changes)

    return make


def files(cache: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(cache.glob("shard-*"))}


def losses(run: Path) -> list[Any]:
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [line["loss"] for line in lines if "loss" in line]


def test_training_from_it_is_training_beside_the_teacher(
    packed: Callable[..., Recipe], tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    done = made(packed(), cache)
    assert (done.missing, done.shards) == (0, 1 + 2 * (4 + 1))  # held out; four shards and noise, twice
    assert {"shard-000000-0900.safetensors", "shard-noise-1000.safetensors"} <= set(files(cache))
    assert made(packed(), cache).reused == done.shards
    record = json.loads((cache / "cache.json").read_text())
    assert record["packed"] == 10
    assert set(record["training"]) == {"packed"}
    assert len(record["shards"]) == 1

    distill(packed(), tmp_path / "beside", Quiet())
    distill(packed(teacher={"kind": "cache", "path": str(cache)}), tmp_path / "from", Quiet())
    assert losses(tmp_path / "from") == pytest.approx(
        losses(tmp_path / "beside"), rel=1e-2
    )  # kept in float16


def test_parts_made_apart_are_the_same_bytes(packed: Callable[..., Recipe], tmp_path: Path) -> None:
    made(packed(), tmp_path / "whole")
    for share in (1, 2, 3):
        last = made(packed(), tmp_path / "cache", share=(share, 3))
    assert last.missing == 0
    assert files(tmp_path / "cache") == files(tmp_path / "whole")
    lost = tmp_path / "cache" / "shard-000001-1000.safetensors"
    lost.unlink()
    with pytest.raises(CacheError, match=r"000001-1000\.safetensors is missing"):
        distill(packed(teacher={"kind": "cache", "path": str(tmp_path / "cache")}), tmp_path / "run", Quiet())
    assert made(packed(), tmp_path / "cache").labelled == 1
    assert files(tmp_path / "cache") == files(tmp_path / "whole")


def test_opening_it_reads_no_list_of_utterances(packed: Callable[..., Recipe], tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    made(packed(), cache)
    opened = open_cache(cache, torch.device("cpu"))
    assert len(opened._places) == len(opened.record.held_out)


def test_another_packing_is_refused(
    packed: Callable[..., Recipe], audio_folder: Path, tmp_path: Path
) -> None:
    made(packed(), tmp_path / "cache")
    cached = packed(teacher={"kind": "cache", "path": str(tmp_path / "cache")})
    shutil.rmtree(tmp_path / "packed")
    pack(audio_folder, tmp_path / "packed", shard_size=5)
    with pytest.raises(CacheError, match="is of other audio"):
        distill(cached, tmp_path / "run", Quiet())
