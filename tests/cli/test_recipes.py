"""`kdcompress recipes list | show | validate`."""

import json
from pathlib import Path

import yaml
from typer.testing import CliRunner

from kdcompress.cli.app import app
from kdcompress.config.recipe import load_recipe
from kdcompress.resources import recipe_files, recipe_name

run = CliRunner()


def test_list_names_every_recipe_with_its_description() -> None:
    result = run.invoke(app, ["recipes", "list"])
    assert result.exit_code == 0
    expected = [[recipe_name(path), load_recipe(path).description] for path in recipe_files()]
    assert [line.split(maxsplit=1) for line in result.stdout.splitlines()] == expected


def test_list_as_json() -> None:
    data = json.loads(run.invoke(app, ["recipes", "list", "--json"]).stdout)
    assert [Path(row["path"]) for row in data] == recipe_files()
    assert set(data[0]) == {"name", "description", "path"}


def test_show_prints_a_valid_recipe_with_the_overrides_in_it(tmp_path: Path) -> None:
    path = recipe_files()[0]
    result = run.invoke(app, ["recipes", "show", recipe_name(path), "--set", "training.steps=7"])
    assert result.exit_code == 0
    assert yaml.safe_load(result.stdout)["training"]["steps"] == 7
    (tmp_path / "shown.yaml").write_text(result.stdout)
    assert load_recipe(tmp_path / "shown.yaml") == load_recipe(path, ["training.steps=7"])


def test_validate_says_which_recipe_is_wrong_and_why(tmp_path: Path) -> None:
    right, wrong = tmp_path / "right.yaml", tmp_path / "wrong.yaml"
    right.write_text("seed: 1\n")
    wrong.write_text("training: {stepz: 3}\n")
    assert run.invoke(app, ["recipes", "validate", str(right)]).exit_code == 0
    result = run.invoke(app, ["recipes", "validate", str(wrong), str(right), "nix"])
    assert result.exit_code == 1
    first, second, third = result.stdout.splitlines()
    assert first.startswith(f"wrong  {wrong}:")
    assert "training.stepz" in first
    assert second == f"ok     {right}"
    assert "no recipe named 'nix'" in third


def test_show_without_a_name_is_wrong_usage() -> None:
    assert run.invoke(app, ["recipes", "show"]).exit_code == 2
