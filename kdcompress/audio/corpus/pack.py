"""A corpus is packed: decoded, mixed and resampled once, into a lhotse Shar directory with an index."""

import gzip
import hashlib
import io
import json
import os
import re
import tarfile
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, islice
from multiprocessing import get_context, parent_process
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from kdcompress.aliases import Progress
from kdcompress.audio.corpus.index import DESCRIPTION, SCHEMA, is_packed, read_header, shard_files
from kdcompress.audio.corpus.line import Line
from kdcompress.audio.corpus.open import read_lines
from kdcompress.audio.decode import read_audio
from kdcompress.audio.utterance import SAMPLE_RATE
from kdcompress.errors import AudioError
from kdcompress.files import remove_leftovers, write_file, writing_file

SHARD_SIZE = 500  # utterances: about an hour, and 70 MB, of ten seconds each
_BLOCK = tarfile.BLOCKSIZE
_NUMBERED = re.compile(r"(?:cuts\.|recording\.)?(\d+)\.")


@dataclass(frozen=True, slots=True)
class PackSummary:
    """What was packed.

    Attributes:
        shards: number of shards.
        reused: how many of them were there already.
        utterances: number of utterances.
        seconds: of audio [s].
        skipped: number of utterances that could not be decoded; skipped.jsonl says why.
    """

    shards: int
    reused: int
    utterances: int
    seconds: float
    skipped: int


def pack(
    source: Path,
    out: Path,
    *,
    with_text: bool = False,
    shard_size: int = SHARD_SIZE,
    workers: int = 1,
    on_progress: Progress | None = None,
) -> PackSummary:
    """Write a corpus of any format as 16 kHz mono FLAC in tars, with lhotse's cuts and an index.

    Shards that are there, of the same lines, are kept, so that the same call goes on after a kill. The bytes
    do not depend on the number of workers.

    Args:
        source: a folder, a manifest or another corpus.
        out: the directory; a new one, or one that an earlier call left.
        with_text: pack the transcripts too.
        shard_size: utterances per shard.
        workers: processes.
        on_progress: called with the utterances done and their number.

    Raises:
        AudioError: `out` holds something else, or nothing of the source can be decoded.
        ManifestError: a line of the source is not what its format says.
    """
    if out.exists() and not is_packed(out) and any(out.iterdir()):
        raise AudioError(f"{out} holds something else than a packed corpus: name a new directory")
    lines = list(read_lines(source, with_text=with_text))
    for folder in (out, out / "index", out / "shar"):
        folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder)
    # Until the last shard is there, nobody takes the directory for a whole corpus.
    (out / DESCRIPTION).unlink(missing_ok=True)
    parts = [lines[first : first + shard_size] for first in range(0, len(lines), shard_size)]
    headers: dict[int, dict[str, Any]] = {}
    for number, part in enumerate(parts):
        if (header := _finished(out, number, part)) is not None:
            headers[number] = header
    reused = len(headers)
    missing = ((number, part, out, with_text) for number, part in enumerate(parts) if number not in headers)
    done = sum(len(parts[number]) for number in headers)
    if on_progress is not None:
        on_progress(done, len(lines))
    for number, header in _all_written(missing, workers):
        headers[number] = header
        done += len(parts[number])
        if on_progress is not None:
            on_progress(done, len(lines))
    _remove_beyond(out, len(parts))
    return _described(source, out, [headers[number] for number in range(len(parts))], reused)


def _described(source: Path, out: Path, headers: Sequence[dict[str, Any]], reused: int) -> PackSummary:
    skipped = [one for header in headers for one in header["skipped"]]
    utterances = sum(header["count"] for header in headers)
    if not utterances:
        raise AudioError(
            f"{source}: nothing of {len(skipped)} can be decoded; the first: {skipped[0]['reason']}"
        )
    if skipped:
        write_file(out / "skipped.jsonl", "".join(json.dumps(one) + "\n" for one in skipped))
    seconds = sum(header["samples"] for header in headers) / SAMPLE_RATE
    shards = [
        {
            "name": f"{number:06}",
            "count": header["count"],
            "samples": header["samples"],
            "digest": hashlib.sha256(shard_files(out, f"{number:06}")[2].read_bytes()).hexdigest()[:16],
        }
        for number, header in enumerate(headers)
    ]
    content = {"schema": SCHEMA, "count": utterances, "seconds": seconds, "shards": shards}
    write_file(out / DESCRIPTION, json.dumps(content, indent=1) + "\n")
    return PackSummary(len(headers), reused, utterances, seconds, len(skipped))


