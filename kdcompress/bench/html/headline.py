"""The top of the page: what failed, what was found, what to pick, what to beware of."""

import re
from collections.abc import Sequence

from kdcompress.bench.choice import RULE
from kdcompress.bench.figures import plural
from kdcompress.bench.html.markup import Markup, tag
from kdcompress.bench.summary import Summary, Tile


def summary_section(summary: Summary, names: Sequence[str]) -> Markup:
    """Return the section; the names of models stand out in its sentences."""
    failed = None
    if summary.failures:
        failed = tag(
            "section",
            tag("h2", f"✕ {plural(len(summary.failures), 'model')} failed"),
            tag("ul", [tag("li", failure) for failure in summary.failures]),
            class_="banner failed",
            role="alert",
        )
    broken = [sentence for is_broken, sentence in summary.gate if is_broken]
    gate = None
    if summary.gate:
        said = f"✕ Gate: {plural(len(broken), 'limit')} broken" if broken else "✓ Gate: every limit kept"
        gate = tag(
            "section",
            tag("h2", said),
            tag("ul", [tag("li", f"{'broken: ' * bad}{sentence}") for bad, sentence in summary.gate]),
            class_=f"banner {'failed' if broken else 'kept'}",
        )
    cautions = None
    if summary.cautions:
        cautions = tag(
            "section",
            tag("h2", "⚠ Read the figures with care"),
            tag("ul", [tag("li", caution) for caution in summary.cautions]),
            class_="banner caution",
        )
    return tag(
        "section",
        failed,
        gate,
        tag("p", [[_emphasized(sentence, names), " "] for sentence in summary.sentences], class_="lead"),
        tag("div", [_tile(tile) for tile in summary.tiles], class_="tiles") if summary.tiles else None,
        tag("details", tag("summary", "How the pick is made"), tag("p", RULE)) if summary.picked else None,
        cautions,
        id="summary",
        aria_label="Summary",
    )


def _emphasized(sentence: str, names: Sequence[str]) -> list[Markup | str]:
    """Return a sentence whose models' names stand out."""
    longest_first = sorted(names, key=len, reverse=True)
    parts = re.split(f"({'|'.join(map(re.escape, longest_first))})", sentence)
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
