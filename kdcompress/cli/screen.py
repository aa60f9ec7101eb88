"""What a stranger wrote (tokens, names, reasons) is shown; none of it gives orders to the terminal."""

from collections.abc import Iterable
from typing import Any

import rich.console
from rich.segment import Segment

# C0 and DEL have pictures in Unicode; C1 and what turns the direction of writing have none.
_SHOWN = {code: chr(0x2400 + code) for code in range(32) if chr(code) not in "\t\n"} | {0x7F: "\u2421"}
_SHOWN |= dict.fromkeys((*range(0x80, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)), "\ufffd")


def harmless(text: str) -> str:
    """Return the text with a visible character for each that a terminal obeys, but tabs and line ends."""
    return text.translate(_SHOWN)


class Console(rich.console.Console):
    """A console whose own colours and cursor movements are the only ones that reach the terminal."""

    def render(self, *arguments: Any, **options: Any) -> Iterable[Segment]:
        """Yield segments, those with text made harmless."""
        for segment in super().render(*arguments, **options):
            text = segment.text if segment.control else harmless(segment.text)
            yield Segment(text, segment.style, segment.control)
