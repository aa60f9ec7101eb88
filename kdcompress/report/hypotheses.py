"""Raw hypotheses as JSONL, in the field names of the Open ASR Leaderboard, and scoring from them again.

One line per utterance and candidate: `audio_filepath`, `duration` [s], `time` [s], `text` (the reference;
null where nobody knows), `pred_text`, and beyond those names `model` and `id`. Texts are raw: normalising
belongs to scoring.
"""

import json
from datetime import datetime, timezone
from pathlib import Path

from pydantic import Field, ValidationError

from kdcompress.errors import BenchError
from kdcompress.files import write_file
from kdcompress.report.measured import Record
from kdcompress.report.record import KIND, CandidateResult, ReferenceText, Report, Settings, read_report
from kdcompress.report.scoring import score_report


class _Line(Record, strict=True):
    audio_filepath: str
    duration: float = Field(ge=0)
    time: float | None = Field(None, ge=0)
    text: str | None
    pred_text: str
    model: str = ""
    id: str | int = ""


def rescore(path: Path, normalizer: str | None = None, reference: str | None = None) -> Report:
    """Score a file of raw hypotheses, or a report, which holds its own: no model, no audio.

    A report keeps everything that does not follow from its texts: times, machine, candidates that failed.
    What is made of hypotheses alone has no times.

    Args:
        path: written by `bench --hypotheses` or `bench --json`.
        normalizer: None takes the report's own; `basic` for hypotheses.
        reference: name of the candidate that the others are compared with; None takes the report's own; the
            first of the hypotheses.

    Raises:
        BenchError: the file is neither, or incomplete; there is no such candidate; or the report's times are
            relative to another candidate.
        ConfigError: there is no normaliser of that name.
    """
    if not _holds_report(path):
        return score_report(read_hypotheses(path, reference), normalizer or "basic")
    report = read_report(path)
    own = report.settings.reference
    if reference not in (None, own):
        raise BenchError(
            f"the times of {path} are relative to {own!r}, so {reference!r} cannot take its place; "
            "rescore the run's --hypotheses instead"
        )
    return score_report(report, normalizer or report.settings.normalizer)


def write_hypotheses(report: Report, path: Path) -> None:
    """Write the texts of every candidate, one candidate after the other; those that failed are left out."""
    lines = []
    for result in report.measured:
        for utterance in report.utterances:
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


def read_hypotheses(path: Path, reference: str | None = None) -> Report:
    """Read hypotheses; `model` may be missing (then the file's name), and `id` (then `audio_filepath`).

    Args:
        path: of the file.
        reference: the candidate that the others are compared with; None takes the first.

    Raises:
        BenchError: the file cannot be read, a line is not what the format says, an utterance comes twice for
            a model or with two references, or a model lacks one.
    """
    utterances: dict[str, ReferenceText] = {}
    texts: dict[str, dict[str, str]] = {}
    seconds: dict[str, dict[str, float]] = {}
    for number, written in enumerate(_read(path).split("\n"), 1):
        if not written.strip():
            continue
        where = f"{path}:{number}"
        line = _parsed(where, written)
        id_, model = str(line.id or line.audio_filepath), line.model or path.stem
        utterance = ReferenceText(
            id=id_, duration=line.duration, reference=line.text, audio=line.audio_filepath
        )
        if utterances.setdefault(id_, utterance).reference != line.text:
            raise BenchError(f"{where}: {id_!r} has another text here than in an earlier line")
        if id_ in texts.setdefault(model, {}):
            raise BenchError(f"{where}: {id_!r} comes twice for {model!r}; expected one line for each")
        texts[model][id_] = line.pred_text
        if line.time is not None:
            seconds.setdefault(model, {})[id_] = line.time
    if not texts:
        raise BenchError(f"{path} has no lines: expected raw hypotheses, written by bench --hypotheses")
    for model, own in texts.items():
        if missing := [id_ for id_ in utterances if id_ not in own]:
            raise BenchError(
                f"{path}: {model!r} lacks {len(missing)} of {len(utterances)} utterances, "
                f"{missing[0]!r} first: figures of different utterances cannot be compared"
            )
    return Report(
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        settings=Settings(
            source=str(path),
            utterances=len(utterances),
            audio_seconds=sum(one.duration for one in utterances.values()),
            normalizer="basic",
            reference=reference or next(iter(texts)),
        ),
        utterances=tuple(utterances.values()),
        results=tuple(
            CandidateResult(
                name=model,
                hypotheses={id_: own[id_] for id_ in utterances},
                seconds={id_: s for id_ in utterances if (s := seconds.get(model, {}).get(id_)) is not None},
            )
            for model, own in texts.items()
        ),
    )


def _parsed(where: str, written: str) -> _Line:
    try:
        return _Line.model_validate_json(written)
    except ValidationError as error:
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            raise BenchError(f"{where}: not JSON: found {written.strip()[:40]!r}") from error
        key = ".".join(map(str, first["loc"])) or "a line"
        raise BenchError(
            f"{where}: {key}: {first['msg'].lower()}; a line has audio_filepath, duration [s], text and "
            "pred_text, and may have time [s], model and id"
        ) from error


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise BenchError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from error
    except UnicodeDecodeError as error:
        raise BenchError(f"{path} is not UTF-8 text: expected one JSON object per line") from error


def _holds_report(path: Path) -> bool:
    """Tell one JSON document from one per line."""
    try:
        first = json.loads(_read(path).partition("\n")[0])
        return isinstance(first, dict) and first.get("kind") == KIND
    except (ValueError, RecursionError):  # an opening brace alone, or not JSON at all
        return path.suffix != ".jsonl"
