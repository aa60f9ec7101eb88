import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt  # rich brings it

from kdcompress.report.pages.markdown import escape, render_markdown
from kdcompress.report.record import parse_report

PARSER = MarkdownIt("commonmark").enable(["table", "strikethrough"])


def test_every_table_of_the_page_is_there(report: dict[str, Any]) -> None:
    text = render_markdown(parse_report(report, "it"))
    for title in ("Accuracy", "Speed", "Size and memory", "Differences", "Throughput"):
        assert f"# {title}\n" in text
    row = "| student fp32 | WER | 1.20 points <sub>0.20 to 2.10</sub> | 0.012 | more errors |"
    assert f"| student int8-dynamic {row}" in text
    assert "**Failed:** broken " in text
    assert "student fp32 is the most accurate that runs without PyTorch" in text


def test_rows_are_as_wide_as_their_tables(report: dict[str, Any]) -> None:
    tokens = PARSER.parse(render_markdown(parse_report(report, "it")))
    widths: list[list[int]] = []
    for token in tokens:
        if token.type == "table_open":
            widths.append([])
        elif token.type == "tr_open":
            widths[-1].append(0)
        elif token.type in {"td_open", "th_open"}:
            widths[-1][-1] += 1
    assert len(widths) == 9  # seven tables, the worst utterances, the machine
    # The parser cuts and fills rows; the bars show what was written.
    for row in (
        line for line in render_markdown(parse_report(report, "it")).splitlines() if line.startswith("|")
    ):
        assert row.replace("\\|", "").count("|") - 1 in {len_ for table in widths for len_ in table}


def test_texts_neither_format_nor_link_nor_call(report: dict[str, Any]) -> None:
    report["settings"]["normalizer"] = "none"
    heard = report["results"][1]["hypotheses"]
    heard["u1"] = "**b** <b>x</b> @all #5 https://x.y `c` | [l](u) ![i](j) ~~s~~"
    text = render_markdown(parse_report(report, "it"))
    shown = PARSER.render(text)
    assert "<b>" not in shown
    assert "<script" not in shown
    assert "<a " not in shown
    assert "<img" not in shown
    assert "@all" not in text
    assert "#5" not in text
    assert "https://x" not in text
    text.encode("utf-8")


@given(st.text(max_size=30))
def test_an_escaped_text_is_shown_as_it_was(said: str) -> None:
    line = f"x {escape(said)} x"
    children = PARSER.parseInline(line)[0].children or []
    assert {token.type for token in children} <= {"text", "text_special"}
    shown = "".join(token.content for token in children)
    expected = re.sub("[\x00-\x1f\x7f-\x9f]", " ", f"x {said} x")
    assert shown.replace("\u200b", "").split() == expected.replace("\u200b", "").split()


@pytest.mark.parametrize("said", ["# x", "- x", "1. x", "> x", "```", "===", "+ x", "| x |", "* x"])
def test_a_line_does_not_become_a_block(said: str) -> None:
    opened = [token.type for token in PARSER.parse(escape(said)) if token.nesting == 1]
    assert opened == ["paragraph_open"]
