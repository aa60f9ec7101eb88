"""Several processes on one cache: each shard once, whoever is killed, and the bytes of one that was not."""

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from kdcompress.audio.manifest import read_utterances
from kdcompress.config.cache import CacheStorage
from kdcompress.config.recipe import Recipe, dump_recipe
from kdcompress.distill.cache_writer import CacheSummary, write_cache
from kdcompress.distill.data.audio_batch import audio_batches
from kdcompress.distill.posteriors import cache as cache_module
from kdcompress.distill.posteriors.cache import open_cache, read_record
from kdcompress.errors import TooManyBadFiles
from kdcompress.files import writing_file

Make = Callable[..., Recipe]


class Quiet:
    """An observer that takes no note."""

    def stage(self, *_: Any) -> None: ...
    def say(self, *_: Any) -> None: ...


def write(recipe: Recipe, out: Path, **options: Any) -> CacheSummary:
    return write_cache(recipe, out, CacheStorage(), Quiet(), **{"shard_seconds": 1.0, **options})


def content(cache: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(cache.glob("*.*"))}


WORKER = (
    "import sys, time\n"
    "from pathlib import Path\n"
    "from types import SimpleNamespace\n"
    "from kdcompress.config.cache import CacheStorage\n"
    "from kdcompress.config.recipe import load_recipe\n"
    "from kdcompress.distill import cache_writer\n"
    "from kdcompress.distill.posteriors import shard_worker\n"
    "write = shard_worker.write_shard\n"
    "def slowly(folder, entry, arrays, identity):\n"
    "    print(entry.file, flush=True)\n"
    "    time.sleep(float(sys.argv[3]))\n"
    "    return write(folder, entry, arrays, identity)\n"
    "shard_worker.write_shard = slowly\n"
    "nothing = lambda *rest: None\n"
    "observer = SimpleNamespace(stage=nothing, say=nothing)\n"
    "cache_writer.write_cache(load_recipe(Path(sys.argv[1])), Path(sys.argv[2]), CacheStorage(), observer,\n"
    "    shard_seconds=1.0)\n"
)


