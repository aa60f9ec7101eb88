import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdcompress.errors import ExportError
from kdcompress.graph.runtime_files import metadata, token_lines
from kdcompress.text.vocabulary import Vocabulary


def as_onnx_asr_reads(lines: list[str]) -> dict[int, str]:
    pairs = (line.split(" ") for line in lines)
    return {int(index): token.replace("▁", " ") for token, index in pairs}


def as_sherpa_reads(lines: list[str]) -> dict[int, str]:
    """Fields at any white space; only a leading boundary becomes a space."""
    table = {}
    for line in lines:
        token, index = re.split(r"[ \t\n\r\f\v]+", line)
        table[int(index)] = " " + token[1:] if token.startswith("▁") else token
    return table


characters = st.characters(exclude_categories=("Z", "C"), exclude_characters="▁|")
words = st.text(characters, min_size=1, max_size=4).filter(lambda t: t not in {"<blk>", "<pad>"})


@st.composite
def vocabularies(draw: st.DrawFn) -> Vocabulary:
    boundary = draw(st.sampled_from(["|", "▁", " "]))
    tokens = draw(st.lists(st.tuples(st.booleans(), words), min_size=1, max_size=8, unique=True))
    spelled = [boundary * leading + word for leading, word in tokens] + [boundary]
    spelled = draw(st.permutations(spelled))
    blank = draw(st.integers(0, len(spelled)))
    return Vocabulary((*spelled[:blank], "<pad>", *spelled[blank:]), blank, boundary)


@settings(max_examples=30)
@given(vocabularies(), st.lists(st.integers(0, 9), max_size=10))
def test_both_runtimes_print_what_the_vocabulary_means(vocabulary: Vocabulary, path: list[int]) -> None:
    lines = token_lines(vocabulary)
    ids = [i for i in path if i < len(vocabulary) and i != vocabulary.blank]
    for table in (as_onnx_asr_reads(lines), as_sherpa_reads(lines)):
        assert list(table) == list(range(len(vocabulary)))
        assert table[vocabulary.blank] == "<blk>"
        assert " ".join("".join(table[i] for i in ids).split()) == vocabulary.text(ids)


def test_silent_tokens_keep_their_names() -> None:
    vocabulary = Vocabulary(("<s>", "<pad>", "|", "a"), 1, "|", frozenset({0}))
    assert token_lines(vocabulary) == ["<s> 0", "<blk> 1", "▁ 2", "a 3"]


@pytest.mark.parametrize(
    ("tokens", "boundary", "complaint"),
    [
        (("<pad>", "a\tb"), None, "white space"),
        (("<pad>", "a|b"), "|", "after its first character"),
        (("<pad>", "<blk>"), None, "rename one"),
        (("<pad>", "|", "▁"), "|", "rename one"),
    ],
)
def test_what_a_runtime_would_misread_is_refused(
    tokens: tuple[str, ...], boundary: str | None, complaint: str
) -> None:
    with pytest.raises(ExportError, match=complaint):
        token_lines(Vocabulary(tokens, 0, boundary))


def test_the_vocabulary_size_in_the_metadata_does_not_count_the_blank() -> None:
    vocabulary = Vocabulary(("<pad>", "a", "b"), 0)
    assert metadata(vocabulary, 4, "per_feature", "")["vocab_size"] == "2"
    assert metadata(vocabulary, 4, "none", "")["normalize_type"] == ""


def test_phones_are_parted_in_every_runtime() -> None:
    vocabulary = Vocabulary(("<pad>", "t", "ts"), 0, spaced=True)
    lines = token_lines(vocabulary)
    assert lines == ["<blk> 0", "▁t 1", "▁ts 2"]
    for table in (as_onnx_asr_reads(lines), as_sherpa_reads(lines)):
        assert "".join(table[i] for i in (1, 2, 1)).split() == vocabulary.text([1, 2, 1]).split()
