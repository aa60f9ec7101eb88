"""Audio inside a page: FLAC as data, at most so much of it."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import soundfile

from kdcompress.audio.decode import probe, read_utterance
from kdcompress.audio.manifest import read_utterances
from kdcompress.audio.utterance import SAMPLE_RATE, Utterance
from kdcompress.errors import KdcompressError
from kdcompress.report.record import Report

AUDIO_LIMIT = 6_000_000
"""Bytes of audio in one page, as base64."""
_SAME_LENGTH = 0.05  # [s] a file that is longer than its utterance holds others too


@dataclass(frozen=True)
class EmbeddedAudio:
    """Audio by utterance id, as addresses that need no file; and why some of it is not there."""

    addresses: Mapping[str, str]
    missing: Mapping[str, str]
    limit: int = AUDIO_LIMIT


def find_audio(report: Report, wanted: Sequence[str]) -> dict[str, Utterance]:
    """Look for the audio of utterances: in the report's manifest or folder, else by the paths it gives.

    A path without a manifest is taken only where the file is as long as the utterance: it may be a stretch
    of a longer one, and the report does not say which.
    """
    source = Path(report.settings.source)
    found: dict[str, Utterance] = {}
    if report.settings.source and source.exists():
        try:
            utterances, _ = read_utterances(source)
        except (KdcompressError, OSError):
            utterances = []
        found = {utterance.id: utterance for utterance in utterances if utterance.id in set(wanted)}
    folder = source if source.is_dir() else source.parent
    for id_ in wanted:
        utterance = found.get(id_) or _by_path(report, id_, folder)
        if utterance is not None:
            found[id_] = utterance
    return found


def embed_audio(
    wanted: Sequence[str], places: Mapping[str, Utterance], limit: int = AUDIO_LIMIT
) -> EmbeddedAudio:
    """Read audio and encode it without loss, as the models got it: mono, 16 kHz.

    Args:
        wanted: ids, the most important first; once the limit is reached only shorter ones still go in.
        places: where the audio of each is.
        limit: bytes of base64.
    """
    addresses: dict[str, str] = {}
    missing: dict[str, str] = {}
    total = 0
    for id_ in wanted:
        if id_ not in places:
            missing[id_] = "not at hand"
            continue
        utterance = places[id_]
        try:
            samples = read_utterance(utterance)
        except (KdcompressError, OSError):
            missing[id_] = "not readable"
            continue
        memory = io.BytesIO()
        soundfile.write(memory, samples, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
        data = base64.b64encode(memory.getvalue()).decode("ascii")
        if total + len(data) > limit:
            missing[id_] = "too long for this page"
            continue
        total += len(data)
        addresses[id_] = f"data:audio/flac;base64,{data}"
    return EmbeddedAudio(addresses, missing, limit)


def _by_path(report: Report, id_: str, folder: Path) -> Utterance | None:
    found = next((utterance for utterance in report.utterances if utterance.id == id_), None)
    if found is None or not found.audio:
        return None
    given, duration = found.audio, found.duration
    for path in (Path(given), folder / given):
        try:
            length = probe(path).duration if path.is_file() else None
        except (KdcompressError, OSError, ValueError):
            continue
        if length is not None and abs(length - duration) <= _SAME_LENGTH:
            return Utterance(id_, path, 0.0, duration)
    return None
