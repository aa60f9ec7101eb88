"""JSONL manifests: one JSON object per line, gzipped or not.

`audio_filepath` (relative to the manifest's folder) and, optionally, `duration` [s], `offset` [s],
`channel_selector` (from 0), `text` and `id`; other keys are ignored.
"""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kdcompress.audio.corpus.line import Line, numbered_lines
from kdcompress.errors import ManifestError


def read_manifest(manifest: Path, with_text: bool) -> Iterator[Line]:
    """Yield the lines of a manifest; no audio file is looked at.

    Raises:
        AudioError: the manifest cannot be read.
        ManifestError: a line is not what the format says.
    """
    for number, text in numbered_lines(manifest):
        yield parse_line(text, manifest, number, with_text=with_text)


def parse_object(text: str, where: str) -> dict[str, Any]:
    """Return the JSON object of a line; raises ManifestError where it is none."""
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ManifestError(
            f'{where}: not JSON: expected one object per line like {{"audio_filepath": "a.wav", '
            f'"duration": 1.5}}, found {text.strip()[:40]!r}'
        ) from error
    if not isinstance(record, dict):
        raise ManifestError(f"{where}: expected a JSON object, found {type(record).__name__}")
    return record


def parse_line(text: str, manifest: Path, number: int, *, with_text: bool) -> Line:
    """Read a line of a manifest; raises ManifestError where it is not what the format says."""
    where = f"{manifest}:{number}"
    record = parse_object(text, where)
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
