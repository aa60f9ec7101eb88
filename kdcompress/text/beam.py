"""Posteriors become text: CTC prefix beam search with a word language model and hotwords.

T frames, V vocabulary. The search is flashlight-text's, which sums the alignments of a prefix (Hannun et al.
2014, arXiv 1408.2873) and brings KenLM; what a prefix earns besides is ours.
"""

import gzip
import os
import re
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kdcompress.aliases import FloatArray
from kdcompress.errors import ConfigError, MissingExtra, NumericsError
from kdcompress.text.decode import Hypothesis, check_log_probs, from_path
from kdcompress.text.prefix_score import PrefixScore, PrefixState
from kdcompress.text.vocabulary import Vocabulary

_LN10 = float(np.log(10.0))
_LEAST = -1e3  # [nats] instead of −∞, which two alignments cannot be summed with

# Frames that are searched at once: 20 s at 40 ms. Then the search commits to its best, between words.
_SEARCHED = 500


@dataclass(frozen=True)
class BeamSearch:
    """A decoder for `Recognizer`: looks for the text of the highest score, not for the best path.

    The score is ln P_CTC(text) + lm_weight · ln P_LM(text) + word_bonus · words + hotword_weight · hotwords.
    An hour is searched in stretches of half a minute that end in silence; the language model remembers.

    Attributes:
        beam: prefixes kept after each frame.
        token_beam: best tokens of a frame that may extend a prefix.
        threshold: prefixes that score so much less than the best are dropped [nats].
        lm: a KenLM model of words, an ARPA file (`.gz` too) or KenLM's binary; its words must be spelled as
            the student spells them, in either case where the student writes one alone. None takes none.
        lm_words: the words of a binary model, one a line; an ARPA file lists its own.
        lm_weight: of the language model's log-probability.
        word_bonus: for each word [nats]; makes up for what words cost in a language model. None takes 1 with
            a language model, else 0.
        hotwords: words or phrases that are likelier than the student thinks.
        hotword_weight: for each one that is said, whole words only [nats].

    Raises:
        MissingExtra: flashlight-text is not installed.
        ConfigError: a number is out of range, or a file of the language model cannot be used.
    """

    beam: int = 16
    token_beam: int = 8
    threshold: float = 15.0
    lm: Path | None = None
    lm_words: Path | None = None
    lm_weight: float = 0.5
    word_bonus: float | None = None
    hotwords: tuple[str, ...] = ()
    hotword_weight: float = 5.0

    def __post_init__(self) -> None:
        if self.beam < 1 or self.token_beam < 1 or not self.threshold > 0:
            raise ConfigError(
                f"a beam keeps 1 prefix and 1 token or more, and its threshold is above 0: found "
                f"{self.beam}, {self.token_beam} and {self.threshold:g}"
            )
        if self.lm is None and self.lm_words is not None:
            raise ConfigError(f"{self.lm_words} lists words of a language model, and none is given")
        _flashlight()
        object.__setattr__(self, "_words", None if self.lm is None else _load(self.lm, self.lm_words))

    def __call__(self, pieces: Iterable[FloatArray], vocabulary: Vocabulary) -> Hypothesis:
        """Decode the log posteriors of a recording, given in pieces [T, V].

        Raises:
            ConfigError: the student cannot spell the language model or a hotword.
            VocabularyError: V is not the size of the vocabulary.
            NumericsError: a frame holds NaN.
        """
        words: WordScores | None = self.__dict__["_words"]
        lm_scores = None if words is None else words.score
        start = None if words is None else words.start
        score = PrefixScore(
            vocabulary,
            lm_scores,
            self.lm_weight,
            float(self.lm is not None) if self.word_bonus is None else self.word_bonus,
            self.hotwords,
            self.hotword_weight,
            spelled=() if words is None else words.words,
        )
        state = score.start(start)
        paths, log_prob = [], 0.0
        for log_probs, last in _stretches(pieces, vocabulary):
            path = self._search(log_probs, vocabulary, score, state, last)
            log_prob += float(log_probs[np.arange(len(path)), path].sum(dtype=np.float64))
            for token in from_path(path, vocabulary, 0.0).ids:
                state, _ = score.extend(state, token)
            paths.append(path)
        return from_path(np.concatenate(paths) if paths else np.empty(0, np.int64), vocabulary, log_prob)

    def notes(self, vocabulary: Vocabulary) -> list[str]:
        """Return a line where the vocabulary has one case only and words that are given have the other."""
        words: WordScores | None = self.__dict__["_words"]
        taken = []
        for what, given in (("hotword", self.hotwords), ("language model's", words.words if words else ())):
            other = next((word for word in given if vocabulary.in_its_case(word) != word), None)
            if other is not None:
                taken.append(f"the {what} {other!r} is taken as {vocabulary.in_its_case(other)!r}")
        return [f"this student writes letters of one case: {', '.join(taken)}, and so on"] if taken else []

    def _search(
        self,
        log_probs: FloatArray,
        vocabulary: Vocabulary,
        score: PrefixScore,
        state: PrefixState,
        last: bool,
    ) -> npt.NDArray[np.int64]:
        text = _flashlight()
        options = text.LexiconFreeDecoderOptions(
            beam_size=self.beam,
            beam_size_token=min(self.token_beam, len(vocabulary)),
            beam_threshold=self.threshold,
            lm_weight=1.0,
            sil_score=0.0,
            log_add=True,
            criterion_type=text.CriterionType.CTC,
        )
        model = text.ZeroLM() if score.is_zero else _prefix_model(text, score, state, last)
        # Its search begins after a "silence": with the blank in that place nothing counts as repeated.
        decoder = text.LexiconFreeDecoder(options, model, vocabulary.blank, vocabulary.blank, [])
        emissions = np.ascontiguousarray(np.maximum(log_probs, _LEAST), dtype=np.float32)
        best = decoder.decode(emissions.ctypes.data, *emissions.shape)[0]
        return np.array(best.tokens[1:-1], np.int64)


