"""The files of a cache: many utterances' packed frames in one safetensors file, read in slices.

A shard names the cache that it belongs to and the utterances in it, so that a killed labelling finds out from
the files alone what is done.
"""

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from kdcompress.config.base import Frozen
from kdcompress.distill.posteriors.packing import Arrays
from kdcompress.errors import CacheError
from kdcompress.files import write_file

_ENTRY = "kdcompress"
_PER_KEPT_FRAME = ("log_probs", "tokens", "rest")


class ShardEntry(Frozen):
    """What is in a shard.

    Attributes:
        file: its name in the cache's directory.
        speed: factor that its audio was played at.
        whole: every frame is kept with every token, as validation needs it.
        ids: of the utterances, in order.
        frames: valid frames of each.
        kept: those of them that are stored with their tokens.
        unreadable: reason by id of the utterances that could not be decoded.
        checks: CRC-32 of what is stored of each utterance; none in shards of earlier versions.
    """

    file: str
    speed: float
    whole: bool
    ids: tuple[str, ...]
    frames: tuple[int, ...]
    kept: tuple[int, ...]
    unreadable: dict[str, str] = Field(default_factory=dict)
    checks: tuple[int, ...] = ()

    def without_list(self) -> "ShardEntry":
        """Return the entry without what grows with the utterances, of which there may be millions."""
        return self.model_copy(update={"ids": (), "frames": (), "kept": (), "checks": ()})


def write_shard(folder: Path, entry: ShardEntry, utterances: Sequence[Arrays], cache: str) -> ShardEntry:
    """Write a shard in one step; returns its entry with checks. `cache` is the identity of the cache.

    Raises:
        OSError: the disk is full, or the folder cannot be written.
    """
    stored = utterances[-len(entry.ids) :] if entry.ids else ()  # an empty one may come first
    entry = entry.model_copy(update={"checks": tuple(_check(arrays) for arrays in stored)})
    tensors = {name: np.concatenate([arrays[name] for arrays in utterances]) for name in utterances[0]}
    tensors["kept"] = np.packbits(tensors["kept"])
    # One key: several would come in any order, and the same shard would not be the same bytes.
    content = save(tensors, metadata={_ENTRY: json.dumps({"cache": cache, **entry.model_dump(mode="json")})})
    # Not safetensors' save_file: it hides from the caller what the system refused.
    write_file(folder / entry.file, content)
    return entry


def packed_file(shard: str, speed: float) -> str:
    """Return the name of the file for a shard of a packed corpus at a speed; for noise, of no shard."""
    return f"shard-{shard or 'noise'}-{round(1000 * speed):04}.safetensors"


def finished_shard(path: Path, cache: str, *, listed: bool = True) -> ShardEntry | None:
    """Return the entry of a whole shard of this cache; None where there is none, or it is damaged.

    Args:
        listed: read all that is stored; else its beginning, and its size, show that it is whole.

    Raises:
        CacheError: the shard belongs to another cache.
    """
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="numpy") as file:
            data = json.loads((file.metadata() or {})[_ENTRY])
        named = data.pop("cache")
        entry = ShardEntry.model_validate(data)
    except (OSError, SafetensorError, KeyError, ValueError, ValidationError, RecursionError):
        return None
    if named != cache:
        raise CacheError(
            f"{path} belongs to another cache (other audio, teacher, selection or storage); choose another "
            "--out, or delete it"
        )
    if not listed:
        return entry
    shard = Shard(path, entry, cache)
    try:
        for position in range(len(entry.ids)):
            shard.read(position)
    except CacheError:
        return None
    finally:
        shard.close()
    return entry


def _check(arrays: Arrays) -> int:
    """Return the CRC-32 of what is stored of an utterance, whatever it is stored beside."""
    check = 0
    for name in sorted(arrays):
        check = zlib.crc32(np.ascontiguousarray(arrays[name]).data, check)
    return check


@dataclass
class Shard:
    """A shard open for reading; frames are read from the disk as they are asked for."""

    path: Path
    entry: ShardEntry
    cache: str

    def read(self, position: int) -> Arrays:
        """Return what `pack` made of the utterance at a position of `entry.ids`.

        Raises:
            CacheError: the file is missing, damaged, or of another cache.
        """
        frames, stored = self._starts
        first, last = frames[position], frames[position + 1]
        row, end = stored[position], stored[position + 1]
        try:
            bits = np.unpackbits(self._slice("kept", first // 8, (last + 7) // 8))
            kept = bits[first % 8 : first % 8 + last - first].astype(bool)
            rows = {n: self._slice(n, row, end) for n in _PER_KEPT_FRAME if n in self._names}
            occupancy = self._slice("occupancy", first - row, last - end)
        except (OSError, SafetensorError, ValueError) as error:
            raise self._damaged(error) from error
        if int(kept.sum()) != end - row or "log_probs" not in rows:
            raise self._damaged("its frames are not those that it lists")
        arrays = {"kept": kept, **rows, "occupancy": occupancy}
        if self.entry.checks and _check(arrays) != self.entry.checks[position]:
            raise self._damaged(f"what it stores of {self.entry.ids[position]} is not what was written")
        return arrays

    @cached_property
    def positions(self) -> dict[str, int]:
        """Where each utterance is."""
        return {id_: position for position, id_ in enumerate(self.entry.ids)}

    def close(self) -> None:
        """Let go of the file, which the next read opens again."""
        for name in ("_names", "_file"):
            self.__dict__.pop(name, None)

    @cached_property
    def _starts(self) -> tuple[list[int], list[int]]:
        return list(accumulate(self.entry.frames, initial=0)), list(accumulate(self.entry.kept, initial=0))

    @cached_property
    def _file(self) -> Any:
        try:
            file = safe_open(self.path, framework="numpy")
        except (OSError, SafetensorError) as error:
            raise self._damaged(error) from error
        if json.loads((file.metadata() or {}).get(_ENTRY, "{}")).get("cache") != self.cache:
            raise self._damaged("it belongs to another cache")
        return file

    @cached_property
    def _names(self) -> Mapping[str, Any]:
        return {name: self._file.get_slice(name) for name in self._file.keys()}  # noqa: SIM118  # not a mapping

    def _slice(self, name: str, first: int, last: int) -> NDArray:
        found = self._names.get(name)
        if found is None or last > found.get_shape()[0]:
            raise ValueError(f"{name} is cut short")
        # safetensors does not slice nothing.
        return found[first:last] if last > first else np.empty((0, *found.get_shape()[1:]), np.float16)

    def _damaged(self, reason: object) -> CacheError:
        return CacheError(
            f"{self.path} is missing or damaged ({' '.join(str(reason).split())}); make it anew by the same "
            "kdcompress cache command: finished shards are kept"
        )
