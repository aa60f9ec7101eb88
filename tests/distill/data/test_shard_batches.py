"""Packed corpora: lanes share an epoch out without loss, at a cost that grows with nothing."""

import gc
import random
import sys
import tracemalloc
from collections import Counter
from collections.abc import Callable
from itertools import islice, takewhile
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from packed_index import write_packed

from kdcompress.audio.corpus.pack import pack
from kdcompress.config.recipe import Recipe
from kdcompress.distill.checkpoint import LoopState
from kdcompress.distill.data import packed_audio, shard_batches
from kdcompress.distill.data.packed_audio import PackedAudio
from kdcompress.distill.data.shard_batches import Place, ShardBatches
from kdcompress.distill.data.training_data import TrainingData, load_training_data
from kdcompress.distill.run import Run
from kdcompress.errors import AudioError, ConfigError
from kdcompress.text.vocabulary import Vocabulary

VOCABULARY = Vocabulary(("<b>", "a"), 0, None)
Sampled = tuple[tuple[str, ...], Place]


def opened(corpus: Path, run: Path, **data: Any) -> tuple[TrainingData, PackedAudio, Recipe]:
    recipe = Recipe.model_validate({"data": {"audio": str(corpus), "buckets": 4, "noise_share": 0, **data}})
    found = load_training_data(recipe, VOCABULARY, Run(run), with_texts=False)
    assert isinstance(found.training, PackedAudio)
    return found, found.training, recipe


