import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from kdcompress.errors import TeacherError
from kdcompress.teachers.huggingface_vocabulary import check_language, check_size, find_vocabulary


def tokenizer(folder: Path, tokens: dict[str, int], **options: Any) -> Any:
    from transformers import Wav2Vec2CTCTokenizer

    (folder / "vocab.json").write_text(json.dumps(tokens))
    return Wav2Vec2CTCTokenizer(str(folder / "vocab.json"), **options)


def test_outputs_without_a_token_get_a_silent_placeholder(tmp_path: Path) -> None:
    found = find_vocabulary("t", tokenizer(tmp_path, {"<pad>": 0, "|": 1, "a": 2, "b": 4}), 0, 12)
    assert found.tokens[:5] == ("<pad>", "|", "a", "<unused3>", "b")
    assert len(found) == 12
    assert found.text([2, 3, 11, 4, 1, 2]) == "ab a"


def test_added_tokens_beyond_the_outputs_are_left_out(tmp_path: Path) -> None:
    # Many fine-tuned models have a head for the letters, and a tokenizer that adds <s>, </s> after them.
    found = find_vocabulary("t", tokenizer(tmp_path, {"a": 0, "b": 1, "|": 2, "<unk>": 3, "<pad>": 4}), 4, 5)
    assert found.tokens == ("a", "b", "|", "<unk>", "<pad>")
    assert (found.blank, found.word_boundary, found.silent) == (4, "|", {3})


def test_a_tokenizer_that_lowers_case(tmp_path: Path) -> None:
    tokens = {"<pad>": 0, "|": 1, "A": 2, "B": 3}
    maker = tokenizer(tmp_path, tokens, do_lower_case=True)
    found = find_vocabulary("t", maker, 0, 4)
    assert found.text([2, 1, 3]) == "a b" == maker.decode([2, 1, 3])


def test_a_space_as_word_boundary(tmp_path: Path) -> None:
    maker = tokenizer(tmp_path, {"<pad>": 0, " ": 1, "a": 2}, word_delimiter_token=" ")
    assert find_vocabulary("t", maker, 0, 3).text([2, 1, 2]) == "a a"


def test_units_without_word_boundary(tmp_path: Path) -> None:
    found = find_vocabulary("t", tokenizer(tmp_path, {"<pad>": 0, "AA": 1, "K": 2}), 0, 3)
    assert found.word_boundary is None


@pytest.mark.parametrize(
    ("blank", "match"), [(None, "pad_token_id = None"), (9, "from 0 to 2"), (1, "make the two agree")]
)
def test_no_blank_or_two(tmp_path: Path, blank: int | None, match: str) -> None:
    with pytest.raises(TeacherError, match=match):
        find_vocabulary("t", tokenizer(tmp_path, {"<pad>": 0, "|": 1, "a": 2}), blank, 3)


PHONES = ["<pad>", "<s>", "</s>", "<unk>", "t", "s", "ts", "aɪ", "|"]


def test_phones_are_parted_as_their_own_tokenizer_parts_them(tmp_path: Path) -> None:
    from transformers import Wav2Vec2PhonemeCTCTokenizer

    (tmp_path / "vocab.json").write_text(json.dumps({phone: i for i, phone in enumerate(PHONES)}))
    made = Wav2Vec2PhonemeCTCTokenizer(
        str(tmp_path / "vocab.json"), do_phonemize=False, word_delimiter_token="|", unk_token="<unk>"
    )
    found = find_vocabulary("t", made, 0, len(PHONES))
    path = [0, 4, 5, 5, 0, 6, 8, 0, 7, 4]
    assert found.spaced
    assert found.text([4, 5, 6, 8, 7, 4]) == "t s ts aɪ t" == made.decode(path)


def test_a_vocabulary_with_more_letters_than_outputs_is_refused(tmp_path: Path) -> None:
    made = tokenizer(tmp_path, {"<pad>": 0, "|": 1, "a": 2, "b": 3, "ä": 4})
    with pytest.raises(TeacherError, match="has 4 outputs and its tokenizer 5 tokens"):
        find_vocabulary("t", made, 0, 4)


@pytest.mark.parametrize(
    ("chosen", "size", "match"),
    [
        ("eng", 3, None),
        ("eng", 4, "3 tokens: the head is another language's .of that size: deu."),
        ("deu", 3, "4 tokens: the head is another language's .of that size: eng."),
        (None, 3, r"of 2 languages \(eng, deu\) and nothing says which is meant: set teacher.language"),
        ("fra", 3, "'fra' is none of them"),
    ],
)
def test_one_language_of_several_is_chosen_and_fits(
    tmp_path: Path, chosen: str | None, size: int, match: str | None
) -> None:
    languages = {"eng": {"<pad>": 0, "|": 1, "a": 2}, "deu": {"<pad>": 0, "|": 1, "a": 2, "ä": 3}}
    (tmp_path / "vocab.json").write_text(json.dumps(languages))
    with nullcontext() if match is None else pytest.raises(TeacherError, match=match):
        check_language("t", tmp_path, chosen)
        check_size("t", tmp_path, str(chosen), size)
