"""Packed corpora without audio, for what reads their index only."""

import json
from collections.abc import Sequence
from pathlib import Path

from kdcompress.audio.corpus.index import DESCRIPTION, SCHEMA, shard_files

_BYTES = 160_000  # of an utterance in its tar, which is a hole


def write_packed(out: Path, durations: Sequence[Sequence[float]]) -> Path:
    """Write the index of a packed corpus, given the durations of each shard's utterances [s]."""
    shards = []
    for number, shard in enumerate(durations):
        tar, _, index = shard_files(out, f"{number:06}")
        for path in (tar, index):
            path.parent.mkdir(parents=True, exist_ok=True)
        with tar.open("wb") as file:
            file.truncate(len(shard) * _BYTES)
        samples = [round(16_000 * seconds) for seconds in shard]
        told = {"count": len(shard), "samples": sum(samples)}
        header = {"schema": SCHEMA, "source": "", "bytes": len(shard) * _BYTES, **told}
        rows = (
            [f"u{number}-{row}", row * _BYTES + 512, _BYTES - 512, one, "0" * 16]
            for row, one in enumerate(samples)
        )
        index.write_text("".join(json.dumps(one) + "\n" for one in [header, *rows]))
        shards.append({"name": f"{number:06}", **told})
    (out / DESCRIPTION).write_text(json.dumps({"schema": SCHEMA, "shards": shards}))
    return out
