"""Folders, manifests and other corpora become utterances; `read_utterances` never looks at text."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from kdcompress.aliases import Progress
from kdcompress.audio.corpus.line import Line
from kdcompress.audio.corpus.open import read_lines
from kdcompress.audio.decode import Probe, check_stretch, probe
from kdcompress.audio.utterance import Reference, Utterance
from kdcompress.errors import AudioError

# Headers are read by threads: most of the time is waiting for the disk.
_THREADS = 8

Channels: TypeAlias = Literal["mix", "split"] | int


@dataclass(frozen=True, slots=True)
class BadFile:
    """An audio file that cannot be used, and why."""

    path: Path
    reason: str


def read_utterances(
    source: Path, *, channels: Channels = "mix", on_progress: Progress | None = None
) -> tuple[list[Utterance], list[BadFile]]:
    """List the utterances of a folder (recursive, sorted), a manifest or another corpus (in its order).

    Every header is read that the corpus does not make needless, nothing is decoded: a file that is damaged
    further in comes to light when its samples are read.

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
    lines = list(read_lines(source, with_text=False))
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
    lines = list(read_lines(manifest, with_text=True))
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
    return {line.id: line.text or "" for line in read_lines(manifest, with_text=True)}


def _resolve(
    lines: Sequence[Line], on_progress: Progress | None, channels: Channels = "mix"
) -> Iterator[list[Utterance] | str]:
    """Give each line its utterance, or one for each channel, or the reason why there is none."""
    files = list(dict.fromkeys(line.audio for line in lines if not _told(line, channels)))
    found: dict[Path, Probe | str] = {}
    with ThreadPoolExecutor(_THREADS) as threads:
        for done, (path, result) in enumerate(zip(files, threads.map(_probed, files), strict=True), 1):
            found[path] = result
            if on_progress is not None:
                on_progress(done, len(files))
    for line in lines:
        if line.duration is not None and _told(line, channels):
            yield [Utterance(line.id, line.audio, line.start, line.duration, line.channel)]
            continue
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


def _told(line: Line, channels: Channels) -> bool:
    """Whether the corpus itself says all that a header would."""
    return line.known and channels == "mix"


def _probed(path: Path) -> Probe | str:
    try:
        return probe(path)
    except AudioError as error:
        return str(error)
