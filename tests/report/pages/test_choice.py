from typing import Any

import numpy as np
import pytest

from kdcompress.report.bootstrap import difference
from kdcompress.report.pages.alignment import Alignments
from kdcompress.report.pages.choice import choose, increase
from kdcompress.report.pages.summary import summarize
from kdcompress.report.record import parse_report


def made(*models: tuple[str, float, int, float, int], runtime: str = "kdcompress") -> dict[str, Any]:
    """Make a report of models that get some of 200 utterances wrong.

    Args:
        models: name, share of its utterances with one word of four wrong, seed, RTF, bytes.
        runtime: of the first one.
    """
    results = []
    for name, share, seed, rtf, size in models:
        wrong = np.random.default_rng(seed).random(200) < share
        heard = {f"u{n}": "a b c x" if bad else "a b c d" for n, bad in enumerate(wrong)}
        wer = {
            "rate": float(wrong.mean()) / 4,
            "low": 0.0,
            "high": 1.0,
            "substitutions": int(wrong.sum()),
            "insertions": 0,
            "deletions": 0,
            "reference": 800,
        }
        spread = {"median": rtf, "low": 0.9 * rtf, "high": 1.1 * rtf}
        facts = {"runtime_name": runtime if not results else "kdcompress"}
        results.append({"name": name, "bytes": size, "facts": facts, "accuracy": {"wer": wer, "cer": wer},
                        "timing": {"rtf": spread}, "hypotheses": heard})  # fmt: skip
    utterances = [{"id": f"u{n}", "duration": 1.0, "reference": "a b c d"} for n in range(200)]
    settings = {"normalizer": "basic", "reference": results[0]["name"]}
    return {
        "kind": "kdcompress-bench",
        "schema": 2,
        "settings": settings,
        "results": results,
        "utterances": utterances,
    }


def picked(report: dict[str, Any]) -> str | None:
    view = parse_report(report, "it")
    pick = choose(view, Alignments(view)).pick
    return pick and pick.name


def test_the_increase_is_what_the_bootstrap_finds() -> None:
    view = parse_report(made(("a", 0.3, 1, 1.0, 1), ("b", 0.4, 2, 1.0, 1)), "it")
    alignments = Alignments(view)
    found = increase(alignments, view.results[1], view.results[0])
    errors = [np.array([a.errors for a in alignments.of[n].values()])[None] for n in ("b", "a")]
    expected = difference(errors[0], errors[1], np.full(200, 4))
    assert found is not None
    assert found.value == pytest.approx(expected.value)
    assert found.low == pytest.approx(expected.low, abs=0.004)
    assert found.high == pytest.approx(expected.high, abs=0.004)


def test_the_fastest_of_those_that_are_about_as_accurate() -> None:
    slow, quick = ("slow", 0.40, 1, 0.04, 8), ("quick", 0.40, 2, 0.01, 4)
    assert picked(made(slow, quick)) == "quick"
    assert picked(made(slow, quick, ("bad", 0.80, 3, 0.001, 1))) == "quick"


def test_of_equally_fast_ones_the_smallest() -> None:
    large, small = ("large", 0.40, 1, 0.0100, 8), ("small", 0.40, 2, 0.0105, 4)
    assert picked(made(large, small)) == "small"


def test_chance_excuses_only_so_much() -> None:
    # Ten utterances cannot tell 25 % from 45 %, and still it is not "about as accurate".
    report = made(("good", 0.0, 1, 0.04, 8), ("worse", 0.0, 2, 0.01, 4))
    report["utterances"] = report["utterances"][:10]
    for result, wrong in zip(report["results"], (5, 7), strict=True):
        heard = ["a b c x"] * wrong + ["a b c d"] * (10 - wrong)
        result["hypotheses"] = {f"u{n}": text for n, text in enumerate(heard)}
        result["accuracy"]["wer"]["rate"] = wrong / 40
    assert picked(report) == "good"


def test_what_is_surely_worse_is_not_as_accurate_however_little() -> None:
    report = made(("good", 0.0, 1, 0.04, 8), ("worse", 0.0, 2, 0.01, 4))
    for result, wrong in zip(report["results"], (80, 88), strict=True):  # the same ones, and eight more
        heard = ["a b c x"] * wrong + ["a b c d"] * (200 - wrong)
        result["hypotheses"] = {f"u{n}": text for n, text in enumerate(heard)}
        result["accuracy"]["wer"]["rate"] = wrong / 800
    assert picked(report) == "good"


def test_a_model_in_torch_is_what_others_are_measured_by() -> None:
    teacher = ("teacher", 0.1, 1, 0.9, 900)
    report = made(teacher, ("student", 0.5, 2, 0.01, 3), runtime="torch")
    assert picked(report) == "student"
    view = parse_report(report, "it")
    sentences = summarize(view, Alignments(view)).sentences
    assert sentences[0].startswith("teacher is the most accurate, with ")
    assert sentences[1].startswith(
        "student is the most accurate that runs without PyTorch: 90× faster and 300× smaller, for "
    )
    assert " more errors in 100 words than teacher (" in sentences[1]
    assert picked(made(teacher, ("other", 0.5, 2, 0.01, 3))) == "teacher"


def test_a_price_that_may_be_chance_is_named_all_the_same() -> None:
    report = made(("good", 0.0, 1, 0.04, 8), ("quick", 0.0, 2, 0.01, 4))
    for result, wrong in zip(report["results"], (range(40), range(20, 71)), strict=True):
        result["hypotheses"] = {f"u{n}": "a b c x" if n in wrong else "a b c d" for n in range(200)}
        result["accuracy"]["wer"]["rate"] = len(wrong) / 800
    view = parse_report(report, "it")
    last = summarize(view, Alignments(view)).sentences[-1]
    price = "1.4 more errors in 100 words than good (−0.4 to 3.1 more: it could be chance)"
    assert last == f"quick is 4.0× faster and 2.0× smaller, for {price}."


def test_one_model_is_no_choice() -> None:
    report = made(("only", 0.4, 1, 0.01, 5))
    assert picked(report) is None
    view = parse_report(report, "it")
    (sentence,) = summarize(view, Alignments(view)).sentences
    assert sentence.endswith(", and decodes an hour of audio in 36.0 s.")
