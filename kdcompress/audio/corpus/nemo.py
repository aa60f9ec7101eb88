"""NeMo's tarred data sets: tarred_audio_manifest.json, whose lines have a shard_id, beside audio_0.tar, …"""

import re
from collections.abc import Iterator
from functools import lru_cache, partial
from pathlib import Path

from kdcompress.audio.corpus.jsonl import parse_line, parse_object
from kdcompress.audio.corpus.line import Line, Shard, numbered_lines
from kdcompress.audio.corpus.tars import members
from kdcompress.errors import AudioError, ManifestError

MANIFEST = "tarred_audio_manifest.json"
_NUMBER = re.compile(r"(\d+)\.tar")
# NeMo's name of a further stretch of the same file.
_STRETCH = re.compile(r"-sub\d+(?=\.[^.]*$)")


def nemo_shards(source: Path) -> list[Shard]:
    """Return the shards of a data set: of its folder, or of its manifest.

    Where NeMo wrote sharded_manifests/manifest_0.json, … too, those are read instead of the whole manifest.

    Raises:
        AudioError: there are no tars.
    """
    manifest = source / MANIFEST if source.is_dir() else source
    tars = {
        int(found[1]): tar for tar in manifest.parent.glob("*.tar") if (found := _NUMBER.search(tar.name))
    }
    if not tars:
        raise AudioError(f"{manifest} is of tarred audio, and no audio_0.tar, … are beside it")
    return [
        Shard(tars[number].name, partial(_read_shard, manifest, number, tars[number]))
        for number in sorted(tars)
    ]


def _read_shard(manifest: Path, number: int, tar: Path, with_text: bool) -> Iterator[Line]:
    own = manifest.parent / "sharded_manifests" / f"manifest_{number}.json"
    handles = {one.key + one.suffix: one.handle for one in members(tar)}
    where = own if own.is_file() else manifest
    lines = numbered_lines(own) if own.is_file() else _of_shard(manifest).get(number, [])
    for at, text in lines:
        line = parse_line(text, where, at, with_text=with_text)
        name = line.audio.relative_to(where.parent).as_posix()
        handle = handles.get(name) or handles.get(_STRETCH.sub("", name))
        if handle is None:
            raise AudioError(f"{where}:{at}: {name} is not in {tar.name}, where its shard_id says that it is")
        yield Line(
            at, line.id, handle, line.start, line.duration, line.text, line.channel, line.duration is not None
        )


@lru_cache(maxsize=1)  # all shards of one manifest are read one behind the other
def _of_shard(manifest: Path) -> dict[int, list[tuple[int, str]]]:
    shards: dict[int, list[tuple[int, str]]] = {}
    for number, text in numbered_lines(manifest):
        shard = parse_object(text, f"{manifest}:{number}").get("shard_id")
        if not isinstance(shard, int):
            raise ManifestError(
                f"{manifest}:{number}: expected shard_id, the number of a tar, found {shard!r}"
            )
        shards.setdefault(shard, []).append((number, text))
    return shards
