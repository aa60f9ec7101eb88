"""The files beside a graph, and the entries inside it, that other people's runtimes read.

The `portable` profile is NVIDIA NeMo's layout of a CTC model, which sherpa-onnx (`from_nemo_ctc`) and
onnx-asr (`nemo-conformer-ctc`) both load unmodified. `export/README.md` explains it and the others.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from kdcompress.audio.utterance import SAMPLE_RATE
from kdcompress.config.profile import LayoutName
from kdcompress.errors import ExportError
from kdcompress.frontend.logmel_numpy import BANDS, HOP
from kdcompress.frontend.logmel_numpy import WINDOW as SPECTRUM
from kdcompress.runtime.frontend import TELEPHONE_RATE
from kdcompress.runtime.layout import WINDOW, Layout
from kdcompress.students.telephone import CHUNK_MS, HOP_8K, SAMPLES
from kdcompress.text.vocabulary import Vocabulary

BLANK = "<blk>"
BOUNDARY = "▁"  # sherpa-onnx and onnx-asr print it as a space
ASCII_SPACES = " \t\n\r\f\v"  # what ends a token in sherpa-onnx's reader of tokens.txt


def metadata(
    vocabulary: Vocabulary,
    factor: int,
    normalize: str,
    comment: str,
    layout: LayoutName = "portable",
    window: int = 0,
) -> dict[str, str]:
    """Return the `metadata_props` of a graph; of the layout `portable`, what sherpa-onnx reads from NeMo's.

    Like NeMo's own scripts, `vocab_size` does not count the blank. `window` is that of `frame_counts`.
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
    nemos = () if layout in ("portable", "streaming") else ("model_type", "vocab_size", "normalize_type")
    kept = {name: value for name, value in properties.items() if name not in nemos}
    return kept | ({WINDOW: str(window)} if window else {})


def chunk_metadata(example: Sequence[Tensor], layout: Layout, look_ahead: int = 0) -> dict[str, str]:
    """Return the further entries of a graph that takes chunks: their size, and those of the states.

    Args:
        example: inputs of the graph.
        look_ahead: frames of a chunk that come again in the next one.
    """
    if layout.integers:
        about = {"frame_length_ms": CHUNK_MS, "state_dim": example[1].shape[1], "sample_rate": TELEPHONE_RATE}
        chunk = dict.fromkeys(("window_size", "chunk_shift"), SAMPLES // HOP_8K)
        return {name: str(value) for name, value in {**about, **chunk}.items()}
    frames = example[0].shape[layout.time_axis]
    states = zip(layout.states, example[len(layout.inputs) :], strict=True)
    sizes = {
        f"{state.given}_dim{axis}": str(value.shape[axis])
        for state, value in states
        for axis in range(1, value.ndim)
    }
    # The state has what the subsampling needs of the frames before: chunks overlap by the look-ahead only.
    return {"window_size": str(frames), "chunk_shift": str(frames - look_ahead), **sizes}


def onnx_asr_config(factor: int) -> dict[str, str | int]:
    """Return the content of config.json; onnx-asr's default factor is 8, so it is always given."""
    return {
        "model_type": "nemo-conformer-ctc",
        "features_size": BANDS,
        "subsampling_factor": factor,
    }


def token_lines(vocabulary: Vocabulary) -> list[str]:
    """Return the lines of tokens.txt: `TOKEN ID` with one ASCII space, in order of the ids.

    The blank is `<blk>` at its own id, the word boundary is `▁`. Tokens that print nothing keep their names,
    so that a runtime which prints one shows what the model gave.

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
    token = token.replace(" ", BOUNDARY)
    return BOUNDARY + token if vocabulary.spaced and not token.startswith(BOUNDARY) else token


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


def huggingface_files(
    vocabulary: Vocabulary, tokens: list[str], factor: int, window: int = 0
) -> dict[str, str]:
    """Return the files, by name, that transformers and optimum read: wav2vec2's, as far as they fit.

    Args:
        tokens: lines of tokens.txt.
    """
    names = [line.rsplit(" ", 1)[0] for line in tokens]
    files: Mapping[str, Any] = {
        "config.json": _config(vocabulary, factor, window),
        "vocab.json": {name: index for index, name in enumerate(names)},
        "tokenizer_config.json": tokenizer_settings(),
        "preprocessor_config.json": {
            "feature_extractor_type": "Wav2Vec2FeatureExtractor",
            "processor_class": "Wav2Vec2Processor",
            "feature_size": 1,
            "sampling_rate": SAMPLE_RATE,
            # The graph normalises features, or samples by itself; zeros behind the end are padding to it.
            "do_normalize": False,
            "padding_value": 0.0,
            "padding_side": "right",
            "return_attention_mask": False,
        },
    }
    return {name: json.dumps(content, indent=1, ensure_ascii=False) + "\n" for name, content in files.items()}


def _config(vocabulary: Vocabulary, factor: int, window: int) -> dict[str, Any]:
    return {
        "model_type": "wav2vec2",
        "architectures": ["Wav2Vec2ForCTC"],
        "vocab_size": len(vocabulary),
        "pad_token_id": vocabulary.blank,
        # Only their products are used: samples per frame, for timestamps, and the shortest waveform.
        "conv_dim": [1, 1],
        "conv_kernel": [window or SPECTRUM, 1],
        "conv_stride": [HOP, factor] if not window else [HOP * factor, 1],
        "num_feat_extract_layers": 2,
    }


def tokenizer_settings() -> dict[str, Any]:
    """Return the content of tokenizer_config.json for a tokenizer of characters: wav2vec2's."""
    return {
        "tokenizer_class": "Wav2Vec2CTCTokenizer",
        "processor_class": "Wav2Vec2Processor",
        "pad_token": BLANK,
        # Nothing is ever unknown, but the tokenizer would invent a token that the graph has not.
        "unk_token": BLANK,
        "bos_token": None,
        "eos_token": None,
        "word_delimiter_token": BOUNDARY,
        "replace_word_delimiter_char": " ",
        "do_lower_case": False,
        "model_max_length": 1_000_000,
    }
