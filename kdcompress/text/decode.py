"""Posteriors become text: greedy CTC decoding with times (numpy; no torch).

T frames, V vocabulary.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt

from kdcompress.errors import NumericsError, VocabularyError
from kdcompress.text.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True)
class Span:
    """A token or a word and when it was said.

    Attributes:
        text: as printed; word boundaries inside a token appear as spaces.
        start: of its first frame [s].
        end: of its last frame's end [s]. CTC tokens are spikes: this is where the model stopped saying it,
            seldom where the sound ends.
    """

    text: str
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """The best path of one utterance.

    Attributes:
        ids: the tokens, repeats collapsed, blanks removed.
        starts: first frame of each token.
        ends: one past the last frame of each token.
        log_prob: of the best path, blanks included [nats].
    """

    ids: tuple[int, ...]
    starts: tuple[int, ...]
    ends: tuple[int, ...]
    log_prob: float

    def text(self, vocabulary: Vocabulary) -> str:
        """Return the words, single spaces between them."""
        return vocabulary.text(self.ids)

    def tokens(self, vocabulary: Vocabulary, frame_shift: float) -> list[Span]:
        """Return the printing tokens with times; `frame_shift` is the spacing of output frames [s]."""
        printed = vocabulary.printed
        return [
            Span(text, start * frame_shift, end * frame_shift)
            for i, start, end in zip(self.ids, self.starts, self.ends, strict=True)
            if (text := printed[i]) is not None
        ]

    def words(self, vocabulary: Vocabulary, frame_shift: float) -> list[Span]:
        """Return the words with times, from their first token's start to their last one's end [s].

        Joined by single spaces they are `text`.
        """
        return words_of(self.tokens(vocabulary, frame_shift))


def words_of(tokens: Iterable[Span]) -> list[Span]:
    """Join printing tokens to the words that the spaces in and between them leave."""
    words: list[Span] = []
    word, start, end = "", 0.0, 0.0
    for token in tokens:
        for is_space, characters in _stretches(token.text):
            if not is_space:
                start, end = (start if word else token.start), token.end
                word += characters
            elif word:
                words.append(Span(word, start, end))
                word = ""
    if word:
        words.append(Span(word, start, end))
    return words


@lru_cache(maxsize=65536)  # tokens, of which a vocabulary has few
def _stretches(text: str) -> tuple[tuple[bool, str], ...]:
    """Cut a token where spaces begin and end; says which stretches are spaces."""
    return tuple((is_space, "".join(characters)) for is_space, characters in groupby(text, str.isspace))


def greedy(log_probs: npt.NDArray[np.float32], vocabulary: Vocabulary) -> Hypothesis:
    """Take the best token of every frame of log_probs [T, V], collapse repeats, drop blanks.

    Only an utterance's own frames may be passed: padding would be decoded too.

    Raises:
        VocabularyError: V is not the size of the vocabulary.
        NumericsError: a frame holds NaN or no finite value.
    """
    return greedy_pieces([log_probs], vocabulary)


def greedy_pieces(pieces: Iterable[npt.NDArray[np.float32]], vocabulary: Vocabulary) -> Hypothesis:
    """Decode the pieces [T, V] of one recording as `greedy` does the whole, in memory for one piece."""
    paths, log_prob = [], 0.0
    for log_probs in pieces:
        check_log_probs(log_probs, vocabulary)
        best = log_probs.argmax(axis=1)
        log_prob += sum(log_probs[np.arange(len(best)), best].tolist())
        if not math.isfinite(log_prob):
            raise NumericsError(
                "the model's output holds NaN or infinity: its weights or its input are broken"
            )
        paths.append(best)
    path = paths[0] if len(paths) == 1 else np.concatenate([np.empty(0, np.int64), *paths])
    return from_path(path, vocabulary, log_prob)


def from_path(path: npt.NDArray[np.integer[Any]], vocabulary: Vocabulary, log_prob: float) -> Hypothesis:
    """Return what a path [T], the token id of every frame, says."""
    ids: list[int] = []
    starts: list[int] = []
    ends: list[int] = []
    blank = before = vocabulary.blank
    # A loop: behind a model the caches are empty, and every call into numpy takes as long as thirty frames.
    for frame, token in enumerate(path.tolist()):
        if token != before:
            if before != blank:
                ends.append(frame)
            if token != blank:
                ids.append(token)
                starts.append(frame)
            before = token
    if before != blank:
        ends.append(len(path))
    return Hypothesis(tuple(ids), tuple(starts), tuple(ends), log_prob)


def check_log_probs(log_probs: npt.NDArray[np.float32], vocabulary: Vocabulary) -> None:
    """Refuse what cannot be log-probabilities [T, V] over the vocabulary, with a VocabularyError."""
    if log_probs.ndim != 2 or log_probs.shape[1] != len(vocabulary):
        raise VocabularyError(
            f"expected log-probabilities [T, {len(vocabulary)}] for {vocabulary!r}, "
            f"found shape {list(log_probs.shape)}"
        )


def collapse(path: Iterable[int], blank: int) -> list[int]:
    """Merge repeats in a path of token ids and drop the blanks."""
    return [token for token, _ in groupby(path) if token != blank]
