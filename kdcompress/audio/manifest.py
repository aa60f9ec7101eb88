"""Folders and JSONL manifests become utterances.

A manifest has one JSON object per line: `audio_filepath` (relative to the manifest's folder) and, optionally,
`duration` [s], `offset` [s], `channel_selector` (from 0), `text` and `id`; other keys are ignored.
`read_utterances` never looks at text.
"""

import json
import math
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from kdcompress.aliases import Progress
from kdcompress.audio.decode import Probe, check_stretch, probe
from kdcompress.audio.sniff import AUDIO_SUFFIXES, AV_SUFFIXES
from kdcompress.audio.utterance import Reference, Utterance
from kdcompress.errors import AudioError, ManifestError

# Headers are read by threads: most of the time is waiting for the disk.
_THREADS = 8
Channels: TypeAlias = Literal["mix", "split"] | int

_SUFFIXES = frozenset((*AUDIO_SUFFIXES, *AV_SUFFIXES))


@dataclass(frozen=True, slots=True)
class BadFile:
    """An audio file that cannot be used, and why."""

    path: Path
    reason: str


@dataclass(frozen=True, slots=True)
class Line:
    """One manifest line; `text` stays None unless it was asked for."""

    number: int
    id: str
    audio: Path
    start: float
    duration: float | None
    text: str | None = None
    channel: int | None = None

    def __post_init__(self) -> None:
        # Names may hold bytes that are no UTF-8, or halves of characters; ids are hashed and written.
        object.__setattr__(self, "id", self.id.encode("utf-8", "backslashreplace").decode())


def read_utterances(
    source: Path, *, channels: Channels = "mix", on_progress: Progress | None = None
) -> tuple[list[Utterance], list[BadFile]]:
    """List the utterances of a folder (recursive, sorted) or of a manifest (in its order).

    Every header is read, nothing is decoded: a file that is damaged further in comes to light when its
    samples are read.

    Args:
        source: the folder or manifest.
        channels: where a manifest does not say: averaged, each by itself (ids end with #0, #1, …), or one.
        on_progress: called with the files looked at and their number.

    Returns:
        The usable utterances, and the files that are missing, empty, not audio, or too short for their line.

    Raises:
        AudioError: the source does not exist, or the folder holds no audio.
        ManifestError: a line of the manifest is not what the format says, or an id occurs twice.
    """
    if source.is_dir():
        lines = read_folder_lines(source)
    elif source.is_file():
        lines = list(_lines(source, with_text=False))
    else:
        raise AudioError(f"no such folder or manifest: {source}")
    utterances: list[Utterance] = []
    bad: list[BadFile] = []
    for line, found in zip(lines, _resolve(lines, on_progress, channels), strict=True):
        if isinstance(found, str):
            bad.append(BadFile(line.audio, found))
        else:
            utterances += found
    return utterances, bad


def read_references(manifest: Path) -> list[Reference]:
    """Read the utterances of a manifest with their transcripts, exactly as written.

    Raises:
        AudioError: the manifest is missing, or an audio file of it cannot be used; says which line.
        ManifestError: a line is not what the format says or has no text, or an id occurs twice.
    """
    lines = list(_lines(manifest, with_text=True))
    references: list[Reference] = []
    bad: list[str] = []
    for line, found in zip(lines, _resolve(lines, None), strict=True):
        if isinstance(found, str):
            bad.append(f"{manifest}:{line.number}: {found}")
        else:
            references += [Reference(one, line.text or "") for one in found]
    if bad:
        more = f" ({len(bad)} such lines of {len(lines)})" if len(bad) > 1 else ""
        raise AudioError(f"{bad[0]}{more}; restore the audio, or take the line out")
    return references


def read_texts(manifest: Path) -> dict[str, str]:
    """Read the transcripts of a manifest by id, exactly as written; no audio file is looked at.

    Raises:
        AudioError: the manifest is missing.
        ManifestError: a line is not what the format says or has no text, or an id occurs twice.
    """
    return {line.id: line.text or "" for line in _lines(manifest, with_text=True)}


def find_audio(folder: Path) -> list[Path]:
    """List the audio files in a folder and below it by their names, sorted; hidden ones are left out.

    Raises:
        AudioError: there are none.
    """
    files: list[Path] = []
    seen: set[str] = set()
    for root, folders, names in os.walk(folder, followlinks=True):
        # Corpora are assembled with links; a link to a folder above would go round for ever.
        real = os.path.realpath(root)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        # Hidden: among them the "._x.wav" that macOS leaves beside x.wav, which is not audio.
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        files += (
            Path(root, name)
            for name in names
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in _SUFFIXES
        )
    if not files:
        known = ", *".join((*AUDIO_SUFFIXES, *AV_SUFFIXES))
        raise AudioError(f"no audio in {folder}: looked for *{known} in it and below")
    files.sort()
    return files


