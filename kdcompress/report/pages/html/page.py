"""Put the page together."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import PurePath
from typing import Any

from kdcompress.report.pages.alignment import Alignments
from kdcompress.report.pages.figures import duration, plural
from kdcompress.report.pages.html.audio import EmbeddedAudio, embed_audio, find_audio
from kdcompress.report.pages.html.bars import error_types, stages
from kdcompress.report.pages.html.headline import summary_section
from kdcompress.report.pages.html.lines import latency, throughput
from kdcompress.report.pages.html.listen import worst_section
from kdcompress.report.pages.html.markup import Markup, tag
from kdcompress.report.pages.html.scatter import scatter
from kdcompress.report.pages.html.tabular import fact_list, table_element
from kdcompress.report.pages.setting import Fact, machine_facts, setting_facts, version_facts
from kdcompress.report.pages.summary import summarize
from kdcompress.report.pages.tables import report_tables
from kdcompress.report.pages.view import Estimate, ReportView, number, text
from kdcompress.report.pages.worst import WORST, worst_utterances

_TERMS: tuple[Fact, ...] = (
    (
        "WER",
        "word error rate: substituted, inserted and deleted words / words in all references.",
    ),
    ("CER", "the same in characters."),
    ("RTF", "real-time factor: processing time / audio time; 0.01 is a hundred times faster than real time."),
    ("RTFx", "its inverse: how many seconds of audio are heard in a second."),
    ("95 % interval", "where the rate would lie with other utterances of this kind (bootstrap)."),
    ("least to most", "of times: the extremes over the timed passes."),
    ("p50, p99", "half of all utterances, 99 in 100 of them, took less."),
    ("p", "how often chance alone would show such a difference; below 0.05 it counts as shown."),
)


def render_html(
    report: Mapping[str, Any],
    *,
    worst: int = WORST,
    audio: bool = True,
    embedded: EmbeddedAudio | None = None,
) -> str:
    """Return a report as one HTML page that asks nothing of any network.

    Args:
        report: the JSON of a report, of schema 1 or 2; what is missing is left out.
        worst: how many of the worst utterances are shown.
        audio: put their audio into the page, where it is at hand.
        embedded: audio to use instead of looking for it.

    Raises:
        BenchError: it is no report, or an empty one.
    """
    view = ReportView(report)
    alignments = Alignments(view)
    chosen = worst_utterances(view, alignments, worst)
    ids = [utterance.id for utterance in chosen]
    if audio and embedded is None:
        embedded = embed_audio(ids, find_audio(view, ids))
    sections = (
        ("plots", "At a glance", _plots(view)),
        ("tables", "All figures", [table_element(table) for table in report_tables(view)]),
        ("utterances", "Worst utterances", worst_section(view, chosen, embedded if audio else None)),
        ("setting", "Measured on", _setting(view)),
        ("terms", "Terms", fact_list(_TERMS, "terms")),
    )
    names = [entry.name for entry in view.entries]
    body = (
        _header(view, [(key, title) for key, title, content in sections if content]),
        tag(
            "main",
            summary_section(summarize(view, alignments), names),
            [_section(key, title, content) for key, title, content in sections],
        ),
        tag("footer", _footer(view)),
    )
    return _document(_title(view), tag("body", body))


def _document(title: str, body: Markup) -> str:
    style, script = (
        resources.files(__package__).joinpath(n).read_text("utf-8") for n in ("style.css", "page.js")
    )
    # By their hashes: an element or an attribute that got in some other way would neither run nor style.
    policy = (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; media-src data:; "
        f"img-src data:; base-uri 'none'; form-action 'none'"
    )
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("title", title),
        tag("style", Markup(style)),
    )
    # At the end of the body: the page is there when it runs.
    closed = body.removesuffix("</body>") + tag("script", Markup(script)) + "</body>"
    return f"<!DOCTYPE html>\n{tag('html', head, Markup(closed), lang='en')}\n"


def _hash(content: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode("ascii")


def _title(view: ReportView) -> str:
    return f"Speech recognition benchmark: {PurePath(view.source).name}" if view.source else (
        "Speech recognition benchmark"
    )  # fmt: skip


def _header(view: ReportView, sections: Sequence[Fact]) -> Markup:
    settings = view.data.get("settings")
    seconds, utterances = number(settings, "audio_seconds"), number(settings, "utterances")
    facts = [
        plural(len(view.entries), "model"),
        plural(int(utterances), "utterance") if utterances else "",
        f"{duration(seconds)} of audio" if seconds else "",
        text(view.data, "machine", "cpu"),
        text(view.data, "created")[:10],
    ]
    toggle = tag("button", "Theme: system", type="button", id="theme", hidden=True, aria_live="polite")
    return tag(
        "header",
        tag("div", tag("p", "kdcompress bench", class_="overline"), toggle, class_="top"),
        tag("h1", _title(view)),
        tag("p", " · ".join(fact for fact in facts if fact), class_="muted"),
        tag("nav", [tag("a", name, href=f"#{key}") for key, name in sections], aria_label="On this page"),
        class_="page",
    )


def _section(key: str, title: str, content: Markup | Sequence[Markup]) -> Markup | None:
    if not content:
        return None
    return tag(
        "section", tag("h2", title, id=f"{key}-heading"), content, id=key, aria_labelledby=f"{key}-heading"
    )


def _plots(view: ReportView) -> list[Markup]:
    def megabytes(count: float | None) -> Estimate | None:
        return Estimate(count / 1e6) if count is not None and count > 0 else None

    drawn = {
        "Errors against time": scatter(view, "rtf", "Errors against time", lambda e: e.rtf, "RTF"),
        "Errors against size": scatter(
            view, "size", "Errors against size", lambda e: megabytes(e.bytes), "size in MB"
        ),
        "How long one utterance takes": latency(view),
        "Throughput": throughput(view),
        "What kind of errors": error_types(view),
        "Where the time goes": stages(view),
    }
    figures = [
        tag("figure", tag("figcaption", title), svg) for title, svg in drawn.items() if svg is not None
    ]
    return [tag("div", figures, class_="plots")] if figures else []


def _setting(view: ReportView) -> Markup:
    boxes = (
        ("Machine", machine_facts(view)),
        ("Settings", setting_facts(view)),
        ("Versions and variables", version_facts(view)),
    )
    return tag(
        "div",
        [tag("article", tag("h3", title), fact_list(facts), class_="box") for title, facts in boxes if facts],
        class_="boxes",
    )


def _footer(view: ReportView) -> str:
    version = text(view.data, "machine", "versions", "kdcompress")
    by = f"kdcompress {version}" if version else "kdcompress"
    return f"Measured by {by}. This page holds everything it shows and asks nothing of any network."
