import json
from pathlib import Path

import pytest

from kdcompress.errors import BundleError
from kdcompress.runtime.external.vocabulary import read_vocabulary


def test_lines_of_tokens(tmp_path: Path) -> None:
    lines = ["▁the 0", "s 1", "\u2028 2", "<unk> 3", "<0x41> 4", "<blk> 5", ""]
    (tmp_path / "vocab.txt").write_bytes("\n".join(lines).encode())
    found = read_vocabulary(tmp_path)
    assert found.tokens == ("▁the", "s", "\u2028", "<unk>", "<0x41>", "<blk>")
    assert (found.blank, found.word_boundary, found.silent) == (5, "▁", {3})
    # tokens.txt is what sherpa-onnx reads: it goes first.
    (tmp_path / "tokens.txt").write_text("<pad> 0\r\n  1\r\na 2\r\n")
    assert read_vocabulary(tmp_path).tokens == ("<pad>", " ", "a")
    assert read_vocabulary(tmp_path).word_boundary == " "


def test_json_of_tokens(tmp_path: Path) -> None:
    tokens = {"[PAD]": 5, "[UNK]": 4, "/": 0, "A": 1, "B": 3}
    (tmp_path / "vocab.json").write_text(json.dumps(tokens))
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps({"word_delimiter_token": "/", "do_lower_case": True})
    )
    found = read_vocabulary(tmp_path)
    assert found.tokens == ("/", "a", "<unused2>", "b", "[UNK]", "[PAD]")
    assert (found.blank, found.word_boundary, found.silent) == (5, "/", {2, 4})
    (tmp_path / "config.json").write_text(json.dumps({"pad_token_id": 4}))
    assert read_vocabulary(tmp_path).blank == 4, "what the model was trained with goes before a name"


@pytest.mark.parametrize(
    ("file", "text", "match"),
    [
        # sherpa-onnx means 0 here, transformers 1.
        ("tokens.txt", "<s> 0\n<pad> 1\na 2\n", "does not say which token is the CTC blank"),
        ("tokens.txt", "a 0\nb\n", "line 2: expected TOKEN ID, found 'b'"),
        ("vocab.json", '["a"]', "expected a JSON object"),
        ("vocab.json", '{"a": "b"}', "tokens and their ids"),
        ("vocab.json", "{", "is not JSON"),
        ("vocab.json", '{"a": 0}', "does not say which token is the CTC blank"),
        ("words.txt", "", "no vocabulary"),
        # Sizes that would take all memory or time.
        ("tokens.txt", "<blk> 0\na 999999999999\n", "an id of 1048576 or more"),
        ("tokens.txt", "<blk> 0\na " + "9" * 5000 + "\n", "an id of 1048576 or more"),
        ("tokens.txt", "<blk> 0\n" + " " * 200_000 + "x\n", "line 2: expected TOKEN ID"),
        ("vocab.json", '{"a": 999999999999}', "an id of 1048576 or more"),
        ("vocab.json", '{"a": ' + "9" * 5000 + "}", "is not JSON"),
        ("vocab.json", '{"a": ' + "[" * 100_000, "is not JSON"),
        ("vocab.json", '{"eng": {"a": 0}, "deu": {"a": 0}}', "of 2 languages .deu, eng.: say which"),
    ],
)
def test_what_cannot_be_read_is_one_line(tmp_path: Path, file: str, text: str, match: str) -> None:
    (tmp_path / file).write_text(text)
    with pytest.raises(BundleError, match=match) as caught:
        read_vocabulary(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["tokens.txt", "vocab.txt", "vocab.json"])
def test_a_byte_order_mark_is_no_part_of_the_first_token(tmp_path: Path, name: str) -> None:
    text = '{"<blk>": 0, "a": 1}' if name == "vocab.json" else "<blk> 0\r\na 1\r\n"
    (tmp_path / name).write_text(text, encoding="utf-8-sig", newline="")
    assert read_vocabulary(tmp_path).tokens == ("<blk>", "a")


def test_the_graphs_language_of_several(tmp_path: Path) -> None:
    languages = {"eng": {"<pad>": 0, "a": 1}, "deu": {"<pad>": 0, "ä": 1}}
    (tmp_path / "vocab.json").write_text(json.dumps(languages))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"target_lang": "deu"}))
    assert read_vocabulary(tmp_path).tokens == ("<pad>", "ä")


def test_phones_are_parted_by_spaces(tmp_path: Path) -> None:
    (tmp_path / "vocab.json").write_text(json.dumps({"<pad>": 0, "t": 1, "s": 2, "|": 3}))
    settings = {"tokenizer_class": "Wav2Vec2PhonemeCTCTokenizer", "word_delimiter_token": "|"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    assert read_vocabulary(tmp_path).text([1, 2, 3, 1]) == "t s t"
