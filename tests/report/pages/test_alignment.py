from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from kdcompress.report.pages.alignment import Alignments, Edit, align
from kdcompress.report.record import parse_report

texts = st.lists(st.sampled_from("abc"), max_size=7).map(" ".join)


def distance(said: list[str], heard: list[str]) -> int:
    """Levenshtein's distance, by its definition."""
    row = list(range(len(heard) + 1))
    for i, word in enumerate(said, 1):
        last, row[0] = row[0], i
        for j, other in enumerate(heard, 1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (word != other))
    return row[-1]


@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=4))
def test_an_alignment_holds_both_texts_and_the_fewest_errors(pairs: list[tuple[str, str]]) -> None:
    said, heard = zip(*pairs, strict=True)
    for found, ours, theirs in zip(align(said, heard), said, heard, strict=True):
        assert [e.said for e in found.edits if e.kind != "insert"] == ours.split()
        assert [e.written for e in found.edits if e.kind != "delete"] == theirs.split()
        assert all((e.kind == "equal") == (e.said == e.written) for e in found.edits)
        assert found.errors == distance(ours.split(), theirs.split())
        assert found.said == len(ours.split())


def test_edits_stand_in_the_order_of_speech() -> None:
    (found,) = align(["a b c"], ["a x c d"])
    assert found.edits == (
        Edit("equal", "a", "a"),
        Edit("substitute", "b", "x"),
        Edit("equal", "c", "c"),
        Edit("insert", "", "d"),
    )
    assert align([], []) == []


def test_texts_are_compared_as_the_report_did(report: dict[str, Any]) -> None:
    report["results"][0]["hypotheses"]["u3"] = "GO!"
    found = Alignments(parse_report(report, "it"))
    assert found.of["teacher"]["u3"].errors == 0
    assert found.caution == ""
    assert len(found.of) == 3  # it failed


def test_what_the_report_counted_otherwise_is_told(report: dict[str, Any]) -> None:
    report["results"][1]["accuracy"]["wer"]["insertions"] += 1
    assert "of student fp32" in Alignments(parse_report(report, "it")).caution
    report["settings"]["normalizer"] = "unheard of"
    assert "no normaliser named unheard of" in Alignments(parse_report(report, "it")).caution
