"""How figures are written: as many digits as mean something, a unit that fits, never an exponent."""

import math

NONE = "–"
_MINUS = "−"


def significant(value: float | None, digits: int = 3) -> str:
    """Write a number with so many significant digits; digits before the point are never rounded away."""
    if value is None:
        return NONE
    if value == 0:
        return "0"
    # Rounded first: 0.0999 to two digits is 0.10, not 0.100.
    rounded = float(f"{value:.{digits - 1}e}")
    places = max(digits - 1 - math.floor(math.log10(abs(rounded))), 0)
    return _signed(f"{value:.{places}f}")


def short(value: float) -> str:
    """Write a tick: as few digits as say it."""
    written = significant(value)
    return written.rstrip("0").rstrip(".") if "." in written else written


def fixed(value: float | None, places: int) -> str:
    """Write a number with so many places."""
    return NONE if value is None else _signed(f"{value:.{places}f}")


def percent(rate: float | None, places: int = 2) -> str:
    """Write a rate as percent, without the sign for it."""
    return fixed(None if rate is None else 100 * rate, places)


def duration(seconds: float | None) -> str:
    """Write a time with the unit that fits."""
    if seconds is None:
        return NONE
    if seconds < 1e-3:
        return f"{significant(1e6 * seconds)} µs"
    if seconds < 1:
        return f"{significant(1e3 * seconds)} ms"
    if seconds < 120:
        return f"{significant(seconds)} s"
    return f"{significant(seconds / 60)} min" if seconds < 7200 else f"{significant(seconds / 3600)} h"


def size(count: float | None) -> str:
    """Write a number of bytes in decimal units."""
    if count is None:
        return NONE
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{significant(count / factor)} {unit}"
    return f"{count:.0f} B"


def count(value: float | None) -> str:
    """Write a whole number with narrow spaces between thousands."""
    return NONE if value is None else _signed(f"{value:,.0f}".replace(",", "\u202f"))


def probability(p: float | None) -> str:
    """Write a p-value; the resamples cannot tell small ones apart."""
    if p is None:
        return NONE
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def plural(number: int, noun: str, many: str = "") -> str:
    """Write a number and what is counted; `many` where an s does not make the plural."""
    return f"{number} {noun}" if number == 1 else f"{count(number)} {many or noun + 's'}"


def listed(names: list[str]) -> str:
    """Join names as a sentence does."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else ""


def shortened(name: str, length: int) -> str:
    """Cut a name in its middle: its end tells variants apart."""
    if len(name) <= length:
        return name
    tail = (length - 1) * 2 // 3
    return f"{name[: length - 1 - tail]}…{name[-tail:]}"


def _signed(written: str) -> str:
    if written.startswith("-"):
        return written[1:] if not written.strip("-0.") else _MINUS + written[1:]
    return written
