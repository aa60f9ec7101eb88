"""Every shipped recipe is valid, described, and in the README's table."""

import re
from pathlib import Path

import pytest

from kdcompress.config.recipe import dump_recipe, load_recipe
from kdcompress.resources import recipe_files, recipe_name, resource_dir

RECIPES = pytest.mark.parametrize("path", recipe_files(), ids=recipe_name)


@RECIPES
def test_recipe_is_valid_and_says_what_it_is_for(path: Path) -> None:
    description = load_recipe(path).description
    assert 10 <= len(description) <= 90, "one line, for `kdcompress recipes list`"
    assert "\n" not in description


@RECIPES
def test_recipe_written_out_in_full_means_the_same(path: Path, tmp_path: Path) -> None:
    recipe = load_recipe(path)
    (tmp_path / "full.yaml").write_text(dump_recipe(recipe), encoding="utf-8")
    assert load_recipe(tmp_path / "full.yaml") == recipe


@RECIPES
def test_recipe_is_in_the_table_of_results(path: Path) -> None:
    assert f"`{recipe_name(path)}`" in (resource_dir("recipes") / "README.md").read_text(encoding="utf-8")


def test_reports_name_no_folder_of_the_machine_that_wrote_them() -> None:
    reports = [*resource_dir("recipes").rglob("*.json"), *resource_dir("export").rglob("results/**/*.json")]
    assert reports
    for path in reports:
        if "node_modules" in path.parts:
            continue
        for line in path.read_text(encoding="utf-8").splitlines():
            assert not re.search(r'": "/[a-z]', line), f"{path}: {line.strip()[:100]}"
