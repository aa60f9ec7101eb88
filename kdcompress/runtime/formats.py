"""How transcripts are written down: text, JSON, JSON lines, subtitles."""

import json
from typing import Any, Literal, TextIO

from kdcompress.audio.utterance import Stretch
from kdcompress.runtime.transcript import Transcript


def label(stretch: Stretch) -> str:
    """Name a stretch in a line of text: its path, with what tells it from others of the same file."""
    start = f"@{stretch.start:.3f}" if stretch.start else ""
    return f"{stretch.audio}{start}" + ("" if stretch.channel is None else f"#{stretch.channel}")


def record(stretch: Stretch, transcript: Transcript) -> dict[str, Any]:
    """Return a transcript with the path of its recording, as a line of a manifest has it."""
    where: dict[str, Any] = {"audio_filepath": str(stretch.audio)}
    if stretch.start:
        where["offset"] = round(stretch.start, 3)
    if stretch.channel is not None:
        where["channel_selector"] = stretch.channel
    return where | transcript.to_json()


def rendered(
    kind: Literal["text", "json", "jsonl", "srt", "vtt"],
    stretch: Stretch,
    transcript: Transcript,
    *,
    alone: bool,
) -> str:
    """Return what is written for one recording; `alone` leaves its path out of plain text."""
    match kind:
        case "text":
            return f"{transcript.text}\n" if alone else f"{label(stretch)}\t{transcript.text}\n"
        case "json":
            return json.dumps(record(stretch, transcript), ensure_ascii=False, indent=1) + "\n"
        case "jsonl":
            return json.dumps(record(stretch, transcript), ensure_ascii=False) + "\n"
        case "srt" | "vtt":
            from kdcompress.runtime.subtitles import to_srt, to_vtt

            return to_srt(transcript) if kind == "srt" else to_vtt(transcript)


class JsonArray:
    """An array of records that is written while they arrive; `close` makes it whole."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._separator = "[\n"

    def add(self, stretch: Stretch, transcript: Transcript) -> None:
        """Write one more record."""
        self._stream.write(self._separator + json.dumps(record(stretch, transcript), ensure_ascii=False))
        self._stream.flush()
        self._separator = ",\n"

    def close(self) -> None:
        """Write the end."""
        self._stream.write("[]\n" if self._separator == "[\n" else "\n]\n")
