"""From a transformers tokenizer to a `Vocabulary` in the order of the model's outputs."""

from typing import Any

from kdcompress.errors import TeacherError
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
    tokens = [by_id.get(index) or f"<unused{index}>" for index in range(size)]
    boundary = _word_boundary(tokenizer, tokens)
    silent = special | {index for index in range(size) if not by_id.get(index)}
    silent -= {blank, *(index for index, token in enumerate(tokens) if token == boundary)}
    lowered = [t if i in silent or i == blank else t.lower() for i, t in enumerate(tokens)]
    # What the tokenizer itself does when it decodes; only possible where case distinguishes no tokens.
    if getattr(tokenizer, "do_lower_case", False) and len(set(lowered)) == size:
        tokens = lowered
    return Vocabulary(tuple(tokens), blank, boundary, frozenset(silent))


def _word_boundary(tokenizer: Any, tokens: list[str]) -> str | None:
    delimiter = getattr(tokenizer, "word_delimiter_token", None)
    if delimiter in tokens:
        return str(delimiter)
    if any(token.startswith("▁") for token in tokens):  # sentencepiece
        return "▁"
    return " " if " " in tokens else None
