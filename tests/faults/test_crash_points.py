"""Killed before any change to the disk, the same command ends with what it would have ended with."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
import pytest
import yaml
from crash_points import content, crash_points, put_back

from kdcompress.analysis.comparison import Materials, compare
from kdcompress.config.cache import CacheStorage
from kdcompress.config.comparison import load_comparison
from kdcompress.config.recipe import Recipe, dump_recipe
from kdcompress.distill.cache_writer import write_cache
from kdcompress.distill.loop import distill
from kdcompress.errors import ExportError, RunError
from kdcompress.graph import write
from kdcompress.graph.write import export_run
from kdcompress.runtime.bundle import open_bundle

Make = Callable[..., Recipe]
# How many points are gone on from, evenly spaced: a few, or with the slow tests all.
FEW = pytest.mark.parametrize("most", [3, pytest.param(10_000, marks=pytest.mark.slow)])


def nothing(*_: object) -> None: ...


OBSERVER: Any = SimpleNamespace(stage=nothing, step=nothing, validated=nothing, say=nothing)


def every_point_is_survived(
    folder: Path, work: Callable[[], object], states: Path, most: int, spared: int = 5
) -> Iterator[Path]:
    """Yield `folder` at each point, then go on with `work` and compare with what an undisturbed run gave.

    Args:
        spared: fewer points than these would mean that nothing was watched.
    """
    before = states / "before"
    if folder.exists():
        shutil.copytree(folder, before)
    points = crash_points(folder, work, states)
    assert len(points) > spared
    expected = content(folder)
    assert not [name for name in expected if ".kdcompress-" in name]
    chosen = sorted({round(number * (len(points) - 1) / (most - 1)) for number in range(most)})
    for number in chosen if most < len(points) else range(len(points)):
        put_back(points[number], folder)
        yield folder
        work()
        assert content(folder) == expected, f"stopped at point {number} of {len(points)}"


def go_on(recipe: Recipe, out: Path) -> None:
    """Give the same command; where a run is there, what its refusal says."""
    try:
        distill(recipe, out, OBSERVER)
    except RunError as error:
        if "--resume" not in str(error):
            raise
        distill(None, out, OBSERVER, resume=True)


@FEW
def test_distill(recipe: Make, tmp_path: Path, most: int) -> None:
    """Three checkpoints, of which the first and the last are better than those before."""
    made = recipe(training__steps=3, training__validate_every=1, training__keep=0, data__noise_share=0.1)
    run = tmp_path / "run"
    for _ in every_point_is_survived(run, lambda: go_on(made, run), tmp_path / "states", most, 40):
        pass


@FEW
def test_cache(recipe: Make, tmp_path: Path, most: int) -> None:
    made, cache = recipe(data__noise_share=0.1), tmp_path / "cache"

    def work() -> None:
        write_cache(made, cache, CacheStorage(), OBSERVER, shard_seconds=8)

    for _ in every_point_is_survived(cache, work, tmp_path / "states", most, 10):
        pass


@pytest.fixture
def traced(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what is traced come from a file: tracing takes seconds, and writes nothing."""
    monkeypatch.setattr(write, "trace", lambda *_: onnx.load(str(tiny_bundle / "model.onnx")))


@FEW
@pytest.mark.usefixtures("traced")
def test_export(tiny_checkpoint: Path, tmp_path: Path, most: int) -> None:
    place = tmp_path / "bundles"
    place.mkdir()

    def work() -> None:
        try:
            export_run(tiny_checkpoint, place / "tones", quantize=())
        except ExportError as error:  # the kill came when all was done
            if "already holds a bundle" not in str(error):
                raise

    for _ in every_point_is_survived(place, work, tmp_path / "states", most):
        pass


@pytest.mark.slow
@FEW
@pytest.mark.usefixtures("traced")
def test_export_over_a_bundle(tiny_checkpoint: Path, tmp_path: Path, most: int) -> None:
    """There is a whole bundle at every moment: the old or the new."""
    place = tmp_path / "bundles"
    export_run(tiny_checkpoint, place / "tones")  # two graphs, the new one has one

    def work() -> None:
        export_run(tiny_checkpoint, place / "tones", quantize=(), overwrite=True)

    graphs = set()
    for _ in every_point_is_survived(place, work, tmp_path / "states", most):
        graphs.add(len(open_bundle(place / "tones", verify=True).variants))
    assert graphs == {1, 2}


@pytest.mark.slow
def test_compare(
    recipe: Make, audio_folder: Path, teacher_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kdcompress.analysis.comparison.rehearse", nothing)
    (tmp_path / "recipe.yaml").write_text(dump_recipe(recipe(training__steps=1, student__frame_shift_ms=40)))
    (tmp_path / "c.yaml").write_text(
        yaml.safe_dump(
            {
                "description": "tiny",
                "recipe": str(tmp_path / "recipe.yaml"),
                "seeds": [0],
                "baseline": "all",
                "rows": {"all": ["objective.selection.kind=all"], "trim": ["objective.selection.kind=trim"]},
            }
        )
    )
    lines = [{"audio_filepath": str(path), "text": "a b"} for path in sorted(audio_folder.iterdir())[:3]]
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    asked, out = load_comparison(tmp_path / "c.yaml"), tmp_path / "out"
    materials = Materials(str(teacher_folder), audio_folder, None, tmp_path / "m.jsonl", None)

    def work() -> None:
        assert compare(asked, materials, out, OBSERVER)

    for _ in every_point_is_survived(out, work, tmp_path / "states", 40, 40):
        pass
