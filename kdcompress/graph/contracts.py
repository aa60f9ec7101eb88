"""What a runtime demands of the graph and of the files beside it, as data.

The `portable` profile is NVIDIA NeMo's layout of a CTC model, which sherpa-onnx (`from_nemo_ctc`) and
onnx-asr (`nemo-conformer-ctc`) both load unmodified. `export/README.md` explains it.
"""

from dataclasses import dataclass

from kdcompress.config.deploy import Profile
from kdcompress.errors import ExportError
from kdcompress.text.vocabulary import Vocabulary

BLANK = "<blk>"
BOUNDARY = "▁"  # sherpa-onnx and onnx-asr print it as a space
ASCII_SPACES = " \t\n\r\f\v"  # what ends a token in sherpa-onnx's reader of tokens.txt


@dataclass(frozen=True)
class Contract:
    """Names and formats that a profile's consumers rely on.

    Attributes:
        inputs: of the graph, in this order (sherpa-onnx takes them by position).
        outputs: of the graph; the log-probabilities first.
        opset: of the default ONNX domain; sherpa-onnx's onnxruntime must know it.
        feature_bands: F.
    """

    profile: Profile
    inputs: tuple[str, str]
    outputs: tuple[str, str]
    opset: int
    feature_bands: int


CONTRACTS: dict[Profile, Contract] = {
    "portable": Contract(
        profile="portable",
        inputs=("audio_signal", "length"),
        outputs=("logprobs", "encoded_lengths"),
        opset=20,
        feature_bands=80,
    )
}


def metadata(vocabulary: Vocabulary, factor: int, normalize: str, comment: str) -> dict[str, str]:
    """Return the `metadata_props` that sherpa-onnx reads from a NeMo CTC graph.

    Like NeMo's own scripts, `vocab_size` does not count the blank.
    """
    return {
        "model_type": "EncDecCTCModelBPE",
        "vocab_size": str(len(vocabulary) - 1),
        "subsampling_factor": str(factor),
        "normalize_type": normalize if normalize == "per_feature" else "",
        "version": "1",
        "model_author": "kdcompress",
        "url": "",
        "comment": comment,
    }


def onnx_asr_config(contract: Contract, factor: int) -> dict[str, str | int]:
    """Return the content of config.json; onnx-asr's default factor is 8, so it is always said."""
    return {
        "model_type": "nemo-conformer-ctc",
        "features_size": contract.feature_bands,
        "subsampling_factor": factor,
    }


def serves_onnx_asr(normalize: str) -> bool:
    """Tell whether onnx-asr can feed the student: its NeMo features are always normalised."""
    return normalize == "per_feature"


def token_lines(vocabulary: Vocabulary) -> list[str]:
    """Return the lines of tokens.txt: `TOKEN ID` with one ASCII space, in order of the ids.

    The blank is `<blk>` at its own id, the word boundary is `▁`. Tokens that print nothing keep their names,
    so that a runtime which prints one shows what the model said.

    Raises:
        ExportError: a token cannot be written so that both runtimes print what the vocabulary means.
    """
    return [f"{_portable_token(vocabulary, i)} {i}" for i in _checked_ids(vocabulary)]


def _portable_token(vocabulary: Vocabulary, index: int) -> str:
    if index == vocabulary.blank:
        return BLANK
    token = vocabulary.tokens[index]
    if index in vocabulary.silent:
        return token
    if vocabulary.word_boundary:
        token = token.replace(vocabulary.word_boundary, BOUNDARY)
    return token.replace(" ", BOUNDARY)


def _checked_ids(vocabulary: Vocabulary) -> range:
    first_with: dict[str, int] = {}
    for index in range(len(vocabulary)):
        token = _portable_token(vocabulary, index)
        found = f"token {vocabulary.tokens[index]!r} (id {index})"
        if any(space in token for space in ASCII_SPACES):
            raise ExportError(f"{found} contains white space, which ends a token in tokens.txt; rename it")
        if BOUNDARY in token[1:]:
            raise ExportError(
                f"{found} has a word boundary after its first character, which sherpa-onnx prints as "
                f"{BOUNDARY}; the portable profile needs boundaries at the beginning of tokens or alone"
            )
        if token in first_with:
            raise ExportError(
                f"{found} and token {vocabulary.tokens[first_with[token]]!r} (id {first_with[token]}) are "
                f"both {token!r} in tokens.txt, where {BLANK} is the blank and {BOUNDARY} a space; rename one"
            )
        first_with[token] = index
    return range(len(vocabulary))
