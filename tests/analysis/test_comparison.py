"""A comparison trains what is missing, scores it, and pairs the differences."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from typer.testing import CliRunner

from kdcompress.analysis.comparison import Cell, Materials, cells, compare, summarize
from kdcompress.cli.app import app
from kdcompress.config.comparison import Comparison, load_comparison
from kdcompress.config.recipe import Recipe, dump_recipe
from kdcompress.config.teacher import CachedTeacher
from kdcompress.distill.validate import ValidationFigures
from kdcompress.errors import ConfigError, RunError
from kdcompress.students.weights import load_student, save_student

Make = Callable[..., Recipe]


class Silent:
    """An observer that does not care."""

    def stage(self, name: str, done: int, total: int) -> None: ...
    def step(self, step: int, total: int, figures: dict[str, Any]) -> None: ...
    def validated(self, step: int, figures: ValidationFigures, best: bool) -> None: ...
    def say(self, text: str) -> None: ...


ROWS = {
    "all": ["objective.selection.kind=all"],
    "eliminate": ["objective.selection.kind=eliminate"],
    "labels": ["objective.kd_weight=0"],
}


@pytest.fixture(scope="module")
def manifest(audio_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("manifest") / "m.jsonl"
    lines = [
        {"audio_filepath": str(file), "duration": 0.4, "text": "ab c" if index % 2 else "a"}
        for index, file in enumerate(sorted(audio_folder.iterdir()))
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.fixture
def comparison(recipe: Make, tmp_path: Path) -> Comparison:
    (tmp_path / "recipe.yaml").write_text(dump_recipe(recipe()))
    data = {
        "description": "tiny",
        "recipe": str(tmp_path / "recipe.yaml"),
        "common": ["training.steps=2", "student.frame_shift_ms=40"],
    }
    (tmp_path / "c.yaml").write_text(
        yaml.safe_dump({**data, "seeds": [0, 1], "baseline": "all", "rows": ROWS})
    )
    return load_comparison(tmp_path / "c.yaml")


@pytest.fixture
def materials(audio_folder: Path, teacher_folder: Path, manifest: Path) -> Materials:
    return Materials(str(teacher_folder), audio_folder, manifest, manifest, audio_folder)


def test_rows_train_on_a_cache_of_the_teacher(
    comparison: Comparison, materials: Materials, tmp_path: Path
) -> None:
    cached = replace(materials, cache=tmp_path / "cache")
    taught = [cell.recipe.teacher for cell in cells(comparison, cached, tmp_path / "out")]
    assert all(teacher == CachedTeacher(path=tmp_path / "cache") for teacher in taught)


@pytest.mark.slow
def test_a_comparison_is_trained_in_shards_scored_and_summed_up(
    comparison: Comparison, materials: Materials, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    seen: list[tuple[str, int]] = []

    def note(cell: Cell, number: int, total: int) -> None:
        seen.append((cell.row, cell.seed))

    assert compare(comparison, materials, out, Silent(), shard=(0, 2), on_cell=note)
    assert seen == [("all", 0), ("labels", 0), ("eliminate", 1)]
    partly = summarize(comparison, materials, out)["rows"]
    assert list(partly) == ["all", "eliminate", "labels"]
    assert partly["eliminate"]["against_baseline"] is None  # not yet with the baseline's seed
    assert compare(comparison, materials, out, Silent(), on_cell=note)
    assert len(seen) == len(set(seen)) == 6
    seen.clear()
    assert compare(comparison, materials, out, Silent(), on_cell=note)
    assert seen == []

    summary = summarize(comparison, materials, out)
    json.dumps(summary)
    assert str(tmp_path) not in json.dumps(summary["recipe"])
    for name, row in summary["rows"].items():
        assert row["seeds"] == [0, 1]
        assert row["wer"]["low"] <= row["wer"]["value"] <= row["wer"]["high"]
        assert row["wer"]["value"] == pytest.approx(sum(row["wer_by_seed"]) / 2)
        assert sum(row["substitutions_insertions_deletions"]) == pytest.approx(row["wer"]["value"])
        assert (row["against_baseline"] is None) == (name == "all")
    found = summary["rows"]["eliminate"]
    expected = found["wer"]["value"] - summary["rows"]["all"]["wer"]["value"]
    assert found["against_baseline"]["value"] == pytest.approx(expected)

    # The command finds all of it done, prints a line per row, and writes what was asked for.
    arguments = ["compare", str(tmp_path / "c.yaml"), "--teacher", materials.teacher, "--out", str(out)]
    arguments += ["--audio", str(materials.audio), "--transcribed", str(materials.transcribed)]
    arguments += ["--test", str(materials.test), "--silence", str(materials.silence)]
    files = tmp_path / "summary.json", tmp_path / "plot.svg"
    done = CliRunner().invoke(app, [*arguments, "--json", str(files[0]), "--plot", str(files[1])])
    assert done.exit_code == 0, done.output
    assert [line.split()[0] for line in done.stdout.splitlines()] == list(ROWS)
    assert json.loads(files[0].read_text())["rows"] == json.loads(json.dumps(summary["rows"]))
    assert "</svg>" in files[1].read_text()
    assert CliRunner().invoke(app, [*arguments, "--shard", "2/2"]).exit_code == 2

    changed = comparison.model_copy(update={"common": ("training.steps=3", "student.frame_shift_ms=40")})
    with pytest.raises(ConfigError, match="other settings"):
        compare(changed, materials, out, Silent())


def test_a_row_may_have_a_teacher_of_its_own(
    comparison: Comparison, materials: Materials, tmp_path: Path
) -> None:
    found = load_student(Path(materials.teacher))
    with torch.no_grad():
        found.model.head.bias += 1.0
        found.model.head.bias[0] -= 0.5
    save_student(tmp_path / "other", found.model, found.vocabulary, {"step": 0})
    rows = {"all": (), "other": (f"teacher.path={tmp_path / 'other'}",)}
    asked = comparison.model_copy(update={"rows": rows, "seeds": (0,)})
    assert compare(asked, materials, tmp_path / "out", Silent())
    heard = [load_student(tmp_path / "out" / row / "seed-0").record["teacher"] for row in rows]
    assert heard[0] != heard[1]


def test_a_bad_row_is_found_before_the_first_is_trained(
    comparison: Comparison, materials: Materials, tmp_path: Path
) -> None:
    rows = {
        "all": (),
        "shape": (f"training.start_from={materials.teacher}", "student.width=40"),
        "labels": ("objective.kd_weight=0",),
        "absent": (f"teacher.path={tmp_path / 'nowhere'}",),
    }
    asked = comparison.model_copy(update={"rows": rows, "seeds": (0,)})
    with pytest.raises(
        ConfigError, match=r"2 of 4 rows cannot be trained: row shape: .*; row absent: "
    ) as failed:
        compare(asked, materials, tmp_path / "out", Silent())
    assert "\n" not in str(failed.value)
    assert not (tmp_path / "out").exists()


def test_a_row_that_fails_leaves_the_others_and_the_summary(
    comparison: Comparison, materials: Materials, tmp_path: Path
) -> None:
    data = comparison.model_dump(mode="json")
    data |= {"rows": {"burst": ["training.peak_lr=1e30"], "all": []}, "seeds": [0]}
    (tmp_path / "two.yaml").write_text(yaml.safe_dump(data))
    arguments = ["compare", str(tmp_path / "two.yaml"), "--teacher", materials.teacher]
    arguments += ["--audio", str(materials.audio), "--test", str(materials.test)]
    done = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "out")])
    assert isinstance(done.exception, RunError)
    assert str(done.exception).startswith(
        "1 of 2 runs failed, the others are done: burst, seed 0: the loss is"
    )
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["all"]


def test_rows_that_read_transcripts_need_them(
    comparison: Comparison, materials: Materials, tmp_path: Path
) -> None:
    by_row = {cell.row: cell for cell in cells(comparison, materials, tmp_path)}
    assert by_row["labels"].recipe.data.audio == materials.transcribed
    assert by_row["all"].recipe.data.audio == materials.audio
    without = Materials(materials.teacher, materials.audio, None, materials.test, None)
    with pytest.raises(ConfigError, match="row labels reads transcripts"):
        cells(comparison, without, tmp_path)


def test_every_bad_row_is_named(comparison: Comparison, materials: Materials, tmp_path: Path) -> None:
    rows = {"all": (), "one": ("training.stps=3",), "two": ("objective.selection.kind=some",)}
    asked = comparison.model_copy(update={"rows": rows})
    with pytest.raises(
        ConfigError, match=r"row one: training\.stps: unknown key.*; row two: .*no kind 'some'"
    ):
        cells(asked, materials, tmp_path)


def test_a_bad_comparison_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    for text, complaint in (
        ("rows: {a: []}\nrecipe: demo\ndescription: x\nbaseline: b", "baseline 'b' is none of the rows a"),
        ("rows: {}\nrecipe: demo\ndescription: x\nbaseline: b", "rows"),
        ("rows: [", "not YAML"),
        ("recipe: demo", "Field required"),
    ):
        path.write_text(text)
        with pytest.raises(ConfigError, match=complaint) as failed:
            load_comparison(path)
        assert "\n" not in str(failed.value)
    with pytest.raises(ConfigError, match="cannot read"):
        load_comparison(tmp_path / "none.yaml")
