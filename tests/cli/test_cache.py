"""`kdcompress inspect`, `cache` and `distill --cache` as a user meets them."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from kdcompress.cli.start import main
from kdcompress.config.recipe import load_recipe
from kdcompress.config.student import ConformerConfig
from kdcompress.students.conformer import ConformerStudent
from kdcompress.students.weights import save_student
from kdcompress.text.vocabulary import Vocabulary

TINY = ("width=16", "layers=1", "heads=2", "feed_forward=2", "kernel=3", "stem_channels=4")
QUICK = [part for item in TINY for part in ("--set", f"student.{item}")]
QUICK += ["--set", "training.steps=3", "--set", "training.validate_every=2", "--set", "data.batch_seconds=3"]

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def kdcompress(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """Return a caller of the command line: exit code, standard output, standard error."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["kdcompress", *map(str, arguments)])
        try:
            main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        out, err = capfd.readouterr()
        return code, out, err

    return call


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    folder = tmp_path / "teacher"
    torch.manual_seed(0)
    config = ConformerConfig(
        width=16, layers=1, heads=2, feed_forward=2, kernel=3, stem_channels=4, frame_shift_ms=40
    )
    save_student(folder, ConformerStudent(config, 4), Vocabulary(("<blk>", "|", "a", "b"), 0, "|"), {})
    return folder


@pytest.fixture
def audio(tmp_path: Path) -> Path:
    folder = tmp_path / "audio"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for index in range(6):
        soundfile.write(folder / f"{index}.wav", 0.1 * rng.standard_normal(12_000), 16_000)
    return folder


def test_a_cache_alone_trains_a_student(
    kdcompress: Command, teacher: Path, audio: Path, tmp_path: Path
) -> None:
    cache, run = tmp_path / "cache", tmp_path / "run"
    speeds = ["--set", "data.speed=[0.9, 1.1]", "--set", "seed=5"]
    code, out, err = kdcompress("cache", "--teacher", teacher, "--audio", audio, "--out", cache, *speeds)
    assert code == 0, err
    assert out.startswith(f"{cache}: ")
    told = " ".join(err.split())
    assert "of audio in about" in told
    assert "the cache will take about" in told
    assert f"next: kdcompress distill --cache {cache}" in told
    shutil.rmtree(teacher)
    code, out, err = kdcompress("distill", "--cache", cache, "--out", run, *QUICK)
    assert code == 0, err
    recipe = load_recipe(run / "recipe.yaml")
    assert (recipe.data.audio, recipe.data.speed, recipe.seed) == (audio, (0.9, 1.1), 5)
    assert recipe.teacher is not None
    assert recipe.teacher.kind == "cache"


def test_parts_of_a_cache_say_what_is_missing(
    kdcompress: Command, teacher: Path, audio: Path, tmp_path: Path
) -> None:
    known = ["cache", "--teacher", teacher, "--audio", audio, "--out", tmp_path / "cache", "--shard"]
    code, out, err = kdcompress(*known, "2/3")
    assert (code, out) == (0, f"{tmp_path / 'cache'}: labelled 1 of 2 shards, 1 are not finished\n"), err
    assert "this command once more" in err
    for wrong in ("4/3", "0/3", "3", "a/b"):
        code, out, err = kdcompress(*known, wrong)
        assert (code, out) == (2, "")
        assert "I/N" in err


def test_mistakes_are_one_line(kdcompress: Command, teacher: Path, audio: Path, tmp_path: Path) -> None:
    def refused(words: str, *arguments: object) -> None:
        code, out, err = kdcompress(*arguments)
        assert (code, out) == (1, "")
        (line,) = [line for line in err.splitlines() if line.startswith("error: ")]
        assert words in line
        assert "Traceback" not in err

    cache = tmp_path / "cache"
    refused("it has no cache.json", "distill", "--cache", tmp_path / "nothing", "--out", tmp_path / "run")
    refused("leave --teacher out", "distill", "--cache", cache, "--teacher", teacher, "--audio", audio)
    refused("give both --teacher and --audio", "cache", "--teacher", teacher, "--out", cache)
    known = ["--teacher", teacher, "--audio", audio, "--out"]
    refused("exists and is no cache", "cache", *known, teacher)
    (tmp_path / "file").write_text("")
    refused("cannot write to", "cache", *known, tmp_path / "file" / "cache")
    assert kdcompress("cache", *known, cache, "--frames", "selected", "--top-k", 2)[0] == 0
    refused("is a cache of other selection, storage", "cache", *known, cache)
    selection = ["--set", "objective.selection={kind: all}"]
    refused(
        "keeps the frames of symmetric", "distill", "--cache", cache, "--out", tmp_path / "run", *selection
    )


def test_inspect_tells_and_draws(
    kdcompress: Command, teacher: Path, audio: Path, tmp_path: Path, ink: Callable[[Path], float]
) -> None:
    plot = tmp_path / "plot.png"
    code, out, err = kdcompress("inspect", teacher, "--audio", audio, "--json", "--plot", plot)
    assert code == 0, err
    data = json.loads(out)
    assert data["utterances"] == 6
    assert data["frame_shift_ms"] == 40
    assert len(data["selected_shares"]) == 9
    assert set(data["collisions"]) == {"40", "80"}
    assert data["advice"]["n_ms"] >= 80
    assert 0.02 < ink(plot) < 0.8
    code, out, _ = kdcompress("inspect", teacher, "--audio", audio, "--max-seconds", 2)
    assert code == 0
    for words in (
        "blank",
        "longest silence",
        "labels colliding",
        "objective.selection.ms=",
        "student.frame_shift_ms=40",
    ):
        assert words in out
