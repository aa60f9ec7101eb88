import base64
import copy
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kdcompress.errors import BenchError
from kdcompress.report.pages.html.page import render_html
from kdcompress.report.record import parse_report

PLOTS = {"rtf", "size", "latency", "throughput", "errors", "stages"}
TABLES = {"accuracy", "speed", "size", "differences", "durations", "throughput", "runtime"}


def page_of(report: Any) -> str:
    return render_html(parse_report(report, "it"))


def parsed(page: str) -> ElementTree.Element:
    """Return the page as XML; it fails where an element is left open or a character is not allowed."""
    assert page.startswith("<!DOCTYPE html>\n<html")
    page.encode("utf-8")
    bare = re.sub(r"<(script|style)>.*?</\1>", r"<\1></\1>", page, flags=re.DOTALL)
    return ElementTree.fromstring(bare.partition("\n")[2])


def text_of(element: ElementTree.Element | None) -> str:
    assert element is not None
    return " ".join("".join(element.itertext()).split())


def by_id(page: ElementTree.Element, id_: str) -> ElementTree.Element:
    found = page.find(f".//*[@id='{id_}']")
    assert found is not None, id_
    return found


def test_everything_that_was_measured_has_a_plot_and_a_table(report: dict[str, Any]) -> None:
    page = parsed(page_of(report))
    assert {
        text.get("id", "").removesuffix("-title") for text in page.iter("title") if text.get("id")
    } == PLOTS
    tables = {e.get("id") for e in page.iter() if (e.get("id") or "").startswith("table-")}
    assert tables == {f"table-{name}" for name in TABLES}
    for svg in page.iter("svg"):
        drawn = {e.get("data-model") for e in svg.iter("g")} - {None}
        assert drawn == {"0", "1", "2"}, svg.find("title")


def test_a_manager_finds_the_figures_first(report: dict[str, Any]) -> None:
    summary = by_id(parsed(page_of(report)), "summary")
    tiles = [text_of(tile) for tile in summary.iter("article")]
    assert tiles[0].startswith("Fewest errors0.00 %teacher")
    assert tiles[1].startswith("Fastest476×student int8-dynamic")
    assert tiles[2].startswith("Smallest1.94 MBstudent int8-dynamic")
    assert tiles[3].startswith("What to pickstudent fp32")


def test_who_failed_stands_above_everything(report: dict[str, Any]) -> None:
    summary = by_id(parsed(page_of(report)), "summary")
    assert summary[0].get("class") == "banner failed"
    assert "failed and was not timed: u3: ValueError: not <finite>" in text_of(summary[0])


def test_the_gate_is_told(report: dict[str, Any]) -> None:
    kept = {"candidate": "a", "measure": "rtf", "broken": False, "limit": 1.1, "sentence": "no slower"}
    report["gate"] = {"broken": False, "findings": [kept], "notes": []}
    assert "✓ Gate: every limit kept" in page_of(report)
    report["gate"]["findings"].append(kept | {"broken": True, "sentence": "worse by 3 points"})
    page = page_of(report)
    assert "✕ Gate: 1 limit broken" in page
    assert "<li>broken: worse by 3 points</li>" in page


