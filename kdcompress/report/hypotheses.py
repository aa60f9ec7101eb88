"""Raw hypotheses as JSONL, in the field names of the Open ASR Leaderboard.

One line per utterance and candidate: `audio_filepath`, `duration` [s], `time` [s], `text` (the reference;
null where nobody knows), `pred_text`, and beyond those names `model` and `id`. Texts are raw: normalising
belongs to scoring.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kdcompress.errors import BenchError
from kdcompress.files import write_file
from kdcompress.report.saved import SavedReport, SavedUtterance


@dataclass
class RawHypotheses:
    """What a file says.

    Attributes:
        utterances: in the order of their first line.
        texts: by model, in the order of their first line, and utterance id.
        seconds: the same for the time that was taken, where it is said [s].
    """

    utterances: dict[str, SavedUtterance] = field(default_factory=dict)
    texts: dict[str, dict[str, str]] = field(default_factory=dict)
    seconds: dict[str, dict[str, float]] = field(default_factory=dict)


def write_hypotheses(report: SavedReport, path: Path) -> None:
    """Write what every candidate heard, one candidate after the other; those that failed are left out."""
    lines = []
    for result in report.results:
        for utterance in report.utterances if not result.failed else ():
            line = {
                "audio_filepath": utterance.audio or utterance.id,
                "duration": utterance.duration,
                "time": result.seconds.get(utterance.id),
                "text": utterance.reference,
                "pred_text": result.hypotheses[utterance.id],
                "model": result.name,
                "id": utterance.id,
            }
            lines.append(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n")
    write_file(path, "".join(lines))


def read_hypotheses(path: Path) -> RawHypotheses:
    """Read hypotheses; `model` may be missing (then the file's name), and `id` (then `audio_filepath`).

    Raises:
        BenchError: the file cannot be read, a line is not what the format says, an utterance comes twice for
            a model or with two references, or a model lacks one.
    """
    raw = RawHypotheses()
    for where, line in _lines(path):
        name = line.get("audio_filepath")
        heard, said, duration, time = (line.get(key) for key in ("pred_text", "text", "duration", "time"))
        if not isinstance(name, str) or not isinstance(heard, str) or not isinstance(said, str | None):
            raise BenchError(
                f"{where}: expected audio_filepath, pred_text and text, all strings; the line has "
                f"{', '.join(sorted(line)) or 'no keys'}"
            )
        if not _is_seconds(duration) or not (time is None or _is_seconds(time)):
            raise BenchError(
                f"{where}: expected duration and time in seconds, found {duration!r} and {time!r}"
            )
        id_, model = str(line.get("id", name)), str(line.get("model", path.stem))
        utterance = SavedUtterance(id=id_, duration=duration, reference=said, audio=name)
        if raw.utterances.setdefault(id_, utterance).reference != said:
            raise BenchError(f"{where}: {id_!r} has another text here than in an earlier line")
        texts = raw.texts.setdefault(model, {})
        if id_ in texts:
            raise BenchError(f"{where}: {id_!r} was already heard by {model!r}; expected one line for each")
        texts[id_] = heard
        if time is not None:
            raw.seconds.setdefault(model, {})[id_] = time
    if not raw.texts:
        raise BenchError(f"{path} has no lines: expected raw hypotheses, written by bench --hypotheses")
    for model, texts in raw.texts.items():
        if missing := [id_ for id_ in raw.utterances if id_ not in texts]:
            raise BenchError(
                f"{path}: {model!r} lacks {len(missing)} of {len(raw.utterances)} utterances, "
                f"{missing[0]!r} first: figures of different utterances cannot be compared"
            )
    return raw


def _lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, text in enumerate(file, 1):
                if not text.strip():
                    continue
                where = f"{path}:{number}"
                try:
                    line = json.loads(text)
                except (ValueError, RecursionError) as error:
                    raise BenchError(f"{where}: not JSON: found {text.strip()[:40]!r}") from error
                if not isinstance(line, dict):
                    raise BenchError(f"{where}: expected a JSON object, found {type(line).__name__}")
                yield where, line
    except OSError as error:
        raise BenchError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from error
    except UnicodeDecodeError as error:
        raise BenchError(f"{path} is not UTF-8 text: expected one JSON object per line") from error


def _is_seconds(value: object) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value) and value >= 0  # type: ignore[arg-type,operator]