@dataclass(frozen=True)
class WordScores:
    """A loaded language model: `score` maps a state and a word, or None for the end, to state and ln P."""

    start: Any
    score: Callable[[Any, str | None], tuple[Any, float]]
    words: tuple[str, ...]


def _load(path: Path, words_file: Path | None) -> WordScores:
    from flashlight.lib.text.decoder.kenlm import KenLM
    from flashlight.lib.text.dictionary import Dictionary

    try:
        words = _arpa_words(path) if words_file is None else words_file.read_text("utf-8").split()
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise ConfigError(f"the words of the language model {path} cannot be read: {error}") from error
    if not words:
        raise ConfigError(f"{path} is no ARPA file; with KenLM's binary a list of its words is needed too")
    index = {word: number for number, word in enumerate(dict.fromkeys(words))}
    unknown = index.setdefault("<unk>", len(index))
    try:
        with _silent_stderr():
            model = KenLM(str(path), Dictionary(list(index)))
    except Exception as error:  # KenLM's own exceptions arrive as whatever pybind makes of them
        raise ConfigError(f"the language model {path} cannot be loaded: {_reason(error)}") from error

    def score(state: Any, word: str | None) -> tuple[Any, float]:
        if word is None:
            after, log10 = model.finish(state)
        else:
            # A student of capitals alone may have a model of small letters, and the other way round.
            other = word.lower() if word.isupper() else word.upper() if word.islower() else word
            known = index.get(word, index.get(other, unknown))
            after, log10 = model.score(state, known)
        return after, log10 * _LN10

    return WordScores(model.start(False), score, tuple(words))


def _reason(error: Exception) -> str:
    """Return KenLM's own reason, without the place in its source and the C++ signature before it."""
    text = " ".join(str(error).split())
    return re.sub(r"^.*? threw \w+(?: because `.*?')?\.\s*(?=.)", "", text)[:200]


def _arpa_words(path: Path) -> list[str]:
    """Return the unigrams of an ARPA file, without its own marks; none of any other file."""
    words: list[str] = []
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    with gzip.open(path) if packed else path.open("rb") as file:
        # The header comes first, after comments at most: a binary file need not be read to its end.
        if b"\\data\\" not in file.read(4096):
            return []
        file.seek(0)
        inside = False
        for line in file:
            if line.startswith(b"\\"):
                if inside:
                    break
                inside = line.strip() == b"\\1-grams:"
            elif inside and len(fields := line.split()) > 1:
                words.append(fields[1].decode("utf-8"))
    return [word for word in words if word not in {"<s>", "</s>", "<unk>", "<UNK>"}]


def _prefix_model(text: Any, score: PrefixScore, start: PrefixState, last: bool) -> Any:
    """Return what flashlight asks about prefixes; each of its states stands for one prefix."""

    class PrefixModel(text.LM):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.known: dict[Any, tuple[PrefixState, float]] = {}

        def start(self, start_with_nothing: bool) -> Any:
            root = text.LMState()
            self.known[root] = (start, 0.0)
            return root

        def score(self, state: Any, token: int) -> tuple[Any, float]:
            child = state.child(token)
            found = self.known.get(child)
            if found is None:
                found = self.known[child] = score.extend(self.known[state][0], token)
            return child, found[1]

        def finish(self, state: Any) -> tuple[Any, float]:
            return state, score.finish(self.known[state][0]) if last else 0.0

    return PrefixModel()


def _stretches(pieces: Iterable[FloatArray], vocabulary: Vocabulary) -> Iterator[tuple[FloatArray, bool]]:
    """Yield (log posteriors [T, V], whether they are the last), cut within the longest silences."""
    quiet = [vocabulary.blank]
    if vocabulary.word_boundary in vocabulary.tokens:
        quiet.append(vocabulary.tokens.index(vocabulary.word_boundary))
    buffer = np.empty((0, len(vocabulary)), np.float32)
    for piece in pieces:
        check_log_probs(piece, vocabulary)
        if np.isnan(piece).any():
            raise NumericsError("the model's output holds NaN: its weights or its input are broken")
        buffer = np.concatenate([buffer, piece])
        while len(buffer) >= 2 * _SEARCHED:
            best = buffer[: 2 * _SEARCHED].argmax(1)
            spoken = np.flatnonzero(~np.isin(best, quiet))
            # Between _SEARCHED and twice that, in the middle of the longest stretch without a token.
            edges = np.concatenate([[_SEARCHED], spoken[spoken >= _SEARCHED], [2 * _SEARCHED]])
            longest = int(np.diff(edges).argmax())
            cut = int(edges[longest] + edges[longest + 1] + 1) // 2
            yield buffer[:cut], False
            buffer = buffer[cut:]
    if len(buffer):
        yield buffer, True


def _flashlight() -> Any:
    try:
        from flashlight.lib.text import decoder
    except ImportError as error:
        raise MissingExtra("flashlight-text", "lm", "beam search") from error
    return decoder


@contextmanager
def _silent_stderr() -> Iterator[None]:
    """Keep KenLM's progress bar to itself; it writes past `sys.stderr`."""
    saved = None
    with suppress(OSError, ValueError, AttributeError):
        sys.stderr.flush()
        saved = os.dup(2)
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        if saved is not None:
            os.dup2(saved, 2)
            os.close(saved)
