"""lhotse Shar directories: cuts.000000.jsonl.gz with recording.000000.tar, with or without `pack`'s index."""

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from kdcompress.audio.corpus.cuts import cut_text
from kdcompress.audio.corpus.index import indexed_shards, is_packed, read_index, shard_files
from kdcompress.audio.corpus.jsonl import parse_object
from kdcompress.audio.corpus.line import Line, Shard, numbered_lines
from kdcompress.audio.corpus.tars import Member, members
from kdcompress.errors import AudioError, ManifestError

_CUTS = re.compile(r"cuts\.(\d+)\.jsonl(\.gz)?")


def shar_shards(folder: Path) -> list[Shard]:
    """Return the shards of a Shar directory; of a packed one, no file but its corpus.json is opened.

    Raises:
        AudioError: the audio of a shard is missing, or packing was not finished.
    """
    if is_packed(folder):
        return [Shard(one.name, partial(_read_packed, folder, one.name)) for one in indexed_shards(folder)]
    shards = []
    for cuts in sorted(folder.iterdir()):
        if found := _CUTS.fullmatch(cuts.name):
            tar = folder / f"recording.{found[1]}.tar"
            if not tar.is_file():
                raise AudioError(f"{folder} has {cuts.name} and no {tar.name}, which ought to hold its audio")
            shards.append(Shard(found[1], partial(_read_shar, cuts, tar)))
    return shards


def _read_packed(folder: Path, name: str, with_text: bool) -> Iterator[Line]:
    if not with_text:
        return read_index(folder, name)
    tar, cuts, _ = shard_files(folder, name)
    return _read_shar(cuts, tar, True)


def _read_shar(cuts: Path, tar: Path, with_text: bool) -> Iterator[Line]:
    # Each recording is followed by its own manifest; the order is that of the cuts.
    audio = (one for one in members(tar) if one.suffix.rpartition(".")[2] not in {"json", "nometa"})
    for number, text in numbered_lines(cuts, "lhotse cuts"):
        where = f"{cuts}:{number}"
        cut = parse_object(text, where)
        member = next(audio, None)
        if member is None or cut.get("id") != _shar_id(member):
            found = f"{member.handle.name}" if member else "nothing"
            raise AudioError(f"{where}: the cut {cut.get('id')!r} has {found} as its place in {tar.name}")
        if member.suffix.endswith(".nodata"):
            raise AudioError(f"{where}: the cut {cut['id']!r} has no audio in {tar.name}")
        words = cut_text(cut, where) if with_text else None
        try:
            yield Line(number, cut["id"], member.handle, 0.0, float(cut["duration"]), words, known=True)
        except (KeyError, TypeError, ValueError) as error:
            raise ManifestError(f"{where}: expected a lhotse cut with id and duration") from error


def _shar_id(member: Member) -> str:
    return (member.key + member.suffix).rpartition(".")[0]
