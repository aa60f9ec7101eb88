"""Tiny, randomly initialised models of every family, on disk as users have them."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

LETTERS = ["<pad>", "<s>", "</s>", "<unk>", "|", *"abcdefghijklmnopqrstuvwxyz'"]
PIECES = ["<unk>", *(["▁"] + [f"▁{c}" for c in "abcdefgh"] + list("abcdefghijklmnopqrstu")), "<pad>"]
# High on purpose: a teacher left in train mode would be caught.
DROP = {"hidden_dropout": 0.5, "attention_dropout": 0.5, "layerdrop": 0.5}
TRANSFORMER = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24, "hidden_size": 16}
WAVE = {
    **TRANSFORMER,
    **DROP,
    "vocab_size": 32,
    "conv_dim": (8,) * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
    "mask_time_prob": 0.5,
    "mask_time_length": 2,
}
LAYER = {"feat_extract_norm": "layer", "do_stable_layer_norm": True}


@dataclass(frozen=True)
class Family:
    """How to build a tiny model, and what is known about it.

    Attributes:
        hides: whether its attention mask hides padding.
        frame_shift: of its output [s].
        frames: for 16000, 7000 and 11111 samples, counted by hand.
    """

    model: str
    options: dict[str, Any]
    hides: bool
    frame_shift: float = 0.02
    frames: tuple[int, int, int] = (49, 21, 34)


FAMILIES = {
    "wav2vec2-layer": Family("Wav2Vec2", {**WAVE, **LAYER}, True),
    "wav2vec2-group": Family("Wav2Vec2", WAVE, True),
    "wav2vec2-adapter": Family("Wav2Vec2", {**WAVE, **LAYER, "add_adapter": True}, False, 0.16, (7, 3, 5)),
    "hubert-layer": Family("Hubert", {**WAVE, **LAYER}, True),
    "hubert-group": Family("Hubert", WAVE, True),
    "wavlm-layer": Family("WavLM", {**WAVE, **LAYER}, True),
    "wavlm-group": Family("WavLM", WAVE, True),
    "conformer": Family(
        "Wav2Vec2Conformer", {**WAVE, "feat_extract_norm": "layer", "conv_depthwise_kernel_size": 7}, False
    ),
    "data2vec": Family("Data2VecAudio", {**WAVE, "conv_pos_kernel_size": 5}, False),
    "wav2vec2-bert": Family(
        "Wav2Vec2Bert",
        {**TRANSFORMER, **DROP, "vocab_size": 32, "conv_depthwise_kernel_size": 7, "pad_token_id": 0},
        True,
        # Kaldi frames of 400 samples every 160, by two.
        frames=(49, 21, 33),
    ),
    "parakeet": Family(
        "Parakeet",
        {
            "vocab_size": 32,
            "pad_token_id": 31,
            "encoder_config": {
                **TRANSFORMER,
                "subsampling_conv_channels": 8,
                "conv_kernel_size": 5,
                "dropout": 0.5,
                "layerdrop": 0.5,
            },
        },
        True,
        0.08,
        # floor(samples / 160) frames, then three times ceil(half).
        (13, 6, 9),
    ),
}


def build_model(family: Family) -> Any:
    """Return the model; its head is made decisive, and never says a special token."""
    import transformers

    torch.manual_seed(0)
    if family.model == "Parakeet":
        model: Any = transformers.ParakeetForCTC(transformers.ParakeetCTCConfig(**family.options))
        head, special = model.ctc_head, [0]
    else:
        config = getattr(transformers, f"{family.model}Config")(**family.options)
        model = getattr(transformers, f"{family.model}ForCTC")(config)
        head, special = model.lm_head, [1, 2, 3]
    with torch.no_grad():
        # As they are initialised, models of this width hardly react to what they hear.
        for parameter in model.parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
        head.weight.mul_(4)
        head.bias.zero_()
        head.bias[special] = -50
    return model.eval()


def build_processor(family: Family, folder: Path) -> Any:
    """Return feature extractor and tokenizer as the family's processor."""
    import transformers

    if family.model == "Parakeet":
        extractor = transformers.ParakeetFeatureExtractor()
        return transformers.ParakeetProcessor(extractor, _sentencepiece_tokenizer())
    (folder / "letters.json").write_text(json.dumps({token: i for i, token in enumerate(LETTERS)}))
    tokenizer = transformers.Wav2Vec2CTCTokenizer(str(folder / "letters.json"))
    (folder / "letters.json").unlink()
    if family.model == "Wav2Vec2Bert":
        return transformers.Wav2Vec2BertProcessor(transformers.SeamlessM4TFeatureExtractor(), tokenizer)
    extractor = transformers.Wav2Vec2FeatureExtractor(return_attention_mask=family.hides)
    return transformers.Wav2Vec2Processor(extractor, tokenizer)


def _sentencepiece_tokenizer() -> Any:
    import transformers
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    tokenizer = Tokenizer(models.Unigram([(piece, -float(i)) for i, piece in enumerate(PIECES)], unk_id=0))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    # transformers 4 has it under the second name.
    maker = getattr(transformers, "ParakeetTokenizer", None) or transformers.ParakeetTokenizerFast
    return maker(tokenizer_object=tokenizer, unk_token="<unk>", pad_token="<pad>")


def audio(samples: int, seed: int = 0) -> Tensor:
    """Return something with structure: noise whose loudness and offset change."""
    noise = torch.randn(samples, generator=torch.Generator().manual_seed(seed))
    return 0.02 + 0.1 * noise * torch.linspace(0, 20, samples).sin()


def padded(waveforms: list[Tensor], value: float = 0.0) -> tuple[Tensor, Tensor]:
    lengths = torch.tensor([len(w) for w in waveforms])
    return torch.nn.utils.rnn.pad_sequence(waveforms, batch_first=True, padding_value=value), lengths


def save_model(name: str, folder: Path) -> None:
    """Write a family's model with `save_pretrained`."""
    family = FAMILIES[name]
    processor = build_processor(family, folder)
    if name == "hubert-layer":  # as the processor writes them …
        processor.save_pretrained(folder)
    else:  # … and as most of the hub has them
        processor.feature_extractor.save_pretrained(folder)
        processor.tokenizer.save_pretrained(folder)
    build_model(family).save_pretrained(folder)
