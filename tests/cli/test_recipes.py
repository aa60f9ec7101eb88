"""`kdcompress recipes list | show | copy | validate`."""

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from kdcompress.cli.app import app
from kdcompress.config.recipe import load_recipe
from kdcompress.errors import ConfigError
from kdcompress.resources import recipe_files, recipe_name, resource_dir

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


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("data: {audio: absent}", "data.audio: no such file or folder"),
        ("data: {validation: {audio: absent}}", "data.validation.audio: no such"),
        ("data: {validation: {references: .}}", "data.validation.references"),
        ("teacher: {kind: checkpoint, path: absent}", "teacher.path: no such"),
        ("teacher: {kind: huggingface, path: ./absent}", "teacher.path: no such"),
        (
            "teacher: {kind: ensemble, members: [{kind: torchaudio, name: A}, {kind: onnx, path: absent}]}",
            "teacher.members.1.path: no such",
        ),
        ("training: {start_from: absent}\ndata: {audio: absent}", "absent; training.start_from: no such"),
    ],
)
def test_validate_misses_files_that_a_recipe_names(text: str, complaint: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text + "\n", encoding="utf-8")
    result = run.invoke(app, ["recipes", "validate", str(path)])
    assert result.exit_code == 1
    (line,) = result.stdout.splitlines()
    assert complaint in line
    assert line.count(str(path)) == 1
    if "references" not in complaint:
        assert run.invoke(app, ["recipes", "validate", "--schema-only", str(path)]).exit_code == 0
        for name in ("absent", "here"):
            (tmp_path / name).mkdir()
        assert run.invoke(app, ["recipes", "validate", str(path)]).exit_code == 0


def test_validate_knows_that_a_hub_id_is_no_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("teacher: {kind: huggingface, path: facebook/hubert-large-ls960-ft}\n")
    assert run.invoke(app, ["recipes", "validate", str(path)]).exit_code == 0


@pytest.mark.parametrize("path", recipe_files(), ids=recipe_name)
def test_a_copy_elsewhere_means_the_same(path: Path, tmp_path: Path) -> None:
    result = run.invoke(app, ["recipes", "copy", recipe_name(path), str(tmp_path)])
    assert result.exit_code == 0
    copy = Path(result.stdout.strip())
    assert copy.parent == tmp_path
    assert load_recipe(copy) == load_recipe(path)


def test_a_copy_keeps_comments_where_it_can(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("# why\nseed: 3\n", encoding="utf-8")
    run.invoke(app, ["recipes", "copy", str(tmp_path / "mine.yaml"), str(tmp_path / "copy.yaml")])
    assert (tmp_path / "copy.yaml").read_text(encoding="utf-8") == "# why\nseed: 3\n"


def test_a_copy_overwrites_nothing_and_is_named_as_a_recipe(tmp_path: Path) -> None:
    kept = tmp_path / "mine.yaml"
    kept.write_text("precious")
    for destination, complaint in ((kept, "exists already"), (tmp_path / "mine.txt", "yaml")):
        result = run.invoke(app, ["recipes", "copy", "an4", str(destination)])
        assert isinstance(result.exception, ConfigError)
        assert complaint in str(result.exception)
    assert kept.read_text() == "precious"
    assert [p.name for p in tmp_path.iterdir()] == ["mine.yaml"]


def test_validate_knows_comparisons(tmp_path: Path) -> None:
    shipped = sorted(map(str, (resource_dir("recipes") / "comparisons").glob("*/comparison.yaml")))
    result = run.invoke(app, ["recipes", "validate", *shipped])
    assert result.exit_code == 0, result.stdout
    assert len(shipped) > 2

    path = tmp_path / "comparison.yaml"
    text = "{{description: x, recipe: demo, baseline: a, seeds: [0], rows: {{a: [{}], b: [{}], c: []}}}}"
    for first, second, complaint in (
        (
            "training.stps=3",
            "data.speed=9",
            "row a: training.stps: unknown key (did you mean 'steps'?); row b: data",
        ),
        (
            "training.start_from=nix",
            "training.start_from=nix",
            "a, b: training.start_from: no such file or folder",
        ),
    ):
        path.write_text(text.format(first, second))
        result = run.invoke(app, ["recipes", "validate", str(path)])
        assert (result.exit_code, result.stdout.count("\n")) == (1, 1)
        assert complaint in result.stdout
    assert run.invoke(app, ["recipes", "validate", "--schema-only", str(path)]).exit_code == 0
    path.write_text("{rows: {a: []}}")
    result = run.invoke(app, ["recipes", "validate", str(path)])
    assert "description: Field required; recipe: Field required; baseline: Field required" in result.stdout
