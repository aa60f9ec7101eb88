"""From the token files beside an ONNX graph to a `Vocabulary` in the order of the graph's outputs."""

import json
import re
from pathlib import Path
from typing import Any

from kdcompress.errors import BundleError
from kdcompress.text.vocabulary import Vocabulary

# The first of these that is there is read.
TOKEN_FILES = ("tokens.txt", "vocab.txt", "vocab.json")

# Named so, it is the blank, whatever else there is.
_BLANKS = ("<blk>", "<blank>", "<ctc_blank>")
_PADDING = ("<pad>", "[PAD]")
# What toolkits call outputs that stand for no text; sentencepiece's bytes (<0x41>) are text.
_SPECIAL = re.compile(r"</?(?!0x)\w+>|\[[A-Z]+\]")
_MOST_TOKENS = 1 << 20
_LARGEST = 64 << 20  # [bytes] of a file of tokens or settings


def read_vocabulary(folder: Path) -> Vocabulary:
    """Read tokens.txt or vocab.txt (`TOKEN ID` a line: sherpa-onnx, NeMo) or vocab.json (Hugging Face).

    The blank is `<blk>`, else what config.json calls `pad_token_id`, else the padding token. Ids without a
    token get a placeholder and print nothing, as special tokens do.

    Raises:
        BundleError: there is no such file, it is malformed, or nothing says which token is the blank.
        VocabularyError: two ids have the same token.
    """
    file = _token_file(folder)
    if file is None:
        raise BundleError(
            f"{folder} has no vocabulary: expected {', '.join(TOKEN_FILES[:-1])} or "
            f"{TOKEN_FILES[-1]} beside the graph"
        )
    text = _read(file)
    by_id = _json_tokens(file, text) if file.suffix == ".json" else _token_lines(file, text)
    settings = read_json(folder / "tokenizer_config.json")
    size = max(by_id, default=-1) + 1
    blank = _blank(file, by_id, read_json(folder / "config.json").get("pad_token_id"))
    delimiter = settings.get("word_delimiter_token", "|")
    tokens = tuple(by_id.get(index, f"<unused{index}>") for index in range(size))
    silent = {i for i, token in enumerate(tokens) if _SPECIAL.fullmatch(token) and token != delimiter}
    silent = (silent | (set(range(size)) - set(by_id))) - {blank}
    if settings.get("do_lower_case"):
        tokens = tuple(t if i in silent or i == blank else t.lower() for i, t in enumerate(tokens))
    boundary = _boundary(tokens, delimiter)
    # Its tokens are parted by spaces that are no token.
    spaced = "Phoneme" in str(settings.get("tokenizer_class", ""))
    if spaced and boundary is not None:
        silent, boundary = silent | {tokens.index(boundary)}, None
    return Vocabulary(tokens, blank, boundary, frozenset(silent), spaced)


def has_vocabulary(folder: Path) -> bool:
    """Tell whether a file of tokens is in a folder."""
    return _token_file(folder) is not None


def read_json(path: Path) -> dict[str, Any]:
    """Return what a JSON file says; nothing where there is no such file.

    Raises:
        BundleError: it is no JSON object.
    """
    if not path.is_file():
        return {}
    try:
        data = json.loads(_read(path))
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{path} is not JSON: {str(error)[:200]}") from error
    if not isinstance(data, dict):
        raise BundleError(f"{path}: expected a JSON object, found {type(data).__name__}")
    return data


def _token_file(folder: Path) -> Path | None:
    return next((folder / name for name in TOKEN_FILES if (folder / name).is_file()), None)


def _read(path: Path) -> str:
    try:
        if (size := path.stat().st_size) > _LARGEST:
            raise BundleError(f"{path} has {size} bytes; expected less than {_LARGEST}: it is another file")
        return path.read_text(encoding="utf-8-sig")  # some editors begin a file with a mark
    except (OSError, UnicodeDecodeError) as error:
        raise BundleError(f"cannot read {path}: {' '.join(str(error).split())}") from error


def _token_lines(file: Path, text: str) -> dict[int, str]:
    tokens: dict[int, str] = {}
    # Not splitlines: a vocabulary may have a line separator of Unicode as a token.
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip("\r"):
            continue
        line = line.rstrip()
        at = max(line.rfind(" "), line.rfind("\t"))
        token, digits = line[:at], line[at + 1 :]
        if at < 0 or not (digits.isascii() and digits.isdecimal()):
            raise BundleError(f"{file}, line {number}: expected TOKEN ID, found {line[:40]!r}")
        # Nothing before the id: the token was a space itself.
        tokens[_checked(file, int(digits) if len(digits) < 10 else _MOST_TOKENS)] = token or " "
    return tokens


def _json_tokens(file: Path, text: str) -> dict[int, str]:
    data = read_json(file)
    if data and all(isinstance(tokens, dict) for tokens in data.values()):
        language = read_json(file.with_name("tokenizer_config.json")).get("target_lang")
        if language not in data:
            raise BundleError(
                f"{file} holds vocabularies of {len(data)} languages ({', '.join(sorted(data)[:8])}): say "
                "which is the graph's by target_lang in tokenizer_config.json"
            )
        data = data[language]
    if not data or not all(type(index) is int and index >= 0 for index in data.values()):
        raise BundleError(f"{file}: expected a JSON object of tokens and their ids")
    return {_checked(file, index): token for token, index in data.items()}


def _checked(file: Path, index: int) -> int:
    if index >= _MOST_TOKENS:
        raise BundleError(f"{file} has an id of {_MOST_TOKENS} or more: no vocabulary has so many tokens")
    return index


def _blank(file: Path, by_id: dict[int, str], declared: Any) -> int:
    ids = {token: index for index, token in by_id.items()}
    for token in _BLANKS:
        if token in ids:
            return ids[token]
    if isinstance(declared, int) and declared in by_id:
        return declared
    padding = next((ids[token] for token in _PADDING if token in ids), None)
    # sherpa-onnx takes id 0 where nothing is named <blk>, the Hugging Face family the padding: a list of
    # lines, which either may have written, is clear only where both say the same.
    if padding is None or (padding != 0 and file.suffix == ".txt"):
        raise BundleError(
            f"{file} does not say which token is the CTC blank: name it {_BLANKS[0]}, or give its id as "
            "pad_token_id in config.json"
        )
    return padding


def _boundary(tokens: tuple[str, ...], delimiter: Any) -> str | None:
    if delimiter in tokens:
        return str(delimiter)
    if any(token.startswith("▁") for token in tokens):  # sentencepiece
        return "▁"
    return " " if " " in tokens else None
