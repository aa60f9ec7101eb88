"""A few variants of the campaign: what is damaged is refused in one line, or is what it was."""

from pathlib import Path
from shutil import copytree
from types import SimpleNamespace
from typing import Any

import pytest
from artifacts import open_artifacts, write_inputs
from damage import Campaign

from kdcompress.config.cache import CacheStorage
from kdcompress.config.recipe import load_recipe
from kdcompress.distill.cache_writer import write_cache
from kdcompress.distill.loop import distill


def nothing(*_: object) -> None: ...


OBSERVER: Any = SimpleNamespace(stage=nothing, step=nothing, validated=nothing, say=nothing)


@pytest.fixture(scope="session")
def campaign(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Path) -> Campaign:
    folder = tmp_path_factory.mktemp("artifacts")
    write_inputs(folder)
    recipe = load_recipe(folder / "mine.yaml", [f"data.audio={folder / 'audio'}"])
    distill(recipe, folder / "run", OBSERVER)
    write_cache(recipe, folder / "cache", CacheStorage(), OBSERVER)
    copytree(tiny_bundle, folder / "bundle")
    return Campaign(open_artifacts(folder), tmp_path_factory.mktemp("work"))


@pytest.mark.parametrize("numbers", [range(64), pytest.param(range(64, 1000), marks=pytest.mark.slow)])
def test_no_damage_passes(campaign: Campaign, numbers: range) -> None:
    outcomes = [campaign.attempt(number) for number in numbers]
    assert not [outcome for outcome in outcomes if outcome.is_fault]
    assert {outcome.verdict for outcome in outcomes} >= {"refused", "same", "unchecked"}
