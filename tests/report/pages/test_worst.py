from typing import Any

from kdcompress.report.pages.alignment import Alignments
from kdcompress.report.pages.worst import worst_utterances
from kdcompress.report.record import parse_report


def chosen(report: dict[str, Any], most: int) -> list[str]:
    view = parse_report(report, "it")
    return [utterance.id for utterance in worst_utterances(view, Alignments(view), most)]


def made(heard: list[dict[str, str]]) -> dict[str, Any]:
    utterances = [{"id": id_, "duration": 1.0, "reference": "a b c d"} for id_ in "pqrst"]
    results = [{"name": f"m{n}", "hypotheses": texts} for n, texts in enumerate(heard)]
    settings = {"normalizer": "basic", "reference": "m0"}
    return {"kind": "kdcompress-bench", "schema": 2, "settings": settings, "results": results,
            "utterances": utterances}  # fmt: skip


def test_each_models_worst_are_among_them() -> None:
    right = dict.fromkeys("pqrst", "a b c d")
    bad = {**right, "p": "", "q": "x x", "r": "a x x"}
    good = {**right, "t": "a b c x"}
    assert chosen(made([bad, good]), 1) == ["p"]
    assert chosen(made([bad, good]), 2) == ["p", "t"]  # though r has more errors
    assert chosen(made([bad, good]), 9) == ["p", "q", "r", "t"]
    assert chosen(made([bad, good]), 0) == []


def test_what_failed_is_left_out(report: dict[str, Any]) -> None:
    report["results"][3]["hypotheses"] = {"u3": "nonsense"}
    view = parse_report(report, "it")
    for utterance in worst_utterances(view, Alignments(view)):
        assert [result.name for result, _, _ in utterance.found] == [
            "teacher",
            "student fp32",
            "student int8-dynamic",
        ]
