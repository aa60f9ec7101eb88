"""The files beside a `waveform` graph that transformers and optimum read: wav2vec2's, as far as they fit."""

import json
from collections.abc import Mapping
from typing import Any

from kdcompress.audio.utterance import SAMPLE_RATE
from kdcompress.frontend.logmel_numpy import HOP, WINDOW
from kdcompress.graph.contracts import BLANK, BOUNDARY
from kdcompress.text.vocabulary import Vocabulary


def huggingface_files(vocabulary: Vocabulary, tokens: list[str], factor: int) -> dict[str, str]:
    """Return the contents of config, tokenizer and preprocessor files by name.

    Args:
        tokens: lines of tokens.txt.
    """
    names = [line.rsplit(" ", 1)[0] for line in tokens]
    files: Mapping[str, Any] = {
        "config.json": _config(vocabulary, factor),
        "vocab.json": {name: index for index, name in enumerate(names)},
        "tokenizer_config.json": _tokenizer(),
        "preprocessor_config.json": {
            "feature_extractor_type": "Wav2Vec2FeatureExtractor",
            "processor_class": "Wav2Vec2Processor",
            "feature_size": 1,
            "sampling_rate": SAMPLE_RATE,
            # The graph normalises features, not samples; zeros behind the end are padding to it.
            "do_normalize": False,
            "padding_value": 0.0,
            "padding_side": "right",
            "return_attention_mask": False,
        },
    }
    return {name: json.dumps(content, indent=1, ensure_ascii=False) + "\n" for name, content in files.items()}


def _config(vocabulary: Vocabulary, factor: int) -> dict[str, Any]:
    return {
        "model_type": "wav2vec2",
        "architectures": ["Wav2Vec2ForCTC"],
        "vocab_size": len(vocabulary),
        "pad_token_id": vocabulary.blank,
        # Only their products are used: samples per frame, for timestamps, and the shortest waveform.
        "conv_dim": [1, 1],
        "conv_kernel": [WINDOW, 1],
        "conv_stride": [HOP, factor],
        "num_feat_extract_layers": 2,
    }


def _tokenizer() -> dict[str, Any]:
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
