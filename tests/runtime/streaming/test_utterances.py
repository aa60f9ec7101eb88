import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kdcompress.runtime.streaming.utterances import Endpointing, Utterances, best_path
from kdcompress.text.decode import from_path
from kdcompress.text.vocabulary import Vocabulary

VOCABULARY = Vocabulary(("<blk>", "|", "a", "b", "<s>"), 0, "|", frozenset({4}))


@given(
    runs=st.lists(st.tuples(st.integers(0, 4), st.integers(1, 12)), max_size=40),
    size=st.integers(1, 9),
    silence=st.sampled_from([0, 0.2, 0.4]),
    longest=st.sampled_from([0, 0.1, 0.8]),
)
def test_no_token_is_lost_or_printed_twice_wherever_an_utterance_ends(
    runs: list[tuple[int, int]], size: int, silence: float, longest: float
) -> None:
    path = np.array([token for token, count in runs for _ in range(count)], np.int64)
    utterances = Utterances(VOCABULARY, 0.04, Endpointing(silence=silence, longest=longest))
    best, good = best_path(np.log(0.01 + 0.96 * np.eye(5, dtype=np.float32))[path][None])
    assert good == [True]
    results = [
        r for start in range(0, len(path), size) for r in utterances.add(best[0][start : start + size])
    ]
    finals = [result for result in [*results, *utterances.finish()] if result.final]
    expected = from_path(path, VOCABULARY, 0.0).tokens(VOCABULARY, 0.04)
    said = [token for result in finals for token in result.tokens]
    # A final result of spaces alone is none.
    letters = [(token.text, token.start) for token in said if token.text != " "]
    assert letters == [(token.text, token.start) for token in expected if token.text != " "]
    assert [result.utterance for result in finals] == list(range(len(finals)))
    if not longest:
        assert " ".join(result.text for result in finals).split() or not letters
    assert all(result.text for result in finals)
