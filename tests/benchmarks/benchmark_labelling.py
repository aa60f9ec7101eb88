"""Time what labels a batch against plain transformers on the same padded batch.

    python tests/benchmarks/benchmark_labelling.py [--layers 4] [--rounds 5] [--only base large parakeet]

Models of the widths of wav2vec2-base (group norm), HuBERT-large and Parakeet-CTC 0.6B, with random weights
and few layers. Both take turns on one thread; CPU time of features, model and log-softmax.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from kdcompress.students.transformers_inputs import import_transformers
from kdcompress.teachers.huggingface import TransformersTeacher

transformers = import_transformers()
LETTERS = ["<pad>", "<s>", "</s>", "<unk>", "|", *"abcdefghijklmnopqrstuvwxyz'"]
LARGE = {"hidden_size": 1024, "intermediate_size": 4096}
WAVE = {
    "num_attention_heads": 16,
    "feat_extract_norm": "layer",
    "do_stable_layer_norm": True,
    "conv_bias": True,
}


def letters() -> Any:
    """Return a tokenizer of letters."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vocab.json"
        path.write_text(json.dumps({token: index for index, token in enumerate(LETTERS)}))
        return transformers.Wav2Vec2CTCTokenizer(str(path))


def base(layers: int) -> tuple[Any, Any, Any]:
    """Return a model as wav2vec2-base, its feature extractor and its tokenizer."""
    model = transformers.Wav2Vec2ForCTC(transformers.Wav2Vec2Config(num_hidden_layers=layers))
    return model, transformers.Wav2Vec2FeatureExtractor(return_attention_mask=True), letters()


def large(layers: int) -> tuple[Any, Any, Any]:
    """Return the same as HuBERT-large."""
    config = transformers.HubertConfig(**LARGE, **WAVE, num_hidden_layers=layers, feat_proj_layer_norm=True)
    extractor = transformers.Wav2Vec2FeatureExtractor(return_attention_mask=True)
    return transformers.HubertForCTC(config), extractor, letters()


def parakeet(layers: int) -> tuple[Any, Any, Any]:
    """Return the same as Parakeet-CTC 0.6B."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    encoder = {**LARGE, "num_hidden_layers": layers, "num_attention_heads": 8}
    config = transformers.ParakeetCTCConfig(vocab_size=1025, pad_token_id=1024, encoder_config=encoder)
    pieces = ["<unk>", "▁", *(f"p{index}" for index in range(1022)), "<pad>"]
    tokens = Tokenizer(models.Unigram([(piece, -float(i)) for i, piece in enumerate(pieces)], unk_id=0))
    tokens.pre_tokenizer, tokens.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    kind = getattr(transformers, "ParakeetTokenizer", None) or transformers.ParakeetTokenizerFast
    tokenizer = kind(tokenizer_object=tokens, unk_token="<unk>", pad_token="<pad>")
    return transformers.ParakeetForCTC(config), transformers.ParakeetFeatureExtractor(), tokenizer


FAMILIES = {"base": base, "large": large, "parakeet": parakeet}


def ways(name: str, layers: int) -> dict[str, Callable[[list[np.ndarray]], Any]]:
    """Return the two ways to label a batch of waveforms [S]."""
    model, extractor, tokenizer = FAMILIES[name](layers)
    model.eval()
    teacher = TransformersTeacher(name, model, extractor, tokenizer, "random")

    @torch.no_grad()
    def plain(batch: list[np.ndarray]) -> Any:
        found = extractor(batch, sampling_rate=16_000, return_tensors="pt", padding=True)
        key = model.main_input_name
        mask = found["attention_mask"]
        mask = mask.long() if key == "input_values" else mask
        return model(found[key], attention_mask=mask).logits.log_softmax(-1)

    def ours(batch: list[np.ndarray]) -> Any:
        lengths = torch.tensor([len(row) for row in batch])
        return teacher.posteriors(pad_sequence([torch.from_numpy(row) for row in batch], True), lengths)

    return {"transformers": plain, "kdcompress": ours}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--only", nargs="*", choices=FAMILIES, default=list(FAMILIES))
    asked = parser.parse_args()
    torch.set_num_threads(1)
    generator = np.random.default_rng(1)
    lengths = generator.uniform(0.75, 1.0, 4) * asked.seconds * 16_000
    batch = [(0.1 * generator.standard_normal(int(length))).astype(np.float32) for length in lengths]
    for name in asked.only:
        torch.manual_seed(0)
        contenders = ways(name, asked.layers)
        times: dict[str, list[float]] = {way: [] for way in contenders}
        for number in range(asked.rounds + 1):
            for way in list(contenders)[:: 1 if number % 2 else -1]:
                began = time.process_time()
                contenders[way](batch)
                if number:  # the first one allocates
                    times[way].append(time.process_time() - began)
        ratios = [o / p for p, o in zip(times["transformers"], times["kdcompress"], strict=True)]
        seconds = ", ".join(f"{way} {statistics.median(taken):.2f} s" for way, taken in times.items())
        sys.stdout.write(
            f"{name}, {asked.layers} layers: {seconds}; ratio {statistics.median(ratios):.3f} "
            f"[{min(ratios):.3f}, {max(ratios):.3f}]\n"
        )
        sys.stdout.flush()


if __name__ == "__main__":
    main()
