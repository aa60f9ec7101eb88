"""The top of the page: what failed, what was found, what to pick, what to beware of."""

import re
from collections.abc import Sequence

from kdcompress.report.pages.choice import RULE
from kdcompress.report.pages.figures import plural
from kdcompress.report.pages.html.markup import Markup, tag
from kdcompress.report.pages.summary import Summary, Tile


def summary_section(summary: Summary, names: Sequence[str]) -> Markup:
    """Return the section; the names of models stand out in its sentences."""
    broken = sum(is_broken for is_broken, _ in summary.gate)
    gate = f"✕ Gate: {plural(broken, 'limit')} broken" if broken else "✓ Gate: every limit kept"
    judged = [f"{'broken: ' * is_broken}{sentence}" for is_broken, sentence in summary.gate]
    failures = f"✕ {plural(len(summary.failures), 'model')} failed"
    return tag(
        "section",
        _banner("failed", failures, summary.failures),
        _banner("failed" if broken else "kept", gate, judged),
        tag("p", [[_emphasized(sentence, names), " "] for sentence in summary.sentences], class_="lead"),
        tag("div", [_tile(tile) for tile in summary.tiles], class_="tiles") if summary.tiles else None,
        tag("details", tag("summary", "How the pick is made"), tag("p", RULE)) if summary.picked else None,
        _banner("caution", "⚠ Read the figures with care", summary.cautions),
        id="summary",
        aria_label="Summary",
    )


def _banner(kind: str, title: str, sentences: Sequence[str]) -> Markup | None:
    if not sentences:
        return None
    lines = [tag("li", sentence) for sentence in sentences]
    return tag("section", tag("h2", title), tag("ul", lines), class_=f"banner {kind}")


def _emphasized(sentence: str, names: Sequence[str]) -> list[Markup | str]:
    """Return a sentence whose models' names stand out."""
    longest_first = sorted(names, key=len, reverse=True)
    parts = re.split(rf"(?<!\w)({'|'.join(map(re.escape, longest_first))})(?!\w)", sentence)
    return [tag("strong", part) if part in names else part for part in parts]


def _tile(tile: Tile) -> Markup:
    return tag(
        "article",
        tag("h2", tile.title),
        tag("p", tile.figure, class_="figure" if tile.model else "figure words"),
        tag("p", tile.model, class_="model") if tile.model else None,
        tag("p", tile.meaning, class_="muted"),
        class_="tile" if tile.model else "tile pick",
    )
