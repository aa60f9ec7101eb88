"""What a runtime demands of the graph and of the files beside it, as data.

The `portable` profile is NVIDIA NeMo's layout of a CTC model, which sherpa-onnx (`from_nemo_ctc`) and
onnx-asr (`nemo-conformer-ctc`) both load unmodified. `export/README.md` explains it and the others.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from kdcompress.config.profile import LayoutName, ProfileConfig, read_profile
from kdcompress.errors import ConfigError, ExportError
from kdcompress.frontend.logmel_numpy import BANDS
from kdcompress.resources import profile_path
from kdcompress.runtime.layout import LAYOUTS
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

    profile: LayoutName
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    opset: int = 20
    feature_bands: int = BANDS


def _contract(layout: LayoutName) -> Contract:
    return Contract(layout, LAYOUTS[layout].inputs, LAYOUTS[layout].outputs)


CONTRACTS: Mapping[LayoutName, Contract] = {
    "portable": _contract("portable"),
    "waveform": _contract("waveform"),
    "kaldi": _contract("kaldi"),
}


def open_profile(name: str) -> ProfileConfig:
    """Read a profile by name or path.

    Raises:
        ConfigError: there is none, or it is malformed.
    """
    return read_profile(profile_path(name))


def check_frontend(profile: ProfileConfig, name: str, frontend: str) -> None:
    """See that the profile's runtimes feed what the student learned from.

    Raises:
        ConfigError: they compute other features.
    """
    if frontend != profile.frontend:
        raise ConfigError(
            f"profile {name} is for students with `frontend: {profile.frontend}`, and this one was trained "
            f"with `frontend: {frontend}`: the runtimes would feed it features that it never heard; choose "
            "another profile or train another student"
        )


def metadata(
    vocabulary: Vocabulary, factor: int, normalize: str, comment: str, layout: LayoutName = "portable"
) -> dict[str, str]:
    """Return the `metadata_props` of a graph; of the layout `portable`, what sherpa-onnx reads from NeMo's.

    Like NeMo's own scripts, `vocab_size` does not count the blank.
    """
    properties = {
        "model_type": "EncDecCTCModelBPE",
        "vocab_size": str(len(vocabulary) - 1),
        "subsampling_factor": str(factor),
        "normalize_type": normalize if normalize == "per_feature" else "",
        "version": "1",
        "model_author": "kdcompress",
        "url": "",
        "comment": comment,
    }
    nemos = () if layout == "portable" else ("model_type", "vocab_size", "normalize_type")
    return {name: value for name, value in properties.items() if name not in nemos}


def onnx_asr_config(factor: int) -> dict[str, str | int]:
    """Return the content of config.json; onnx-asr's default factor is 8, so it is always said."""
    return {
        "model_type": "nemo-conformer-ctc",
        "features_size": BANDS,
        "subsampling_factor": factor,
    }


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
