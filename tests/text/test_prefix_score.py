"""What prefixes earn, token by token, against the definition over whole texts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdcompress.errors import ConfigError
from kdcompress.text.prefix_score import PrefixScore
from kdcompress.text.vocabulary import Vocabulary

LETTERS = Vocabulary(("<blk>", "|", "a", "b", "<unk>"), 0, "|", frozenset({4}))
PIECES = Vocabulary(("<blk>", "▁", "▁a", "b", "ab", "a▁b"), 0, "▁")
LOG_PROBS = {"a": -1.0, "b": -2.0, "ab": -0.5, None: -0.25}


def bigram(context: object, word: str | None) -> tuple[object, float]:
    """Return a log-probability that depends on the word and the one before it."""
    return word, LOG_PROBS.get(word, -4.0) - (0.125 if context == word else 0.0)


def by_definition(text: str, hotwords: tuple[str, ...]) -> float:
    words = text.split()
    score = 0.5 * len(words)
    for before, word in zip([None, *words], [*words, None], strict=True):
        score += 0.75 * bigram(before, word)[1]
    for hotword in hotwords:
        phrase = hotword.split()
        starts = range(len(words) - len(phrase) + 1)
        score += 3.0 * sum(words[i : i + len(phrase)] == phrase for i in starts)
    return score


@given(st.sampled_from([LETTERS, PIECES]), st.data())
def test_the_sum_is_that_of_the_text(vocabulary: Vocabulary, data: st.DataObject) -> None:
    ids = data.draw(st.lists(st.sampled_from(range(1, len(vocabulary))), max_size=12))
    hotwords = tuple(
        data.draw(st.lists(st.sampled_from(["ab", "a", "a b", "ab a ab", "bb", " "]), max_size=3))
    )
    score = PrefixScore(vocabulary, bigram, 0.75, 0.5, hotwords, 3.0)
    state, total = score.start(), 0.0
    for token in ids:
        state, earned = score.extend(state, token)
        total += earned
    expected = by_definition(vocabulary.text(ids), tuple({h for h in hotwords if h.strip()}))
    assert total + score.finish(state) == pytest.approx(expected)


def test_a_hotword_is_paid_for_as_it_is_said() -> None:
    score = PrefixScore(LETTERS, hotwords=("abba",), hotword_weight=4.0)
    state, earned = score.start(), []
    for token in (2, 3, 3, 2, 1, 2, 2):  # abba aa
        state, more = score.extend(state, token)
        earned.append(more)
    assert earned == [1.0, 1.0, 1.0, 1.0, 0.0, 1.0, -1.0]


def test_nothing_to_score_says_so() -> None:
    assert PrefixScore(LETTERS).is_zero
    assert PrefixScore(Vocabulary(("<blk>", "字"), 0)).is_zero
    assert not PrefixScore(LETTERS, word_bonus=1.0).is_zero


def test_what_the_student_cannot_spell_is_refused() -> None:
    with pytest.raises(ConfigError, match="the hotword 'abyss' has 's', which this student never writes"):
        PrefixScore(LETTERS, hotwords=("ABYSS",))
    with pytest.raises(
        ConfigError, match="such as 'AD', are not spelled as this student spells: it writes ab"
    ):
        PrefixScore(LETTERS, bigram, spelled=("AD", "c"))
    with pytest.raises(ConfigError, match="has no word boundary"):
        PrefixScore(Vocabulary(("<blk>", "字"), 0), hotwords=("字",))
