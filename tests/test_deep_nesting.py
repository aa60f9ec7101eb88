"""Readers of JSON take a file of opening brackets for damaged, in one line."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from kdcompress.audio.corpus.index import DESCRIPTION, indexed_shards, read_header
from kdcompress.errors import AudioError

DEEP = "[" * 100_000


@pytest.mark.parametrize("name", [DESCRIPTION, "index.jsonl"])
def test_a_deep_index_of_packed_audio_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(DEEP)
    read: Callable[[], object] = {
        DESCRIPTION: lambda: indexed_shards(tmp_path),
        "index.jsonl": lambda: read_header(tmp_path / name),
    }[name]
    with pytest.raises(AudioError, match="cannot be read") as caught:
        read()
    assert "\n" not in str(caught.value)


def test_a_deep_shard_of_a_cache_is_made_anew(tmp_path: Path) -> None:
    from kdcompress.distill.posteriors import shards

    path = tmp_path / "x.safetensors"
    save_file({"a": np.zeros(1, np.float32)}, path, {shards._ENTRY: DEEP})
    assert shards.finished_shard(path, "cache") is None


def test_a_deep_lock_names_nobody(tmp_path: Path) -> None:
    from kdcompress import locks

    (tmp_path / "lock").write_text(DEEP[:4096])
    with (tmp_path / "lock").open("rb") as file:
        assert locks._read(file.fileno()) == {}