def epoch(batches: ShardBatches, lane: int, number: int = 0, start: Place | None = None) -> list[Sampled]:
    """Return ids and places of a lane's batches, from a place of an epoch to its end."""
    found = []
    for cuts, _, place in batches.sampled(lane, start or (number, 0, 0)):
        if place[0] > number:
            return found
        found.append((tuple(cut.id for cut in cuts), place))
    raise AssertionError("lanes go on for ever")


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    counts = [7, 1, 30, 12, 25, 3]
    durations = [[1.0 + (7 * row % 10) for row in range(count)] for count in counts]
    return write_packed(tmp_path_factory.mktemp("uneven"), durations)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder where clips of noise are made once."""
    return tmp_path_factory.mktemp("run")


@settings(max_examples=12)
@given(st.integers(1, 5), st.integers(1, 4), st.integers(0, 3), st.sampled_from([0.0, 0.3]))
def test_an_epoch_has_every_utterance_once_over_all_lanes(
    uneven: Path,
    runs: Path,
    world: int,
    accumulate: int,
    number: int,
    noise: float,
) -> None:
    data, audio, recipe = opened(uneven, runs, noise_share=noise, batch_seconds=20)
    found: Counter[str] = Counter()
    for rank in range(world):
        batches = ShardBatches(audio, recipe.data, 1, accumulate, rank, world)
        for lane in range(batches.lanes):
            found += Counter(id_ for ids, _ in epoch(batches, lane, number) for id_ in ids)
    whole = {f"u{shard}-{row}" for shard, count in enumerate([7, 1, 30, 12, 25, 3]) for row in range(count)}
    held = {one.id for one in data.held_out}
    clips = {f"noise-{at:04}" for at in range(round(noise * (len(whole) - len(held))))}
    assert held
    assert found == Counter((whole - held) | clips)
    assert Counter(one.id for one in audio) == found


def test_more_processes_take_the_lanes_that_one_had(uneven: Path, tmp_path: Path) -> None:
    _, audio, recipe = opened(uneven, tmp_path, batch_seconds=20)
    alone = ShardBatches(audio, recipe.data, 1, accumulate=6)
    for world in (2, 3):
        for rank in range(world):
            one = ShardBatches(audio, recipe.data, 1, 6 // world, rank, world)
            for lane in range(one.lanes):
                assert epoch(one, lane) == epoch(alone, lane * world + rank)
    assert epoch(alone, 0) != epoch(alone, 0, number=1)


@given(st.integers(0, 2), st.data())
def test_a_place_is_taken_up_again(uneven: Path, runs: Path, number: int, draw: st.DataObject) -> None:
    _, audio, recipe = opened(uneven, runs, batch_seconds=20)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shard_batches, "BLOCK", 20)
        batches = ShardBatches(audio, recipe.data, 1)
        whole = epoch(batches, 0, number)
        assert len({place[1] for _, place in whole}) > 2
        at = draw.draw(st.integers(0, len(whole) - 1))
        assert epoch(batches, 0, number, start=whole[at][1]) == whole[at + 1 :]


def test_rows_of_a_batch_are_of_like_duration(uneven: Path, tmp_path: Path) -> None:
    _, audio, recipe = opened(uneven, tmp_path, batch_seconds=20)
    padded = total = 0.0
    for cuts, _, (number, *_) in ShardBatches(audio, recipe.data, 1).sampled(0):
        if number:
            break
        seconds = [cut.duration for cut in cuts]
        assert sum(seconds) <= 20
        padded, total = padded + max(seconds) * len(seconds), total + sum(seconds)
    assert total > 0.75 * padded


def test_too_few_utterances_for_the_lanes_are_refused(uneven: Path, tmp_path: Path) -> None:
    _, audio, recipe = opened(uneven, tmp_path)
    with pytest.raises(ConfigError, match="batches at a time"):
        ShardBatches(audio, recipe.data, 1, 4, 0, 64)
    with pytest.raises(AudioError, match="widen"):
        opened(uneven, tmp_path, min_seconds=20)
    audio.data = recipe.data.model_copy(update={"min_seconds": 20.0})
    sampled = ShardBatches(audio, recipe.data, 1).sampled(0)
    with pytest.raises(ConfigError, match="widen"):
        next(sampled)


@pytest.mark.parametrize("workers", [0, 2])
def test_the_stream_gives_audio_and_goes_on_from_its_state(
    audio_folder: Path, tmp_path: Path, workers: int
) -> None:
    pack(audio_folder, tmp_path / "packed", shard_size=6)
    _, audio, recipe = opened(
        tmp_path / "packed", tmp_path, batch_seconds=2, workers=workers, speed=[0.9, 1.0]
    )

    def taken(state: LoopState, count: int) -> list[tuple[Any, ...]]:
        batches = ShardBatches(audio, recipe.data, 1, accumulate=2)
        assert batches.lanes == 2 * max(1, workers)
        return [(b.ids, b.speeds, b.shards, b.waveforms) for b in islice(batches.stream(state), count)]

    state = LoopState()
    whole = taken(LoopState(), 14)
    broken = taken(state, 5)
    broken += taken(state, 9)
    assert state.position == 14
    assert all(name in {f"{number:06}" for number in range(4)} for *_, names, _ in whole for name in names)
    for one, other in zip(whole, broken, strict=True):
        assert one[:3] == other[:3]
        assert torch.equal(one[3], other[3])


def test_a_shard_that_is_gone_is_one_line(audio_folder: Path, tmp_path: Path) -> None:
    pack(audio_folder, tmp_path / "packed", shard_size=6)
    _, audio, recipe = opened(tmp_path / "packed", tmp_path, workers=1)
    (tmp_path / "packed" / "shar" / "recording.000001.tar").unlink()
    with pytest.raises(AudioError, match=r"^[^\n]*000001.tar is missing[^\n]*$"):
        list(ShardBatches(audio, recipe.data, 1).stream(LoopState()))


def calls(work: Callable[[], object]) -> int:
    """Count the calls of Python functions: as good as time, and the same at every run."""
    counted = 0

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal counted
        counted += event == "call"

    gc.collect()
    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
    return counted


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make what does not depend on the corpus small beside what might."""
    monkeypatch.setattr(packed_audio, "SAMPLED_SHARDS", 4)
    monkeypatch.setattr(shard_batches, "BLOCK", 1000)


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Return packed corpora of 10,000 and 100,000 utterances: 28 and 280 hours."""
    draw = random.Random(1)
    durations = [[draw.uniform(2, 18) for _ in range(100)] for _ in range(1000)]
    return {
        shards: write_packed(tmp_path_factory.mktemp(f"shards{shards}"), durations[:shards])
        for shards in (100, 1000)
    }


@pytest.mark.usefixtures("small_blocks")
def test_neither_time_nor_memory_to_the_first_batch_grows(corpora: dict[int, Path], tmp_path: Path) -> None:
    def start(corpus: Path) -> None:
        _, audio, recipe = opened(corpus, tmp_path)
        next(ShardBatches(audio, recipe.data, 1).sampled(0))

    counted = {shards: calls(lambda: start(corpora[shards])) for shards in corpora}  # noqa: B023  # called at once
    peaks = []
    for corpus in corpora.values():
        tracemalloc.start()
        start(corpus)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert counted[1000] < 1.2 * counted[100]  # of ten times the utterances, in shards of a hundred
    assert (
        peaks[1] - peaks[0] < 6 * 90_000
    )  # bytes for each further utterance; a list takes a hundred times that


@pytest.mark.usefixtures("small_blocks")
def test_a_batch_costs_the_same_at_every_world_size(corpora: dict[int, Path], tmp_path: Path) -> None:
    _, audio, recipe = opened(corpora[1000], tmp_path)
    cost = []
    for world in (1, 8, 64):
        batches = ShardBatches(audio, recipe.data, 1, rank=world - 1, world_size=world)
        made = sum(1 for _ in takewhile(lambda one: one[2][1] == 0, batches.sampled(0)))
        cost.append(calls(lambda: list(islice(batches.sampled(0), made))) / made)  # noqa: B023  # called at once
    assert max(cost[1:]) < 1.2 * cost[0]


@pytest.mark.usefixtures("small_blocks")
def test_resuming_reads_one_block(corpora: dict[int, Path], tmp_path: Path) -> None:
    """The last batch of an epoch is found as fast as the first of its block."""
    _, audio, recipe = opened(corpora[1000], tmp_path)
    batches = ShardBatches(audio, recipe.data, 1)
    blocks = len(batches.blocks(0, 0))
    assert blocks == 100
    *_, (_, last) = epoch(batches, 0, start=(0, blocks - 1, 0))
    first = calls(lambda: list(islice(batches.sampled(0), last[2])))
    place = (last[0], last[1], last[2] - 1)
    assert calls(lambda: next(batches.sampled(0, place))) < 1.2 * first
