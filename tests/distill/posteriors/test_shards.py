"""Shards: what is read is what was written, or the shard is named as damaged."""

from pathlib import Path

import numpy as np
import pytest
import torch

from kdcompress.distill.posteriors.packing import Arrays, pack
from kdcompress.distill.posteriors.shards import Shard, ShardEntry, finished_shard, write_shard
from kdcompress.errors import CacheError

FRAMES = (7, 12, 9)


def utterances(top_k: int | None) -> list[Arrays]:
    generator = torch.Generator().manual_seed(0)
    packed = []
    for frames in FRAMES:
        log_probs = torch.randn(frames, 20, generator=generator).log_softmax(dim=-1)
        packed.append(pack(log_probs, torch.rand(frames, generator=generator) < 0.6, 0, top_k))
    return packed


@pytest.fixture(params=[None, 4])
def shard(tmp_path: Path, request: pytest.FixtureRequest) -> tuple[Shard, list[Arrays]]:
    arrays = utterances(request.param)
    entry = ShardEntry(
        file="shard-00000.safetensors",
        speed=1.0,
        whole=False,
        ids=("a", "b", "c"),
        frames=FRAMES,
        kept=tuple(int(one["kept"].sum()) for one in arrays),
    )
    return Shard(tmp_path / entry.file, write_shard(tmp_path, entry, arrays, "me"), "me"), arrays


def equal(found: Arrays, expected: Arrays) -> bool:
    return set(found) == set(expected) and all(np.array_equal(found[name], expected[name]) for name in found)


def test_every_utterance_comes_back(shard: tuple[Shard, list[Arrays]]) -> None:
    opened, arrays = shard
    assert all(equal(opened.read(position), arrays[position]) for position in range(3))
    assert finished_shard(opened.path, "me") == opened.entry


def test_no_flipped_byte_is_read_as_another_value(shard: tuple[Shard, list[Arrays]]) -> None:
    opened, arrays = shard
    whole = opened.path.read_bytes()
    for position in range(0, len(whole), max(1, len(whole) // 150)):
        damaged = bytearray(whole)
        damaged[position] ^= 1
        opened.path.write_bytes(damaged)
        again, intact = Shard(opened.path, opened.entry, "me"), 0
        for index, expected in enumerate(arrays):
            try:
                assert equal(again.read(index), expected), position
                intact += 1
            except CacheError:
                continue
        try:
            kept = finished_shard(opened.path, "me")
        except CacheError:  # of another cache, as far as it can be read
            continue
        # The same command makes anew what cannot be read; a flipped bit of the padding is of no matter.
        assert kept is None or intact == len(arrays)
