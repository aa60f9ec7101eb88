"""Elements of HTML and SVG. Whatever is put into one is escaped: transcripts come from models.

What comes out is well-formed XML too, so that a test can hold a whole page to it.
"""

import re
from collections.abc import Iterable
from typing import TypeAlias

Child: TypeAlias = "str | Markup | Iterable[Child] | None"
Attribute: TypeAlias = "str | float | bool | None"

# What neither HTML nor XML may contain, and halves of characters, which no file can.
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;"})
_VOID = frozenset({"meta", "br", "hr", "input", "img", "link"})


class Markup(str):
    """Text that is markup already."""

    __slots__ = ()


def escape(said: str) -> str:
    """Return text that means itself in an element or an attribute; what may not be printed is U+FFFD."""
    return _FORBIDDEN.sub("\ufffd", said).translate(_ESCAPES)


def join(children: Child) -> Markup:
    """Put markup and text after each other; only the text is escaped."""
    if children is None:
        return Markup("")
    if isinstance(children, Markup):
        return children
    if isinstance(children, str):
        return Markup(escape(children))
    return Markup("".join(join(child) for child in children))


def tag(name: str, /, *children: Child, **attributes: Attribute) -> Markup:
    """Return an element.

    Args:
        name: of the element.
        children: what is inside.
        attributes: `class_` is class, `data_x` is data-x; None and False are left out, True stands alone,
            numbers are written short.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_attribute(value))}"'
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    inside = join(children)
    if name in _VOID:
        return Markup(f"<{name}{written} />")
    return Markup(f"<{name}{written}>{inside}</{name}>")


def _attribute(value: str | float | bool) -> str:
    if isinstance(value, bool):
        return ""
    return value if isinstance(value, str) else f"{value:.2f}".rstrip("0").rstrip(".") or "0"
