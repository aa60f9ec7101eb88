"""Labelling: what is foreseen, and what survives kills, full disks and damaged files."""

import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import soundfile
import torch

from kdcompress.config.cache import CacheStorage
from kdcompress.config.recipe import Recipe, dump_recipe
from kdcompress.distill.cache_writer import CacheSummary, write_cache
from kdcompress.distill.loop import distill
from kdcompress.distill.posteriors.cache import open_cache, read_record
from kdcompress.errors import CacheError
from kdcompress.teachers.open import open_teacher
from kdcompress.teachers.teacher import Posteriors
from kdcompress.text.vocabulary import Vocabulary

Make = Callable[..., Recipe]

SHARD_SECONDS = 4.0
ALL, SELECTED = CacheStorage(), CacheStorage(frames="selected")


class Notes:
    """An observer that remembers."""

    def __init__(self) -> None:
        self.steps: list[dict[str, Any]] = []
        self.figures: list[Any] = []
        self.lines: list[str] = []

    def stage(self, name: str, done: int, total: int) -> None:
        self.lines.append(f"{name} {done}/{total}")

    def step(self, step: int, total: int, figures: dict[str, Any]) -> None:
        self.steps.append(figures)

    def validated(self, step: int, figures: Any, best: bool) -> None:
        self.figures.append(figures)

    def say(self, text: str) -> None:
        self.lines.append(text)


class Counting:
    """A teacher that counts the utterances it hears, and may fail after some."""

    def __init__(self, recipe: Recipe, fail_after: int | None = None) -> None:
        assert recipe.teacher is not None
        self.inner, self.heard, self.fail_after = open_teacher(recipe.teacher), 0, fail_after

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def posteriors(self, waveforms: torch.Tensor, lengths: torch.Tensor) -> Posteriors:
        self.heard += len(lengths)
        if self.fail_after is not None and self.heard > self.fail_after:
            raise KeyboardInterrupt
        return self.inner.posteriors(waveforms, lengths)


def write(recipe: Recipe, out: Path, storage: CacheStorage = ALL, **options: Any) -> CacheSummary:
    return write_cache(recipe, out, storage, Notes(), **{"shard_seconds": SHARD_SECONDS, **options})


def from_cache(recipe: Recipe, cache: Path) -> Recipe:
    return Recipe.model_validate(
        {**recipe.model_dump(mode="json"), "teacher": {"kind": "cache", "path": str(cache)}}
    )


