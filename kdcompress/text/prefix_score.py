"""What a prefix of a beam search earns beside its probability: words, a language model, hotwords."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from kdcompress.errors import ConfigError
from kdcompress.text.vocabulary import Vocabulary

WordScore = Callable[[Any, str | None], tuple[Any, float]]


@dataclass(frozen=True)
class PrefixState:
    """What must be known of a prefix to score what follows.

    Attributes:
        word: the letters of the word that it is in.
        context: the language model's state before that word.
        matches: (hotword, letters that are said of it).
        advance: paid for hotwords that are begun but not said [nats].
    """

    word: str
    context: Any
    matches: tuple[tuple[int, int], ...]
    advance: float


class PrefixScore:
    """Scores prefixes token by token; the sum over a text is the same however the tokens cut it.

    A word is scored when it ends. A hotword pays in advance for the share of it that is said, so that the
    beam does not lose it, and takes that back when the prefix goes elsewhere.

    Raises:
        ConfigError: the vocabulary has no word boundary, or cannot spell a hotword or any of the language
            model's words.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        language_model: WordScore | None = None,
        lm_weight: float = 0.0,
        word_bonus: float = 0.0,
        hotwords: Sequence[str] = (),
        hotword_weight: float = 0.0,
        spelled: Iterable[str] = (),
    ) -> None:
        self.language_model = language_model
        self.lm_weight = lm_weight
        self.word_bonus = word_bonus
        spelling = (vocabulary.in_its_case(" ".join(word.split())) for word in hotwords)
        self.hotwords = tuple(dict.fromkeys(word for word in spelling if word))
        self.hotword_weight = hotword_weight
        self.is_zero = language_model is None and not word_bonus and not self.hotwords
        boundary = vocabulary.word_boundary
        if not self.is_zero and boundary is None:
            raise ConfigError("this student's vocabulary has no word boundary: words cannot be separated")
        silent = {vocabulary.blank, *vocabulary.silent}
        self.printed = [
            "" if index in silent else token.replace(boundary or " ", " ")
            for index, token in enumerate(vocabulary.tokens)
        ]
        letters = set(vocabulary.characters)
        for word in self.hotwords:
            if foreign := sorted(set(word) - letters - {" "}):
                raise ConfigError(
                    f"the hotword {word!r} has {foreign[0]!r}, which this student never writes; it writes "
                    f"{''.join(sorted(letters))[:60]}"
                )
        known = tuple(spelled)
        if known and not any(set(vocabulary.in_its_case(word)) <= letters for word in known):
            raise ConfigError(
                f"the language model's words, such as {known[0]!r}, are not spelled as this student spells: "
                f"it writes {''.join(sorted(letters))[:60]}"
            )

    def start(self, context: Any = None) -> PrefixState:
        """Return the state of the empty prefix."""
        return PrefixState("", context, (), 0.0)

    def extend(self, state: PrefixState, token: int) -> tuple[PrefixState, float]:
        """Return the state behind a token, and what it adds to the score [nats]."""
        earned = 0.0
        for character in self.printed[token]:
            state, more = self._said(state, character)
            earned += more
        return state, earned

    def finish(self, state: PrefixState) -> float:
        """Return what the end of the text adds [nats]."""
        state, earned = self._ended(state)
        if self.language_model is not None:
            earned += self.lm_weight * self.language_model(state.context, None)[1]
        return earned - state.advance

    def _said(self, state: PrefixState, character: str) -> tuple[PrefixState, float]:
        if character.isspace():
            return self._ended(state)
        begun = [(h, 0) for h in range(len(self.hotwords))] if not state.word else []
        matches = tuple(
            (h, said + 1)
            for h, said in (*state.matches, *begun)
            if said < len(self.hotwords[h]) and self.hotwords[h][said] == character
        )
        return self._with(state, state.word + character, state.context, matches)

    def _ended(self, state: PrefixState) -> tuple[PrefixState, float]:
        """End the word that the prefix is in, if it is in one."""
        if not state.word:
            return state, 0.0
        earned, context = self.word_bonus, state.context
        if self.language_model is not None:
            context, log_prob = self.language_model(context, state.word)
            earned += self.lm_weight * log_prob
        complete = sum(said == len(self.hotwords[h]) for h, said in state.matches)
        matches = tuple(
            (h, said + 1) for h, said in state.matches if self.hotwords[h][said : said + 1] == " "
        )
        after, change = self._with(state, "", context, matches)
        return after, earned + complete * self.hotword_weight + change

    def _with(
        self, state: PrefixState, word: str, context: Any, matches: tuple[tuple[int, int], ...]
    ) -> tuple[PrefixState, float]:
        share = max((said / len(self.hotwords[h]) for h, said in matches), default=0.0)
        advance = self.hotword_weight * share
        return PrefixState(word, context, matches, advance), advance - state.advance
