"""From a transformers tokenizer to a `Vocabulary` in the order of the model's outputs."""

from pathlib import Path
from typing import Any

from kdcompress.errors import TeacherError
from kdcompress.teachers.huggingface_files import listed, read_json
from kdcompress.text.vocabulary import Vocabulary


def find_vocabulary(name: str, tokenizer: Any, blank: int | None, size: int) -> Vocabulary:
    """Name each of the model's `size` outputs.

    The blank is the padding token of the model's config (what its CTC loss was trained with). Outputs that
    the tokenizer has no token for get a placeholder and print nothing, as special tokens do.

    Raises:
        TeacherError: the tokenizer knows no tokens, the blank is unknown or out of range, or the tokenizer
            means another one.
    """
    # The tokenizer's own entries go over added ones: special tokens that it adds may take an id in use.
    own = getattr(tokenizer, "encoder", {})
    by_id = {i: token for known in (tokenizer.get_vocab(), own) for token, i in known.items() if i < size}
    special = {index for index, token in by_id.items() if token in tokenizer.all_special_tokens}
    if not set(by_id) - special:
        raise TeacherError(
            f"teacher {name} has no vocabulary: its tokenizer names none of the {size} outputs; expected "
            "vocab.json or tokenizer.json beside config.json"
        )
    if blank is None or not 0 <= blank < size:
        raise TeacherError(
            f"teacher {name}: config.json says pad_token_id = {blank}, which should be the CTC blank, an id "
            f"from 0 to {size - 1}"
        )
    padding = tokenizer.pad_token_id
    if padding is not None and padding < size and padding != blank:
        raise TeacherError(
            f"teacher {name}: the blank is {blank} in config.json (pad_token_id) and {padding} in the "
            f"tokenizer (pad_token {tokenizer.pad_token!r}); make the two agree"
        )
    beyond = [i for token, i in own.items() if i >= size and token not in tokenizer.all_special_tokens]
    if beyond:
        raise TeacherError(
            f"teacher {name} has {size} outputs and its tokenizer {len(own)} tokens, of which {len(beyond)} "
            "have no output: the vocabulary is another model's, or another language's"
        )
    tokens = [by_id.get(index) or f"<unused{index}>" for index in range(size)]
    boundary = _word_boundary(tokenizer, tokens)
    spaced = _puts_spaces(tokenizer, {i: t for i, t in by_id.items() if i not in special | {blank}})
    silent = special | {index for index in range(size) if not by_id.get(index)}
    if spaced and boundary is not None:  # such a tokenizer prints no other spaces
        silent, boundary = silent | {tokens.index(boundary)}, None
    silent -= {blank, *(index for index, token in enumerate(tokens) if token == boundary)}
    lowered = [t if i in silent or i == blank else t.lower() for i, t in enumerate(tokens)]
    # What the tokenizer itself does when it decodes; only possible where case distinguishes no tokens.
    if getattr(tokenizer, "do_lower_case", False) and len(set(lowered)) == size:
        tokens = lowered
    return Vocabulary(tuple(tokens), blank, boundary, frozenset(silent), spaced)


def check_language(name: str, folder: Path, language: str | None) -> None:
    """See that one vocabulary is meant where vocab.json holds those of several languages (MMS).

    Raises:
        TeacherError: it says which languages there are, and how to choose one.
    """
    languages = _nested(folder)
    if not languages:
        if language is not None:
            raise TeacherError(f"teacher {name} has one vocabulary: leave teacher.language out")
        return
    chosen = language or read_json(folder / "tokenizer_config.json").get("target_lang")
    if chosen not in languages:
        found = "nothing says which is meant" if chosen is None else f"{chosen!r} is none of them"
        raise TeacherError(
            f"teacher {name} has vocabularies of {len(languages)} languages ({listed(list(languages))}) and "
            f"{found}: set teacher.language, or target_lang in tokenizer_config.json"
        )


def check_size(name: str, folder: Path, language: str, size: int) -> None:
    """See that the vocabulary of a language is the head's.

    Raises:
        TeacherError: they differ in size; it names the languages that fit.
    """
    languages = _nested(folder)
    if language in languages and languages[language] != size:
        fitting = listed([key for key, tokens in languages.items() if tokens == size]) or "none"
        raise TeacherError(
            f"teacher {name} has {size} outputs, and the vocabulary of {language!r} has "
            f"{languages[language]} tokens: the head is another language's (of that size: {fitting})"
        )


def _nested(folder: Path) -> dict[str, int]:
    """Return the sizes of the vocabularies in vocab.json by language; none where there is but one."""
    found = read_json(folder / "vocab.json")
    return {
        key: max((i for i in tokens.values() if isinstance(i, int)), default=-1) + 1
        for key, tokens in found.items()
        if isinstance(tokens, dict)
    }


def _puts_spaces(tokenizer: Any, tokens: dict[int, str]) -> bool:
    """Tell whether the tokenizer puts spaces between tokens that have none, from what it makes of two."""
    plain = [index for index, token in sorted(tokens.items()) if token.isalnum()][:2]
    if len(plain) < 2:
        return False
    text = str(tokenizer.decode(plain))
    return text.lower() == " ".join(tokens[index] for index in plain).lower()


def _word_boundary(tokenizer: Any, tokens: list[str]) -> str | None:
    delimiter = getattr(tokenizer, "word_delimiter_token", None)
    if delimiter in tokens:
        return str(delimiter)
    if any(token.startswith("▁") for token in tokens):  # sentencepiece
        return "▁"
    return " " if " " in tokens else None
