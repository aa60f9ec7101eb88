"""Repeat the scoring of a run from its raw hypotheses: no model, no audio."""

import copy
import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from kdcompress.errors import BenchError
from kdcompress.report.hypotheses import RawHypotheses, read_hypotheses
from kdcompress.report.report import KIND
from kdcompress.report.saved import SCHEMAS, parse_report, read_report
from kdcompress.report.scoring import CASE_NOTE, ReferenceText, Score, score_candidates
from kdcompress.text.normalize import NORMALIZER_VERSIONS


def rescore(path: Path, normalizer: str | None = None, reference: str | None = None) -> dict[str, Any]:
    """Score a file of raw hypotheses, or a report, which holds its own, and return the JSON of a report.

    A report keeps everything that does not follow from its texts: times, machine, candidates that failed.
    What is made of hypotheses alone has no times (each candidate's `timing` is null).

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
        raw = read_hypotheses(path)
        report = _report_of(raw, path, normalizer or "basic", reference or next(iter(raw.texts)))
    else:
        report = read_report(path)
        own = report["settings"]["reference"]
        if reference not in (None, own):
            raise BenchError(
                f"the times of {path} are relative to {own!r}, so {reference!r} cannot take its place; "
                "rescore the run's --hypotheses instead"
            )
        normalizer = normalizer or report["settings"]["normalizer"]
    return rescore_report(report, normalizer or "basic")


def rescore_report(report: Mapping[str, Any], normalizer: str) -> dict[str, Any]:
    """Score the texts of a report anew, with the report's own seed and reference candidate.

    Raises:
        BenchError: it is not a report, or there is no candidate of the reference's name.
        ConfigError: there is no normaliser of that name.
    """
    saved = parse_report(report, "the report")
    reference = saved.settings.reference
    if saved.result(reference) is None:
        names = ", ".join(result.name for result in saved.results)
        raise BenchError(f"no candidate {reference!r} to compare with; there are {names}")
    scores = score_candidates(
        saved.spoken(),
        saved.complete(),
        normalizer=normalizer,
        reference=reference,
        seed=saved.settings.seed,
    )
    found = copy.deepcopy(dict(report))
    found["settings"].update(normalizer=normalizer, normalizer_version=NORMALIZER_VERSIONS[normalizer])
    for result in found["results"]:
        _update(result, scores.of.get(result["name"]))
    times = [one for one in found.get("differences", ()) if one["measure"] == "rtf"]
    found["differences"] = [*(one.to_json() for one in scores.differences), *times]
    return found


def _update(result: dict[str, Any], score: Score | None) -> None:
    parts = (score.accuracy, score.non_speech, score.agreement) if score else (None, None, None)
    for key, part in zip(("accuracy", "non_speech", "agreement"), parts, strict=True):
        result[key] = part.to_json() if part else None
    facts = result.get("facts") or {}
    kept = [note for note in facts.get("notes", ()) if not note.startswith(CASE_NOTE)]
    notes = [*kept, *(score.notes if score else ())]
    result["facts"] = {**facts, "notes": notes} if facts or notes else None


def _holds_report(path: Path) -> bool:
    """Tell one JSON document from one per line."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            first = json.loads(file.readline())
        return isinstance(first, dict) and first.get("kind") == KIND
    except (ValueError, RecursionError):  # an opening brace alone, or not JSON at all
        return path.suffix != ".jsonl"
    except OSError as error:
        raise BenchError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from error


def _report_of(raw: RawHypotheses, path: Path, normalizer: str, reference: str) -> dict[str, Any]:
    spoken = [ReferenceText(one.id, one.duration, one.reference) for one in raw.utterances.values()]
    return {
        "schema": SCHEMAS[-1],
        "kind": KIND,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": None,
        "settings": {
            "source": str(path),
            "utterances": len(spoken),
            "audio_seconds": sum(one.duration for one in spoken),
            "repeats": 0,
            "normalizer": normalizer,
            "normalizer_version": NORMALIZER_VERSIONS.get(normalizer),
            "reference": reference,
            "seed": 0,
        },
        "utterances": [one.model_dump() for one in raw.utterances.values()],
        "results": [_result(name, raw, spoken) for name in raw.texts],
        "differences": [],
    }


def _result(name: str, raw: RawHypotheses, spoken: Sequence[ReferenceText]) -> dict[str, Any]:
    texts, seconds = raw.texts[name], raw.seconds.get(name, {})
    return {
        "name": name,
        "bytes": None,
        "parameters": None,
        "facts": None,
        "failed": None,
        "timing": None,
        "hypotheses": {one.id: texts[one.id] for one in spoken},
        "seconds": {one.id: seconds[one.id] for one in spoken if one.id in seconds},
    }
