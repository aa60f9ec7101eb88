"""A student of a Hugging Face model: 20 ms frames, lengths that differ at the end, its vocabulary."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from kdcompress.config.recipe import Recipe
from kdcompress.distill.loop import distill
from kdcompress.frontend.torchaudio_import import load_torchaudio
from kdcompress.students.weights import load_student

UNITS = ["<pad>", "<s>", "</s>", "<unk>", "|", *"abcdefghijklmnopqrstuvwxyz'"]


@pytest.fixture
def wav2vec2(tmp_path: Path) -> Path:
    """Return a tiny random wav2vec2 on disk, with all that `save_pretrained` writes."""
    load_torchaudio()  # transformers would import it, and fail beside some builds of torch
    import transformers

    torch.manual_seed(0)
    folder = tmp_path / "wav2vec2"
    config = transformers.Wav2Vec2Config(
        vocab_size=len(UNITS),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=24,
        conv_dim=(8,) * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
        feat_extract_norm="layer",
        do_stable_layer_norm=True,
    )
    model = transformers.Wav2Vec2ForCTC(config)
    model.lm_head.weight.data *= 20
    model.save_pretrained(folder)
    (folder / "vocab.json").write_text(json.dumps({unit: index for index, unit in enumerate(UNITS)}))
    tokenizer = transformers.Wav2Vec2CTCTokenizer(str(folder / "vocab.json"))
    extractor = transformers.Wav2Vec2FeatureExtractor(return_attention_mask=True)
    transformers.Wav2Vec2Processor(feature_extractor=extractor, tokenizer=tokenizer).save_pretrained(folder)
    return folder


def test_a_student_takes_the_frame_shift_and_units_of_a_hugging_face_teacher(
    wav2vec2: Path, recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    figures: list[dict[str, Any]] = []
    observer = SimpleNamespace(
        stage=lambda *rest: None,
        step=lambda step, total, now: figures.append(now),
        validated=lambda *rest: None,
        say=lambda text: None,
    )
    changed = recipe(teacher={"kind": "huggingface", "path": str(wav2vec2)}, training__steps=30)
    assert distill(changed, tmp_path / "run", observer).finished
    student = load_student(tmp_path / "run")
    assert student.model.frame_shift == 0.02
    assert student.vocabulary.tokens == tuple(UNITS)
    assert (student.vocabulary.blank, student.vocabulary.word_boundary) == (0, "|")
    assert figures[-1]["loss"] < 0.8 * figures[0]["loss"]
