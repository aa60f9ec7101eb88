"""lhotse's cuts, one JSON object a line; read here, since lhotse itself imports torch."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kdcompress.audio.corpus.jsonl import parse_object
from kdcompress.audio.corpus.line import Line, numbered_lines
from kdcompress.errors import ManifestError

_PLAIN = 'write plain cuts of whole files with lhotse, or a packed corpus with "kdcompress pack"'


def read_cuts(path: Path, with_text: bool) -> Iterator[Line]:
    """Yield the cuts of a file; what they say of durations is believed, no audio is opened.

    Raises:
        AudioError: the file cannot be read.
        ManifestError: a line is not a cut, or one of something else than a file.
    """
    for number, text in numbered_lines(path, "lhotse cuts"):
        where = f"{path}:{number}"
        cut = parse_object(text, where)
        try:
            audio, channel = _source(cut, where)
            yield Line(
                number,
                str(cut["id"]),
                _located(path, audio),
                float(cut["start"]),
                float(cut["duration"]),
                cut_text(cut, where) if with_text else None,
                channel,
                known=True,
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            if isinstance(error, ManifestError):
                raise
            raise ManifestError(
                f"{where}: expected a lhotse cut with id, start, duration and recording"
            ) from error


def cut_text(cut: dict[str, Any], where: str) -> str:
    """Return the transcript of a cut: of its supervisions, one behind the other."""
    texts = [one.get("text") for one in cut.get("supervisions") or ()]
    if not texts or not all(isinstance(text, str) for text in texts):
        raise ManifestError(f"{where}: expected supervisions with text, the transcript")
    return " ".join(texts)


def _source(cut: dict[str, Any], where: str) -> tuple[str, int | None]:
    """Return the file of a cut and the channel of that file; None where it has one, or all are meant."""
    kind = cut.get("type", "MonoCut")
    if kind not in {"MonoCut", "MultiCut"}:
        raise ManifestError(f"{where}: a {kind} is not one stretch of one file; {_PLAIN}")
    recording = cut["recording"]
    if recording.get("transforms"):
        raise ManifestError(f"{where}: the recording is altered when it is read (transforms); {_PLAIN}")
    wanted = cut["channel"] if isinstance(cut["channel"], list) else [cut["channel"]]
    sources = [one for one in recording["sources"] if set(wanted) <= set(one["channels"])]
    if len(sources) != 1:
        raise ManifestError(f"{where}: the channels {wanted} are not in one file; {_PLAIN}")
    source = sources[0]
    if source["type"] != "file":
        raise ManifestError(f"{where}: the audio is a {source['type']}, expected a file; {_PLAIN}")
    if len(wanted) == len(source["channels"]):
        return source["source"], None
    if len(wanted) > 1:
        raise ManifestError(
            f"{where}: {len(wanted)} of {len(source['channels'])} channels are meant; {_PLAIN}"
        )
    return source["source"], source["channels"].index(wanted[0])


def _located(path: Path, audio: str) -> Path:
    """Return where a file is: lhotse takes a relative path from the current folder, people from the list."""
    beside = path.parent / audio
    return beside if beside.exists() or not Path(audio).exists() else Path(audio)
