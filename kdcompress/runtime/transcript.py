"""What was said, when, and how long it took to find out."""

from dataclasses import dataclass
from typing import Any

from kdcompress.text.decode import Span


@dataclass(frozen=True)
class Timings:
    """Where the time went [s]; in a batch each transcript carries its share of the model's.

    Attributes:
        audio: reading, decoding and resampling the file.
        features: log-mel.
        model: the graph.
        decoding: CTC to text and words.
    """

    audio: float
    features: float
    model: float
    decoding: float


@dataclass(frozen=True)
class Transcript:
    """The text of one recording.

    Attributes:
        text: words with single spaces.
        tokens: the printing output units with their times.
        words: with their times.
        duration: of the audio [s].
    """

    text: str
    tokens: tuple[Span, ...]
    words: tuple[Span, ...]
    duration: float
    timings: Timings

    def to_json(self) -> dict[str, Any]:
        """Return plain data without the timings; times are rounded to milliseconds."""
        return {
            "text": self.text,
            "duration": round(self.duration, 3),
            "words": [_plain(word) for word in self.words],
            "tokens": [_plain(token) for token in self.tokens],
        }


def _plain(span: Span) -> dict[str, Any]:
    return {"text": span.text, "start": round(span.start, 3), "end": round(span.end, 3)}
