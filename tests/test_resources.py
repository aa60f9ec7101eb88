"""Recipes are found by name or by path."""

from pathlib import Path

import pytest

from kdcompress.errors import ConfigError
from kdcompress.resources import recipe_files, recipe_name, recipe_path, resource_dir

ROOT = Path(__file__).resolve().parent.parent


def test_in_a_checkout_the_live_folders_win() -> None:
    assert resource_dir("recipes") == ROOT / "recipes"


def test_a_folder_that_is_nowhere_is_one_clear_line() -> None:
    with pytest.raises(ConfigError, match="the folder nowhere/ is missing"):
        resource_dir("nowhere")


def test_every_recipe_is_found_by_its_name_and_names_are_unique() -> None:
    files = recipe_files()
    assert files
    assert [recipe_path(recipe_name(path)) for path in files] == files


def test_a_path_is_taken_as_it_is(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    assert recipe_path(str(mine)) == mine
    assert recipe_name(mine) == str(mine)


def test_an_unknown_name_lists_those_that_exist() -> None:
    with pytest.raises(ConfigError, match=f"no recipe named 'nix'.*{recipe_name(recipe_files()[0])}"):
        recipe_path("nix")
    with pytest.raises(ConfigError, match=r"no recipe named 'dmo' \(did you mean 'demo'\?\)"):
        recipe_path("dmo")
