"""A transcript becomes subtitles: SubRip (.srt) and WebVTT (.vtt)."""

from collections.abc import Sequence
from dataclasses import dataclass

from kdcompress.runtime.transcript import Transcript
from kdcompress.text.decode import Span

_LINGER = 0.3  # [s] that a cue stays after its last word: CTC's spike comes before the sound ends


@dataclass(frozen=True)
class CueLayout:
    """What fits on a screen; the defaults are what broadcasters ask for, give or take.

    Attributes:
        characters: in a line.
        lines: in a cue.
        seconds: longest that a cue may stay [s].
        shortest: that it stays where the next one leaves room [s].
        pause: between two words that ends a cue [s].
    """

    characters: int = 42
    lines: int = 2
    seconds: float = 7.0
    shortest: float = 1.0
    pause: float = 0.8


@dataclass(frozen=True)
class Cue:
    """Lines of text and when to show them [s]."""

    start: float
    end: float
    lines: tuple[str, ...]


def cues(transcript: Transcript, layout: CueLayout | None = None) -> list[Cue]:
    """Break a transcript into cues that do not overlap; joined by spaces, their lines are its text.

    A cue ends at a pause. What is then still too long for the screen is parted at the longest gap between its
    first and its last quarter. A word that is longer than a line, as is all of an utterance where the
    vocabulary has no word boundary, is broken between its tokens.
    """
    layout = layout or CueLayout()
    pieces = _pieces(transcript, layout.characters)
    phrases: list[list[Span]] = []
    for before, piece in zip([None, *pieces], pieces, strict=False):
        if before is None or piece.start - before.end >= layout.pause:
            phrases.append([])
        phrases[-1].append(piece)
    parts = [part for phrase in phrases for part in _parted(phrase, layout)]
    limits = [*(part[0].start for part in parts[1:]), transcript.duration]
    found = []
    for part, limit in zip(parts, limits, strict=False):
        begin, said = part[0].start, part[-1].end
        end = max(min(max(said + _LINGER, begin + layout.shortest), limit), said)
        found.append(Cue(begin, end, tuple(_balanced(part, layout))))
    return found


def to_srt(transcript: Transcript, layout: CueLayout | None = None) -> str:
    """Return the content of a .srt file."""
    return "".join(
        f"{number}\n{_clock(cue.start, ',')} --> {_clock(cue.end, ',')}\n" + "\n".join(cue.lines) + "\n\n"
        for number, cue in enumerate(cues(transcript, layout), 1)
    )


def to_vtt(transcript: Transcript, layout: CueLayout | None = None) -> str:
    """Return the content of a .vtt file (w3.org/TR/webvtt1)."""
    blocks = [
        f"{_clock(cue.start, '.')} --> {_clock(cue.end, '.')}\n" + _escaped("\n".join(cue.lines))
        for cue in cues(transcript, layout)
    ]
    return "\n\n".join(["WEBVTT", *blocks]) + "\n"


def _pieces(transcript: Transcript, characters: int) -> list[Span]:
    """Return what may stand on a line of its own; a leading space says that a word begins."""
    pieces: list[Span] = []
    for word in transcript.words:
        if len(word.text) <= characters:
            pieces.append(Span(" " + word.text, word.start, word.end))
            continue
        tokens = [t for t in transcript.tokens if word.start <= t.start and t.end <= word.end]
        texts = [t.text.strip() for t in tokens]
        if "".join(texts) != word.text:  # a token that this word shares with another
            pieces.append(Span(" " + word.text, word.start, word.end))
            continue
        for number, (token, text) in enumerate(zip(tokens, texts, strict=True)):
            if text:
                pieces.append(Span(text if number else " " + text, token.start, token.end))
    return pieces


def _parted(phrase: list[Span], layout: CueLayout) -> list[list[Span]]:
    count = len(phrase)
    fits = (
        len(_wrapped(phrase, layout.characters)) <= layout.lines
        and phrase[-1].end - phrase[0].start <= layout.seconds
    )
    if fits or count == 1:
        return [phrase]
    inner = range(max(count // 4, 1), max(count - count // 4, 2))
    cut = max(inner, key=lambda i: (round(phrase[i].start - phrase[i - 1].end, 3), -abs(2 * i - count)))
    return _parted(phrase[:cut], layout) + _parted(phrase[cut:], layout)


def _wrapped(part: Sequence[Span], characters: int) -> list[str]:
    lines = [part[0].text.lstrip()]
    for piece in part[1:]:
        if len(lines[-1]) + len(piece.text) <= characters:
            lines[-1] += piece.text
        else:
            lines.append(piece.text.lstrip())
    return lines


def _balanced(part: Sequence[Span], layout: CueLayout) -> list[str]:
    """Wrap into as few lines as possible, the longest of which is as short as possible."""
    lines = _wrapped(part, layout.characters)
    for characters in range(layout.characters - 1, 0, -1):
        tighter = _wrapped(part, characters)
        if len(tighter) > len(lines):
            break
        lines = tighter
    return lines


def _clock(seconds: float, point: str) -> str:
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest // 1000:02}{point}{rest % 1000:03}"


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