class Wide:
    """A teacher of V tokens whose answers follow from the loudness of 20 ms pieces."""

    def __init__(self, size: int) -> None:
        self.vocabulary = Vocabulary(tuple(f"t{i}" for i in range(size)), 0)
        self.sample_rate, self.frame_shift, self.fingerprint, self.parameters, self.bytes = (
            16_000,
            0.02,
            "w",
            0,
            0,
        )
        self.weights = torch.randn(8, size, generator=torch.Generator().manual_seed(0))

    def posteriors(self, waveforms: torch.Tensor, lengths: torch.Tensor) -> Posteriors:
        pieces = waveforms[:, : waveforms.shape[1] // 320 * 320].unflatten(1, (-1, 8, 40))
        logits = 300 * pieces.square().mean(-1) @ self.weights
        logits[..., 0] += 2.0
        return Posteriors(logits.log_softmax(-1), lengths // 320, self.frame_shift)

    def to(self, device: Any) -> "Wide":
        return self


@pytest.mark.parametrize(
    ("size", "storage"),
    [
        (32, ALL),
        (32, SELECTED),
        (1024, CacheStorage(top_k=16)),
        (1024, CacheStorage(frames="selected", top_k=8)),
    ],
)
def test_the_size_is_foreseen(recipe: Make, tmp_path: Path, size: int, storage: CacheStorage) -> None:
    done = write(recipe(), tmp_path / "cache", storage, teacher=Wide(size))
    written = sum(p.stat().st_size for p in (tmp_path / "cache").glob("*.*") if not p.name.startswith("."))
    assert done.bytes == written
    assert done.estimated == pytest.approx(written, rel=0.05)


def test_size_and_time_are_told_before_the_work(recipe: Make, tmp_path: Path) -> None:
    notes = Notes()
    write_cache(recipe(), tmp_path / "cache", ALL, notes, shard_seconds=SHARD_SECONDS)
    announced = next(i for i, line in enumerate(notes.lines) if "the cache will take about" in line)
    first = next(i for i, line in enumerate(notes.lines) if line.startswith("Labelling"))
    assert announced < first
    assert notes.lines[-1].split()[-1] == "{0}/{0}".format(notes.lines[-1].split("/")[-1])


def test_an_interruption_costs_one_shard(recipe: Make, tmp_path: Path) -> None:
    made, cache = recipe(), tmp_path / "cache"
    whole = Counting(made)
    write(made, tmp_path / "whole", teacher=whole)
    stopped = Counting(made, fail_after=whole.heard - 12)
    with pytest.raises(KeyboardInterrupt):
        write(made, cache, teacher=stopped)
    finished = {path: path.stat().st_mtime_ns for path in cache.glob("shard-*")}
    assert finished
    with pytest.raises(CacheError, match="unfinished: run the same kdcompress cache command again"):
        distill(from_cache(made, cache), tmp_path / "run", Notes())
    resumed, told = Counting(made), []
    listener = SimpleNamespace(stage=lambda *_: None, say=lambda _: told.append(resumed.heard))
    done = write_cache(made, cache, ALL, listener, teacher=resumed, shard_seconds=SHARD_SECONDS)
    assert done.reused == len(finished)
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    record = read_record(cache)
    assert record.shards is not None
    fresh = [entry for entry in record.shards if cache / entry.file not in finished]
    # What was heard before the announcement was the sample that it rests on.
    assert resumed.heard - told[0] == sum(len(entry.ids) for entry in fresh)
    for path in (tmp_path / "whole").glob("shard-*"):
        assert (cache / path.name).read_bytes() == path.read_bytes()
    again = Counting(made)
    assert write(made, cache, teacher=again).estimated is None
    assert again.heard == 0


@pytest.mark.slow
def test_a_kill_leaves_whole_shards_only(recipe: Make, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(dump_recipe(recipe()))
    (tmp_path / "killed.py").write_text(
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from types import SimpleNamespace\n"
        "from kdcompress.config.cache import CacheStorage\n"
        "from kdcompress.config.recipe import load_recipe\n"
        "from kdcompress.distill import checkpoint, cache_writer\n"
        "shards, replace = [], os.replace\n"
        "def die(source, target):\n"
        "    shards.append(target)\n"
        "    if len(shards) == 5:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    replace(source, target)\n"
        "os.replace = die\n"
        "nothing = lambda *rest: None\n"
        "observer = SimpleNamespace(stage=nothing, say=nothing)\n"
        "recipe, out = load_recipe(Path(sys.argv[1])), Path(sys.argv[2])\n"
        "cache_writer.write_cache(recipe, out, CacheStorage(), observer,\n"
        f"    shard_seconds={SHARD_SECONDS})\n"
    )
    cache = tmp_path / "cache"
    command = [sys.executable, str(tmp_path / "killed.py"), str(tmp_path / "recipe.yaml"), str(cache)]
    killed = subprocess.run(command, check=False, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert list(cache.glob(".*.partial"))  # half a shard
    assert write(recipe(), cache).reused == 3  # cache.json came first
    assert open_cache(cache, torch.device("cpu")).frame_shift == 0.04
    assert not list(cache.glob(".*"))


def test_a_full_disk_loses_nothing(recipe: Make, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    write(recipe(), tmp_path / "whole")
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "whole").glob("shard-*")}
    # The record of all this is larger than such small shards: it is there already.
    shutil.copytree(tmp_path / "whole", cache, ignore=shutil.ignore_patterns("shard-*"))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (sorted(sizes.values())[-2] + 1, hard))
    try:
        with pytest.raises(CacheError, match="finished shards are kept; make room") as caught:
            write(recipe(), cache)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "\n" not in str(caught.value)
    kept = len(list(cache.glob("shard-*")))
    assert not list(cache.glob(".*"))
    assert 0 < kept < len(sizes)
    assert write(recipe(), cache).reused == kept


def spoil_record(cache: Path) -> None:
    text = (cache / "cache.json").read_text()
    (cache / "cache.json").write_text(text[: len(text) // 2])


def spoil_shard(cache: Path) -> None:
    content = (cache / "shard-00002.safetensors").read_bytes()
    (cache / "shard-00002.safetensors").write_bytes(content[: len(content) // 2])


def remove_shard(cache: Path) -> None:
    (cache / "shard-00001.safetensors").unlink()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (spoil_record, "cache.json is damaged .*finished shards are kept"),
        (spoil_shard, "shard-00002.safetensors is missing or damaged .*finished shards are kept"),
        (remove_shard, "lacks 1 of 9 shards, first shard-00001.safetensors: run the same"),
    ],
)
def test_damage_is_named_and_repaired_by_the_same_command(
    recipe: Make, tmp_path: Path, spoil: Callable[[Path], None], words: str
) -> None:
    made, cache = recipe(training__steps=2), tmp_path / "cache"
    before = write(made, cache)
    content = {path.name: path.read_bytes() for path in cache.glob("*.*")}
    spoil(cache)
    with pytest.raises(CacheError, match=words):
        distill(from_cache(made, cache), tmp_path / "run", Notes())
    done = write(made, cache)
    assert done.reused == before.shards - (spoil is not spoil_record)
    assert {path.name: path.read_bytes() for path in cache.glob("*.*")} == content


def test_files_that_cannot_be_decoded_are_listed_and_skipped(
    recipe: Make, copied: dict[str, Any], tmp_path: Path
) -> None:
    samples, rate = soundfile.read(tmp_path / "audio" / "u03.wav")
    soundfile.write(tmp_path / "audio" / "u03.flac", samples, rate)
    (tmp_path / "audio" / "u03.wav").unlink()
    content = (tmp_path / "audio" / "u03.flac").read_bytes()
    (tmp_path / "audio" / "u03.flac").write_bytes(content[: len(content) // 2])
    made = recipe(**copied, data__max_bad_share=0.2)
    write(made, tmp_path / "cache")
    record = read_record(tmp_path / "cache")
    assert record.shards is not None
    assert {id_ for entry in record.shards for id_ in entry.unreadable} == {"u03"}
    assert "u03.flac" in (tmp_path / "cache" / "skipped.jsonl").read_text()
    distill(from_cache(made, tmp_path / "cache"), tmp_path / "run", Notes())
