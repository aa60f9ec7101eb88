"""The schemas of docs/schemas are what the code says, and what real files are."""

import json
import runpy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from kdcompress.config.recipe import load_recipe
from kdcompress.resources import profile_files, recipe_files, recipe_name, resource_dir

pytestmark = pytest.mark.slow  # of the documentation, like its commands

ROOT = Path(__file__).resolve().parents[2]
SCHEMAS = ROOT / "docs" / "schemas"
RECIPES = resource_dir("recipes")


def schema(name: str) -> Draft202012Validator:
    data = json.loads((SCHEMAS / f"{name}.schema.json").read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(data)
    return Draft202012Validator(data)


def json_lines(path: Path) -> Iterator[Any]:
    """Yield the first lines, the last, and every tenth: validation in Python takes its time."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return map(json.loads, [*lines[:10], *lines[10::10], lines[-1]])


def spoiled(data: Any, **changes: Any) -> Any:
    """Return a copy with other values at top-level keys; None takes the key away."""
    return {k: v for k, v in {**data, **changes}.items() if v is not None}


def test_generated_schemas_are_what_the_code_says() -> None:
    for name, text in runpy.run_path(str(SCHEMAS / "generate.py"))["schemas"]().items():
        assert (SCHEMAS / name).read_text(encoding="utf-8") == text, "run python docs/schemas/generate.py"


def test_every_schema_is_listed_and_is_one() -> None:
    formats = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
    for path in SCHEMAS.glob("*.json"):
        assert f"schemas/{path.name})" in formats
        schema(path.name.removesuffix(".schema.json"))


@pytest.mark.parametrize("path", recipe_files(), ids=recipe_name)
def test_recipes(path: Path) -> None:
    schema("recipe").validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    schema("recipe").validate(load_recipe(path).model_dump(mode="json"))


@pytest.mark.parametrize(
    "text",
    [
        "training: {stepz: 3}",
        "student: {preset: 9T}",
        "student: {kernel: 2}",
        "objective: {selection: {kind: nix}}",
        "objective: {kd_weight: 2}",
        "teacher: {kind: huggingface}",
        "base: [1]",
    ],
)
def test_what_is_no_recipe(text: str) -> None:
    assert not schema("recipe").is_valid(yaml.safe_load(text))


def test_comparisons_and_profiles() -> None:
    for path in RECIPES.glob("comparisons/*/comparison.yaml"):
        schema("comparison").validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    for path in profile_files().values():
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
        schema("profile").validate(data)
        assert not schema("profile").is_valid(spoiled(data, layout=None))


def test_manifests(recordings: Path) -> None:
    found = [*RECIPES.glob("demo/*.jsonl"), RECIPES / "comparisons" / "demo" / "train.jsonl"]
    for path in (*found, recordings / "test.jsonl"):
        for line in json_lines(path):
            schema("manifest").validate(line)


def test_manifests_of_an4(an4: Path) -> None:
    for name in ("train", "dev", "test"):
        for line in json_lines(an4 / f"{name}.jsonl"):
            schema("manifest").validate(line)


@pytest.mark.parametrize(
    "line",
    [
        {"duration": 1.0},
        {"audio_filepath": ""},
        {"audio_filepath": "a.wav", "duration": 0},
        {"audio_filepath": "a.wav", "duration": "1"},
        {"audio_filepath": "a.wav", "offset": -1},
        {"audio_filepath": "a.wav", "text": 3},
        [],
    ],
)
def test_what_is_no_line_of_a_manifest(line: Any, tmp_path: Path) -> None:
    from kdcompress.audio.manifest import read_texts
    from kdcompress.errors import ManifestError

    assert not schema("manifest").is_valid(line)
    good = {"audio_filepath": "a.wav", "text": "a"}
    (tmp_path / "m.jsonl").write_text(json.dumps({**good, **line} if line else line) + "\n")
    if line != {"duration": 1.0}:  # the rest of `good` has what this lacks
        with pytest.raises(ManifestError):
            read_texts(tmp_path / "m.jsonl")


def test_bundles(tiny_bundle: Path, waveform_bundle: Path, tone_bundle: Path) -> None:
    bundle = schema("bundle")
    for folder in (tiny_bundle, waveform_bundle, tone_bundle):
        bundle.validate(json.loads((folder / "bundle.json").read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    "change",
    [
        {"schema": 2},
        {"kind": "bundle"},
        {"vocabulary": {"tokens": ["a"]}},
        {"variants": {}},
        {"variants": {"fp32": {"file": "../model.onnx", "sha256": "0" * 64, "bytes": 1}}},
        {"frame_shift": 0},
        {"subsampling_factor": 0},
        {"frontend": None},
    ],
)
def test_what_is_no_bundle(change: dict[str, Any], tiny_bundle: Path) -> None:
    from kdcompress.errors import BundleError
    from kdcompress.runtime.bundle import Bundle

    data = json.loads((tiny_bundle / "bundle.json").read_text(encoding="utf-8"))
    changed = spoiled(data, **change)
    assert not schema("bundle").is_valid(changed)
    with pytest.raises(BundleError):
        Bundle.from_json(changed)


def test_runs(run: Path) -> None:
    schema("recipe").validate(yaml.safe_load((run / "recipe.yaml").read_text(encoding="utf-8")))
    lines = list(json_lines(run / "metrics.jsonl"))
    assert {"loss" in line for line in lines} == {True, False}
    for line in lines:
        schema("metrics").validate(line)
    for path in run.glob("checkpoints/*/student.json"):
        data = json.loads(path.read_text(encoding="utf-8"))
        schema("student").validate(data)
        assert not schema("student").is_valid(spoiled(data, schema=2))
    for line in json_lines(RECIPES / "demo" / "teacher" / "metrics.jsonl"):
        schema("metrics").validate(line)
    shipped = RECIPES / "demo" / "teacher" / "student.json"
    schema("student").validate(json.loads(shipped.read_text(encoding="utf-8")))


def test_a_run_holds_what_the_page_says(run: Path, cache: Path) -> None:
    page = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
    for path in (*run.rglob("*"), *cache.rglob("*")):
        name = "shard-00000.safetensors" if path.name.startswith("shard-") else path.name
        name = "step-000500" if name.startswith("step-") else name
        inside_data = "data" in path.relative_to(run.parent if run in path.parents else cache.parent).parts
        assert inside_data or name in page, path


def test_caches(cache: Path) -> None:
    data = json.loads((cache / "cache.json").read_text(encoding="utf-8"))
    schema("cache").validate(data)
    assert not schema("cache").is_valid(spoiled(data, teacher=None))
    assert not schema("cache").is_valid(spoiled(data, more=1))


def test_the_figure_is_what_the_code_selects(tmp_path: Path) -> None:
    made: Callable[[], str] = runpy.run_path(str(ROOT / "docs" / "selection_figure.py"))["figure"]
    drawn = (ROOT / "docs" / "selection.svg").read_text(encoding="utf-8")
    assert made() == drawn, "run python docs/selection_figure.py"
    assert "prefers-color-scheme: dark" in drawn
