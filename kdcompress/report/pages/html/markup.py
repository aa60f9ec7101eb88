"""Text in HTML and SVG: whatever is put into an element is escaped, for transcripts come from models.

What comes out is well-formed XML too, so that a test can hold a whole page to it.
"""

import re
from collections.abc import Iterable
from typing import TypeAlias

from markupsafe import Markup
from markupsafe import escape as escape_markup

Child: TypeAlias = "str | Markup | Iterable[Child] | None"
Attribute: TypeAlias = "str | float | None"

# What neither HTML nor XML may contain, and halves of characters, which no file can.
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def clean(value: object) -> object:
    """Replace what may not be printed by U+FFFD in text that is no markup yet."""
    return (
        _FORBIDDEN.sub("\ufffd", value) if isinstance(value, str) and not isinstance(value, Markup) else value
    )


def tag(name: str, /, *children: Child, **attributes: Attribute) -> Markup:
    """Return an element.

    Args:
        name: of the element.
        children: what is inside.
        attributes: `class_` is class, `data_x` is data-x; None is left out, numbers are written short.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape_markup(clean(_attribute(value)))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{name}{written}>{_join(children)}</{name}>")


def _join(children: Child) -> Markup:
    if children is None:
        return Markup("")
    if isinstance(children, str):
        return escape_markup(clean(children))
    return Markup("").join(map(_join, children))


def _attribute(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.2f}".rstrip("0").rstrip(".") or "0"