def read_folder_lines(folder: Path) -> list[Line]:
    """List the audio of a folder and below it; ids are its paths, without suffix where these differ."""
    files = find_audio(folder)
    ids: dict[Path, str] = {}
    taken: set[str] = set()
    # Videos last: a recording beside one keeps the id that it had before videos were read.
    for audio in sorted(files, key=lambda file: file.suffix.lower() not in AUDIO_SUFFIXES):
        relative = audio.relative_to(folder)
        id_ = relative.with_suffix("").as_posix()
        # x.flac beside x.wav: the second keeps its suffix.
        ids[audio] = relative.as_posix() if id_ in taken else id_
        taken.add(ids[audio])
    return [Line(number, ids[audio], audio, 0.0, None) for number, audio in enumerate(files, 1)]


def read_manifest_lines(manifest: Path) -> Iterator[Line]:
    """Yield the lines of a manifest without their texts; no audio file is looked at.

    Raises:
        AudioError: the manifest cannot be read.
        ManifestError: a line is not what the format says, or an id occurs twice.
    """
    return _lines(manifest, with_text=False)


def _lines(manifest: Path, *, with_text: bool) -> Iterator[Line]:
    first_at: dict[str, int] = {}
    try:
        with manifest.open(encoding="utf-8-sig") as file:
            for number, text in enumerate(file, 1):
                if not text.strip():
                    continue
                line = _parse(text, manifest, number, with_text=with_text)
                if line.id in first_at:
                    raise ManifestError(
                        f"{manifest}:{number}: the id {line.id!r} was already used in line "
                        f'{first_at[line.id]}; give each line its own "id"'
                    )
                first_at[line.id] = number
                yield line
    except OSError as error:
        raise AudioError(f"cannot read manifest {manifest}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ManifestError(f"{manifest} is not UTF-8 text: expected one JSON object per line") from error
    if not first_at:
        raise ManifestError(f"{manifest} has no lines: expected one JSON object with audio_filepath per line")


def _parse(text: str, manifest: Path, number: int, *, with_text: bool) -> Line:
    where = f"{manifest}:{number}"
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ManifestError(
            f'{where}: not JSON: expected one object per line like {{"audio_filepath": "a.wav", '
            f'"duration": 1.5}}, found {text.strip()[:40]!r}'
        ) from error
    if not isinstance(record, dict):
        raise ManifestError(f"{where}: expected a JSON object, found {type(record).__name__}")
    name = record.get("audio_filepath")
    if not isinstance(name, str) or not name:
        raise ManifestError(f"{where}: expected audio_filepath, a path; the line has {_keys(record)}")
    start = _seconds(record, "offset", where)
    duration = _seconds(record, "duration", where)
    channel = _channel(record, where)
    transcript = record.get("text") if with_text else None
    if with_text and not isinstance(transcript, str):
        raise ManifestError(f"{where}: expected text, the transcript; the line has {_keys(record)}")
    id_ = record.get("id")
    if id_ is None:
        # The path, not the file's name alone: speakers' folders often hold files of the same names.
        id_ = Path(name).with_suffix("").as_posix() + (f"@{start:.3f}" if start is not None else "")
        id_ += "" if channel is None else f"#{channel}"
    return Line(number, str(id_), manifest.parent / name, start or 0.0, duration, transcript, channel)


def _keys(record: dict[str, Any]) -> str:
    return ", ".join(sorted(record)) or "no keys"


def _channel(record: dict[str, Any], where: str) -> int | None:
    value = record.get("channel_selector")  # NeMo's name, like the others
    if value is None or value == "average":
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ManifestError(f"{where}: expected channel_selector, a number from 0, found {value!r}")
    return value


def _seconds(record: dict[str, Any], key: str, where: str) -> float | None:
    value = record.get(key)
    if value is None:
        return None
    try:
        seconds = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    except OverflowError:  # whole numbers have no limit of their own
        seconds = math.inf
    if not math.isfinite(seconds) or seconds < 0 or (seconds == 0 and key == "duration"):
        raise ManifestError(f"{where}: expected {key} in seconds, found {value!r:.40}")
    return seconds


def _resolve(
    lines: Sequence[Line], on_progress: Progress | None, channels: Channels = "mix"
) -> Iterator[list[Utterance] | str]:
    """Give each line its utterance, or one for each channel, or the reason why there is none."""
    files = list(dict.fromkeys(line.audio for line in lines))
    found: dict[Path, Probe | str] = {}
    with ThreadPoolExecutor(_THREADS) as threads:
        for done, (path, result) in enumerate(zip(files, threads.map(_probed, files), strict=True), 1):
            found[path] = result
            if on_progress is not None:
                on_progress(done, len(files))
    for line in lines:
        known = found[line.audio]
        if isinstance(known, str):
            yield known
            continue
        channel = channels if line.channel is None and isinstance(channels, int) else line.channel
        if channel is not None and channel >= known.channels:
            yield f"{line.audio} has no channel {channel}: it has {known.channels}, counted from 0"
            continue
        try:
            duration = check_stretch(line.audio, known.duration, line.start, line.duration)
        except AudioError as error:
            yield str(error)
            continue
        if channel is None and channels == "split" and known.channels > 1:
            yield [
                Utterance(f"{line.id}#{one}", line.audio, line.start, duration, one)
                for one in range(known.channels)
            ]
        else:
            yield [Utterance(line.id, line.audio, line.start, duration, channel)]


def _probed(path: Path) -> Probe | str:
    try:
        return probe(path)
    except AudioError as error:
        return str(error)
