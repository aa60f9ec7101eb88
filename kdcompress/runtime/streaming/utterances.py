"""Frames of a stream become partial and final texts: greedy CTC, and where an utterance ends.

T' frames, V vocabulary.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from kdcompress.aliases import FloatArray
from kdcompress.errors import ConfigError
from kdcompress.runtime.streaming.graph import TAIL
from kdcompress.text.decode import Span, words_of
from kdcompress.text.vocabulary import Vocabulary


@dataclass(frozen=True)
class Endpointing:
    """When a text is final.

    Attributes:
        silence: blanks behind a text that end its utterance [s]; 0 waits for the end of the stream.
        longest: utterance [s]; what is longer is given out up to its last word, and goes on. 0 has no limit.
        reset: forget what was said when silence ends an utterance: the next one begins as a recording does.
        tail: silence that is added behind the end of the audio [s].

    Raises:
        ConfigError: one of them is below 0, or no number.
    """

    silence: float = 1.2
    longest: float = 20.0
    reset: bool = True
    tail: float = TAIL

    def __post_init__(self) -> None:
        for name in ("silence", "longest", "tail"):
            value = getattr(self, name)
            if not 0 <= value < math.inf:
                raise ConfigError(f"{name} of {value:g} s is not possible; choose 0 s or more")


@dataclass(frozen=True)
class StreamResult:
    """What was said in an utterance, or is known of it so far.

    Attributes:
        utterance: its number, from 0.
        final: nothing of it will change, and the next result is of the next utterance.
        text: words with single spaces.
        tokens: the printing output units with their times from the beginning of the stream.
        decoded: how much of the stream has been decoded [s].
    """

    utterance: int
    final: bool
    text: str
    tokens: tuple[Span, ...]
    decoded: float

    @cached_property
    def words(self) -> tuple[Span, ...]:
        """The words with their times."""
        return tuple(words_of(self.tokens))

    def to_json(self) -> dict[str, Any]:
        """Return plain data; times are rounded to milliseconds."""
        plain = [
            {"text": word.text, "start": round(word.start, 3), "end": round(word.end, 3)}
            for word in self.words
        ]
        return {
            "utterance": self.utterance,
            "final": self.final,
            "text": self.text,
            "words": plain,
            "decoded": round(self.decoded, 3),
        }


def best_path(log_probs: FloatArray) -> tuple[list[list[int]], list[bool]]:
    """Return the best tokens of log-probabilities [N, T', V], and whether a row is without NaN."""
    best = log_probs.argmax(axis=2)
    good: npt.NDArray[np.bool_] = np.isfinite(log_probs.max(axis=2)).all(axis=1)
    return best.tolist(), good.tolist()


class Utterances:
    """Decodes one stream; holds the tokens of the utterance that is being said."""

    def __init__(self, vocabulary: Vocabulary, frame_shift: float, rules: Endpointing) -> None:
        self._vocabulary, self._frame_shift, self._rules = vocabulary, frame_shift, rules
        self._tokens: list[Span] = []
        self._begun = 0  # the frame at which the last of them begins
        self._before = vocabulary.blank
        self._frame = 0
        self._spoken = 0  # one past the last frame that was no blank
        self._had_ended = self._ended = False
        self._utterance = 0
        self._shown, self._changed = "", False

    def add(self, path: Sequence[int]) -> Iterator[StreamResult]:
        """Decode the best tokens [T'] of frames; yields a partial result where the text changed."""
        blank, printed, shift = self._vocabulary.blank, self._vocabulary.printed, self._frame_shift
        for token in path:
            self._frame += 1
            if token != blank:
                self._spoken = self._frame
                text = printed[token]
                if token != self._before:
                    self._begun = self._frame - 1
                    if text is not None:
                        self._changed = True
                        self._tokens.append(Span(text, self._begun * shift, self._frame * shift))
                elif text is not None and self._tokens:  # unless its beginning was given out already
                    self._tokens[-1] = Span(text, self._begun * shift, self._frame * shift)
            self._before = token
        silent = (self._frame - self._spoken) * self._frame_shift
        self._had_ended, self._ended = self._ended, 0 < self._rules.silence <= silent + 1e-9
        return self._results()

    def finish(self) -> Iterator[StreamResult]:
        """Yield what is left as a final result, if it has text."""
        yield from self._finals(len(self._tokens))

    @property
    def just_ended(self) -> bool:
        """Whether the frames that were added last are those with which silence was long enough."""
        return self._ended and not self._had_ended

    def _results(self) -> Iterator[StreamResult]:
        tokens, longest = self._tokens, self._rules.longest
        if tokens and self._ended:
            yield from self._finals(len(tokens))
        elif tokens and 0 < longest <= self._frame * self._frame_shift - tokens[0].start:
            # Those of complete words; all, where no word boundary is among them.
            last = max((i for i, token in enumerate(tokens) if i and " " in token.text), default=0)
            yield from self._finals(last or len(tokens))
        if not self._changed:
            return
        self._changed = False
        result = self._result(len(tokens), final=False)
        if result.text != self._shown:
            self._shown = result.text
            yield result

    def _finals(self, count: int) -> Iterator[StreamResult]:
        result = self._result(count, final=True)
        del self._tokens[:count]
        self._shown, self._changed = "", True
        if result.text:
            self._utterance += 1
            yield result

    def _result(self, count: int, *, final: bool) -> StreamResult:
        tokens = tuple(self._tokens[:count])
        text = " ".join("".join([token.text for token in tokens]).split())
        decoded = self._frame * self._frame_shift
        return StreamResult(self._utterance, final, text, tokens, decoded)