class Tags(HTMLParser):
    """What a lenient reader, as browsers are, makes of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_transcripts_are_text_and_nothing_else(report: dict[str, Any]) -> None:
    page = page_of(report)
    found = Tags(page).found
    assert [tag for tag, _ in found].count("script") == 1
    assert not {tag for tag, _ in found} & {"img", "iframe", "object", "embed", "link", "form", "base"}
    assert not [name for _, attributes in found for name in attributes if name.startswith("on")]
    assert "\x00" not in page
    assert "\u202eyes\ufffd \ufffdit&#39;s" in page
    # Written as it was, too: the normaliser took the brackets away.
    assert "&lt;script&gt;document.title=" in page


def test_the_page_asks_nothing_of_any_network(report: dict[str, Any]) -> None:
    page = page_of(report)
    for tag, attributes in Tags(page).found:
        assert (attributes.get("src") or "data:").startswith("data:"), tag
        assert (attributes.get("href") or "#").startswith("#"), tag
        assert "style" not in attributes, tag  # the policy would refuse it
    assert re.findall(r"url\((?!#)|@import|//\w+\.\w", page) == []
    assert "http" not in page.replace("http-equiv", "")


def test_the_policy_lets_only_our_own_style_and_script_in(report: dict[str, Any]) -> None:
    page = page_of(report)
    metas = [attributes for tag, attributes in Tags(page).found if tag == "meta"]
    policy = next(a["content"] for a in metas if a.get("http-equiv") == "Content-Security-Policy") or ""
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    for name in ("style", "script"):
        (content,) = re.findall(rf"<{name}>(.*?)</{name}>", page, flags=re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{name}-src 'sha256-{digest}'" in policy


def test_names_within_the_page_lead_somewhere(report: dict[str, Any]) -> None:
    page = parsed(page_of(report))
    ids = [id_ for element in page.iter() if (id_ := element.get("id"))]
    assert len(ids) == len(set(ids))
    named = [id_ for e in page.iter() for id_ in (e.get("aria-labelledby") or "").split()]
    linked = [href.removeprefix("#") for e in page.iter() if (href := e.get("href"))]
    filled = [url for e in page.iter("rect") for url in re.findall(r"url\(#(.*)\)", e.get("fill") or "")]
    labelled = [for_ for e in page.iter("label") if (for_ := e.get("for"))]
    assert all((named, linked, filled, labelled))
    assert {*named, *linked, *filled, *labelled} <= set(ids)


def test_differences_are_told_without_colours(report: dict[str, Any]) -> None:
    page = parsed(page_of(report))
    utterance = next(li for li in by_id(page, "worst-list") if text_of(li).startswith("u1"))
    heard = text_of(next(dd for dd in utterance.iter("dd") if "substituted" in text_of(dd)))
    assert heard.startswith("rub out g [substituted: n for m] e ")
    shown = Tags(page_of(report)).found
    kinds = {attributes.get("class") for tag, attributes in shown if tag == "span"}
    assert {"diff sub", "diff ins", "diff del"} <= kinds


def test_a_report_of_schema_1_renders(report: dict[str, Any]) -> None:
    report |= {"schema": 1, "results": report["results"][:3]}
    del report["differences"]
    for result in report["results"]:
        for key in ("memory", "non_speech", "agreement"):
            result.pop(key, None)
        for key in ("buckets", "rtfx", "throughput", "first_result_seconds", "bimodal"):
            del result["timing"][key]
        for key in ("runtime_name", "options", "precision"):
            del result["facts"][key]
    page = parsed(page_of(report))
    drawn = {text.get("id", "").removesuffix("-title") for text in page.iter("title") if text.get("id")}
    assert drawn == PLOTS - {"throughput"}
    assert "476" in text_of(by_id(page, "table-speed"))  # RTFx, of the RTF


def test_without_references_the_agreement_takes_their_place(report: dict[str, Any]) -> None:
    for utterance in report["utterances"]:
        utterance["reference"] = None
    report["results"] = report["results"][:3]
    for result in report["results"]:
        wer = result.pop("accuracy")["wer"]
        result["agreement"] = {"reference": "teacher", "wer": wer, "same": 0.5}
    report["results"][0]["agreement"] = None
    page = parsed(page_of(report))
    assert "There are no references: student fp32 is the closest to teacher" in text_of(
        by_id(page, "summary")
    )
    assert "What to pick" not in text_of(page)
    assert by_id(page, "worst-list")[0].findtext(".//dt") == "teacher"


def test_nothing_but_failures_renders(report: dict[str, Any]) -> None:
    report["results"] = report["results"][3:]
    page = page_of(report)
    parsed(page)
    assert "No model could be measured: all of them failed." in page
    assert "<svg" not in page


@pytest.mark.parametrize(
    "data", [[], {}, {"kind": "kdcompress-bench", "schema": 2}, {"kind": "other", "results": [{}]}]
)
def test_what_is_no_report_is_refused(data: Any) -> None:
    with pytest.raises(BenchError):
        page_of(data)


def nodes(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return [place for key, value in inner for place in [(*path, key), *nodes(value, (*path, key))]]


@given(st.data())
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_damaged_is_refused_in_a_line_or_renders(report: dict[str, Any], data: st.DataObject) -> None:
    broken = copy.deepcopy(report)
    for _ in range(data.draw(st.integers(1, 3))):
        *path, last = data.draw(st.sampled_from(nodes(broken)))
        parent = broken
        for key in path:
            parent = parent[key]
        wrong = st.sampled_from([None, "x<&>", -1, 0, float("nan"), 1e300, [], {}, [None], {"a": 1}, True])
        if data.draw(st.booleans()):
            del parent[last]
        else:
            parent[last] = data.draw(wrong)
    try:
        found = parse_report(broken, "it")
    except BenchError:
        return
    parsed(render_html(found, audio=False))


def test_the_page_is_the_same_each_time(report: dict[str, Any]) -> None:
    assert page_of(report) == page_of(json.loads(json.dumps(report)))


STYLE = Path(__file__).parents[3] / "kdcompress" / "report" / "pages" / "html" / "style.css"


def themes() -> list[dict[str, str]]:
    blocks = re.findall(r"color-scheme: \w+;([^}]*)}", STYLE.read_text(encoding="utf-8"))
    return [dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block)) for block in blocks]


def contrast(first: str, second: str) -> float:
    """Return the contrast ratio of WCAG 2, 1.4.3."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(first), luminance(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_colours_can_be_read() -> None:
    light, dark, chosen_dark = themes()
    assert dark == chosen_dark
    assert light.keys() == dark.keys()
    for theme in (light, dark):
        for ground in ("ground", "card", "tint"):
            for text in ("text", "muted", "accent"):
                assert contrast(theme[text], theme[ground]) >= 4.5, (text, ground)
        for kind in ("good", "bad", "care", "sub", "ins", "del"):
            assert contrast(theme[kind], theme[f"{kind}-tint"]) >= 4.5, kind
            assert contrast(theme["text"], theme[f"{kind}-tint"]) >= 4.5, kind
        marks = [f"s{n}" for n in range(8)]
        assert min(contrast(theme[mark], theme["card"]) for mark in marks) >= 3