def start(recipe: Recipe, out: Path, pause: float) -> "subprocess.Popen[str]":
    """Start a worker that prints each shard that it has labelled, and waits before it writes it."""
    path = out.with_suffix(".yaml")
    path.write_text(dump_recipe(recipe), encoding="utf-8")
    command = [sys.executable, "-c", WORKER, str(path), str(out), str(pause)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_a_cache_that_another_process_is_beginning_is_nothing_foreign(recipe: Make, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    with writing_file(tmp_path / "cache" / "cache.json"):
        assert write(recipe(), tmp_path / "cache").missing == 0


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("caches") / "undisturbed"


def expected(recipe: Make, undisturbed: Path) -> dict[str, bytes]:
    if not undisturbed.exists():
        write(recipe(), undisturbed)
    return content(undisturbed)


@pytest.mark.slow
def test_two_processes_label_each_shard_once(recipe: Make, tmp_path: Path, undisturbed: Path) -> None:
    workers = [start(recipe(), tmp_path / "cache", 0.1) for _ in range(2)]
    labelled = [worker.communicate(timeout=300)[0].split() for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0]
    files = sorted(name for name in expected(recipe, undisturbed) if name.startswith("shard-"))
    assert sorted(labelled[0] + labelled[1]) == files
    assert content(tmp_path / "cache") == expected(recipe, undisturbed)
    assert not (tmp_path / "cache" / "claims").exists()


@pytest.mark.slow
def test_the_shard_of_a_killed_process_is_labelled_by_another(
    recipe: Make, tmp_path: Path, undisturbed: Path
) -> None:
    cache = tmp_path / "cache"
    killed = start(recipe(), cache, 600)
    assert killed.stdout is not None
    lost = killed.stdout.readline().strip()  # labelled, and not yet written
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    assert list((cache / "claims").glob(f"{Path(lost).stem}.*"))
    done = write(recipe(), cache)
    assert (done.missing, done.reused) == (0, 0)
    assert content(cache) == expected(recipe, undisturbed)
    assert not (cache / "claims").exists()


@pytest.mark.slow
def test_a_second_one_leaves_what_is_being_labelled(recipe: Make, tmp_path: Path, undisturbed: Path) -> None:
    cache = tmp_path / "cache"
    busy = start(recipe(), cache, 600)
    assert busy.stdout is not None
    busy.stdout.readline()
    done = write(recipe(), cache)
    assert (done.missing, done.labelled) == (1, done.shards - 1)
    assert read_record(cache).shards is None
    os.kill(busy.pid, signal.SIGKILL)
    busy.communicate()
    assert write(recipe(), cache).labelled == 1  # the one more call
    assert content(cache) == expected(recipe, undisturbed)


def test_parts_are_a_whole_and_the_last_one_sums_up(recipe: Make, tmp_path: Path, undisturbed: Path) -> None:
    cache = tmp_path / "cache"
    done = [write(recipe(), cache, share=(part, 3)) for part in (2, 3, 1)]
    assert [summary.missing > 0 for summary in done] == [True, True, False]
    assert sum(summary.labelled for summary in done) == done[0].shards
    assert content(cache) == expected(recipe, undisturbed)


@pytest.mark.slow
def test_files_that_others_could_not_decode_are_listed_and_counted(
    recipe: Make, copied: dict[str, Any], tmp_path: Path
) -> None:
    for name in ("u03", "u12"):
        wav = tmp_path / "audio" / f"{name}.wav"
        soundfile.write(wav.with_suffix(".flac"), *soundfile.read(wav))
        wav.unlink()
        whole = wav.with_suffix(".flac").read_bytes()
        wav.with_suffix(".flac").write_bytes(whole[: len(whole) // 2])
    made = recipe(**copied, data__max_bad_share=0.2)
    for part in range(1, 10):
        write(made, tmp_path / "cache", share=(part, 9))
    listed = [json.loads(line) for line in (tmp_path / "cache" / "skipped.jsonl").read_text().splitlines()]
    assert {Path(entry["path"]).stem for entry in listed} == {"u03", "u12"}
    strict = recipe(**copied, data__max_bad_share=0.09)
    # One of twenty is allowed, and no worker meets two.
    total = write(made, tmp_path / "made", share=(1, 99)).shards
    ends = [ending(strict, tmp_path / "strict", part, total) for part in range(1, total + 1)]
    assert ends[:-1] == [""] * (total - 1)
    assert ends[-1].startswith("2 of 20 audio files are unusable")


def ending(recipe: Recipe, out: Path, part: int, of: int) -> str:
    """Label a single shard, and return what was said about unreadable files."""
    try:
        write(recipe, out, share=(part, of))
    except TooManyBadFiles as error:
        return str(error)
    return ""


@pytest.mark.slow
def test_a_hundred_shards_need_few_handles_and_maps(
    recipe: Make, audio_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = recipe(data__speed=[0.8, 0.9, 1.0, 1.1, 1.2, 1.3])
    write(made, tmp_path / "cache", shard_seconds=0.1)
    monkeypatch.setattr(cache_module, "_OPEN", 8)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/dev/fd")) + 20, hard))
    try:
        source = open_cache(tmp_path / "cache", torch.device("cpu"))
        shards = source.record.shards or ()
        assert len(shards) > 100
        trained = {id_ for entry in shards if not entry.whole for id_ in entry.ids}
        utterances = [u for u in read_utterances(audio_folder)[0] if u.id in trained]
        first: dict[float, list[np.ndarray]] = {}
        for _ in range(2):  # the second time after all of them were closed
            for speed in made.data.speed:
                for number, batch in enumerate(audio_batches(utterances, 1.0, speed=speed)):
                    found = source(batch).log_probs.numpy()
                    known = first.setdefault(speed, [])
                    if number == len(known):
                        known.append(found)
                    assert np.array_equal(found, known[number])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if sys.platform == "linux":
        maps = Path("/proc/self/maps").read_text(encoding="utf-8")
        assert maps.count(str(tmp_path / "cache" / "shard-")) <= 8
