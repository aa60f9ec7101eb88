from typing import Any

from kdcompress.report.pages.alignment import Alignments
from kdcompress.report.pages.view import ReportView
from kdcompress.report.pages.worst import worst_utterances


def chosen(report: dict[str, Any], most: int) -> list[str]:
    view = ReportView(report)
    return [utterance.id for utterance in worst_utterances(view, Alignments(view), most)]


def made(heard: list[dict[str, str]]) -> dict[str, Any]:
    utterances = [{"id": id_, "duration": 1.0, "reference": "a b c d"} for id_ in "pqrst"]
    results = [{"name": f"m{n}", "hypotheses": texts} for n, texts in enumerate(heard)]
    return {"kind": "kdcompress-bench", "results": results, "utterances": utterances}


def test_each_models_worst_are_among_them() -> None:
    right = dict.fromkeys("pqrst", "a b c d")
    bad = {**right, "p": "", "q": "x x", "r": "a x x"}
    good = {**right, "t": "a b c x"}
    assert chosen(made([bad, good]), 1) == ["p"]
    assert chosen(made([bad, good]), 2) == ["p", "t"]  # though r has more errors
    assert chosen(made([bad, good]), 9) == ["p", "q", "r", "t"]
    assert chosen(made([bad, good]), 0) == []


def test_who_failed_is_not_listened_to(report: dict[str, Any]) -> None:
    report["results"][3]["hypotheses"] = {"u3": "nonsense"}
    view = ReportView(report)
    for utterance in worst_utterances(view, Alignments(view)):
        assert [entry.name for entry, _, _ in utterance.heard] == [
            "teacher",
            "student fp32",
            "student int8-dynamic",
        ]