def _all_written(
    missing: Iterator[tuple[int, list[Line], Path, bool]], workers: int
) -> Iterator[tuple[int, dict[str, Any]]]:
    if workers == 1:
        yield from ((one[0], _write_shard(*one)) for one in missing)
        return
    with ProcessPoolExecutor(workers, get_context("spawn"), _end_with_parent) as pool:
        running: dict[Future[dict[str, Any]], int] = {}
        try:
            while True:
                # Few at a time: lines that wait to be sent take room twice.
                for one in islice(missing, 2 * workers - len(running)):
                    running[pool.submit(_write_shard, *one)] = one[0]
                if not running:
                    return
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    yield running.pop(future), future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _end_with_parent() -> None:
    """End this process when the one that started it is killed, which leaves no time to say so."""
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=_outlive, args=(parent,), daemon=True).start()


def _outlive(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)


def _write_shard(number: int, lines: Sequence[Line], out: Path, with_text: bool) -> dict[str, Any]:
    """Write the audio of a shard, its cuts, and last its index, whose header is returned."""
    entries: list[tuple[str, int, int, int, str]] = []
    cuts: list[dict[str, Any]] = []
    skipped = []
    tar, cuts_path, index = shard_files(out, f"{number:06}")
    with writing_file(tar) as part, tarfile.open(part, "w") as archive:
        for line in lines:
            try:
                waveform = read_audio(line.audio, line.start, line.duration, channel=line.channel)
            except AudioError as error:
                skipped.append({"id": line.id, "path": str(line.audio), "reason": str(error)})
                continue
            data = _flac(waveform)
            recording = _recording(line.id, len(waveform))
            at = _add(archive, f"{line.id}.flac", data)
            _add(archive, f"{line.id}.json", json.dumps(recording).encode())
            entries.append((line.id, at, len(data), len(waveform), hashlib.sha256(data).hexdigest()[:16]))
            cuts.append(_cut(line, recording, with_text))
    packed = gzip.compress("".join(json.dumps(cut) + "\n" for cut in cuts).encode(), mtime=0)
    write_file(cuts_path, packed)
    header = {
        "schema": SCHEMA,
        "source": _identity(lines),
        "bytes": tar.stat().st_size,
        "count": len(entries),
        "samples": sum(entry[3] for entry in entries),
        "skipped": skipped,
    }
    content = chain([header], entries)
    write_file(index, "".join(json.dumps(one) + "\n" for one in content))
    return header


def _flac(waveform: np.ndarray[Any, np.dtype[np.float32]]) -> bytes:
    """Encode a waveform [S]; what had 16 bits comes back as it was (libsndfile's scale is off)."""
    samples = np.clip(np.rint(waveform * 32768.0), -32768, 32767).astype(np.int16)
    stream = io.BytesIO()
    soundfile.write(stream, samples, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return stream.getvalue()


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> int:
    """Add a member, and return where its bytes begin."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    archive.addfile(info, io.BytesIO(data))
    return archive.offset - -(-len(data) // _BLOCK) * _BLOCK


def _recording(id_: str, samples: int) -> dict[str, Any]:
    return {
        "id": id_,
        "sources": [{"type": "shar", "channels": [0], "source": ""}],
        "sampling_rate": SAMPLE_RATE,
        "num_samples": samples,
        "duration": samples / SAMPLE_RATE,
        "channel_ids": [0],
    }


def _cut(line: Line, recording: dict[str, Any], with_text: bool) -> dict[str, Any]:
    seconds = recording["duration"]
    spoken = {"id": line.id, "recording_id": line.id, "start": 0.0, "duration": seconds, "channel": 0}
    return {
        "id": line.id,
        "start": 0.0,
        "duration": seconds,
        "channel": 0,
        "supervisions": [{**spoken, "text": line.text}] if with_text else [],
        "recording": recording,
        "type": "MonoCut",
    }


def _finished(out: Path, number: int, lines: Sequence[Line]) -> dict[str, Any] | None:
    """Return the header of a shard that is there whole and of these lines."""
    tar, cuts, index = shard_files(out, f"{number:06}")
    try:
        header = read_header(index)
        same = header["source"] == _identity(lines) and tar.stat().st_size == header["bytes"]
    except (AudioError, OSError):
        return None
    return header if same and cuts.is_file() else None


def _identity(lines: Sequence[Line]) -> str:
    """Return a digest of lines and of the size and time of their files."""
    digest = hashlib.sha256()
    for line in lines:
        what: tuple[Any, ...] = (line.id, str(line.audio), line.start, line.duration, line.channel, line.text)
        with suppress(OSError):
            status = os.stat(line.audio)
            what += (status.st_size, status.st_mtime_ns)
        digest.update(repr(what).encode("utf-8", "backslashreplace"))
    return digest.hexdigest()[:16]


def _remove_beyond(out: Path, count: int) -> None:
    """Remove shards of an earlier call that this one has not: its source was larger."""
    for path in (*(out / "shar").iterdir(), *(out / "index").iterdir()):
        if (found := _NUMBERED.match(path.name)) and int(found[1]) >= count:
            path.unlink()
    (out / "skipped.jsonl").unlink(missing_ok=True)
