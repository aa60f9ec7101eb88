"""A model of several languages is opened with the adapter and the vocabulary of one, or not at all."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from kdcompress.config.teacher import HuggingFaceTeacher
from kdcompress.errors import TeacherError
from kdcompress.teachers.huggingface import TransformersTeacher

SPECIAL = ["<pad>", "<s>", "</s>", "<unk>", "|"]
LANGUAGES = {"eng": [*SPECIAL, *"abcd"], "fra": [*SPECIAL, *"abcé"], "deu": [*SPECIAL, *"abcdß"]}


@pytest.fixture
def mms(tmp_path: Path) -> Path:
    import transformers

    def model(size: int) -> "transformers.Wav2Vec2ForCTC":
        config = transformers.Wav2Vec2Config(
            vocab_size=size,
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=16,
            conv_dim=(8,) * 7,
            num_conv_pos_embeddings=16,
            num_conv_pos_embedding_groups=4,
            adapter_attn_dim=4,
            feat_extract_norm="layer",
            do_stable_layer_norm=True,
        )
        return transformers.Wav2Vec2ForCTC(config)

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model(len(LANGUAGES["eng"])).save_pretrained(tmp_path)
        for language, tokens in LANGUAGES.items():
            weights = model(len(tokens)).state_dict()
            own = {k: v.contiguous() for k, v in weights.items() if "adapter" in k or "lm_head" in k}
            save_file(own, tmp_path / f"adapter.{language}.safetensors")
    transformers.Wav2Vec2FeatureExtractor().save_pretrained(tmp_path)
    nested = {name: {t: i for i, t in enumerate(tokens)} for name, tokens in LANGUAGES.items()}
    (tmp_path / "vocab.json").write_text(json.dumps(nested))
    names = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    settings = {"tokenizer_class": "Wav2Vec2CTCTokenizer", "target_lang": "eng", "word_delimiter_token": "|"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({**settings, **names}))
    return tmp_path


def opened(folder: Path, language: str | None) -> TransformersTeacher:
    return TransformersTeacher.open(HuggingFaceTeacher(path=str(folder), language=language))


def test_each_language_has_its_own_head_and_letters(mms: Path) -> None:
    import transformers

    waveforms = torch.randn(1, 16_000, generator=torch.Generator().manual_seed(0))
    normal = (waveforms - waveforms.mean()) / torch.sqrt(waveforms.var(correction=0) + 1e-7)
    fingerprints = set()
    for language, tokens in LANGUAGES.items():
        teacher = opened(mms, language)
        assert teacher.vocabulary.tokens == tuple(tokens)
        model = transformers.Wav2Vec2ForCTC.from_pretrained(
            mms, target_lang=language, ignore_mismatched_sizes=True
        )
        with torch.no_grad():
            expected = model.eval()(normal).logits.log_softmax(-1)
        found = teacher.posteriors(waveforms, torch.tensor([16_000])).log_probs
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
        fingerprints.add(teacher.fingerprint)
    assert len(fingerprints) == 3


def test_bad_adapters_are_one_line(mms: Path) -> None:
    adapter = mms / "adapter.fra.safetensors"
    whole, weights = adapter.read_bytes(), load_file(adapter)
    first, *others = sorted(weights)

    def refused(match: str) -> None:
        with pytest.raises(TeacherError, match=match) as caught:
            opened(mms, "fra")
        assert "\n" not in str(caught.value)

    adapter.unlink()
    refused(r"no adapter\.fra\.safetensors, .* there are adapters for: deu, eng")
    adapter.with_suffix(".bin").write_bytes(b"a pickle")
    refused(r"no adapter\.fra\.safetensors")
    for damaged in (whole[: len(whole) // 2], whole[:-1], b"x", b""):
        adapter.write_bytes(damaged)
        refused(r"adapter\.fra\.safetensors is damaged")  # and the pickle is left alone
    adapter.write_bytes((mms / "adapter.deu.safetensors").read_bytes())
    refused("has 10 outputs, and the vocabulary of 'fra' has 9 tokens: the head is another language's")
    save_file({name: weights[name] for name in others}, adapter)
    refused(f"missing keys: {first}")
    save_file({**weights, first: weights[first][:3].contiguous()}, adapter)
    refused("cannot open the weights")
    adapter.unlink()
    assert opened(mms, "eng").vocabulary.tokens[-1] == "d"
    (mms / "adapter.eng.safetensors").unlink()
    assert opened(mms, "eng").vocabulary.tokens[-1] == "d"  # that of the weights themselves
