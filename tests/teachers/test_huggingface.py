import json
import shutil
from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_transformers import FAMILIES, audio, padded

from kdcompress.config.teacher import HuggingFaceTeacher
from kdcompress.errors import TeacherError
from kdcompress.teachers.huggingface import TransformersTeacher
from kdcompress.teachers.open import open_teacher, resolve_teacher

Saved = Callable[[str], Path]
SAMPLES = (16000, 7000, 11111)
families = pytest.mark.parametrize("name", FAMILIES)


@pytest.fixture(scope="module")
def opened(saved: Saved) -> Callable[[str], TransformersTeacher]:
    teachers: dict[str, TransformersTeacher] = {}

    def get(name: str) -> TransformersTeacher:
        if name not in teachers:
            teacher = open_teacher(resolve_teacher(str(saved(name))))
            assert isinstance(teacher, TransformersTeacher)
            teachers[name] = teacher
        return teachers[name]

    return get


# WavLM's own call of torch's attention.
@pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask:UserWarning")
@families
def test_posteriors_are_those_of_the_model_itself(saved: Saved, opened: Any, name: str) -> None:
    from transformers import AutoFeatureExtractor, AutoModelForCTC

    extractor = AutoFeatureExtractor.from_pretrained(saved(name))
    model = AutoModelForCTC.from_pretrained(saved(name)).eval()
    waveform = audio(11111)
    inputs = extractor(waveform.numpy(), sampling_rate=16000, return_tensors="pt")
    with torch.no_grad():
        expected = model(**inputs).logits.log_softmax(-1)
    found = opened(name).posteriors(*padded([waveform]))
    frames = int(found.lengths[0])
    assert frames == FAMILIES[name].frames[2]
    # Parakeet's extractor appends a frame that its mask declares to be padding.
    assert frames <= expected.shape[1] <= frames + 1
    torch.testing.assert_close(found.log_probs[:, :frames], expected[:, :frames], atol=1e-4, rtol=1e-4)
    assert found.log_probs.exp().std(dim=1).max() > 0.01  # the model does listen


@families
def test_neither_padding_nor_company_changes_an_utterance(opened: Any, name: str) -> None:
    teacher = opened(name)
    waveforms = [audio(samples, seed) for seed, samples in enumerate(SAMPLES)]
    together = teacher.posteriors(*padded(waveforms))
    assert tuple(together.lengths.tolist()) == FAMILIES[name].frames
    assert together.frame_shift == teacher.frame_shift == pytest.approx(FAMILIES[name].frame_shift)
    torch.testing.assert_close(together.log_probs.exp().sum(-1), torch.ones(together.log_probs.shape[:2]))
    # Whatever lies beyond an utterance's end is not looked at.
    hostile = teacher.posteriors(*padded(waveforms, float("nan")))
    torch.testing.assert_close(hostile.log_probs, together.log_probs)
    for row, waveform in enumerate(waveforms):
        alone = teacher.posteriors(*padded([waveform]))
        frames = int(together.lengths[row])
        assert alone.lengths.tolist() == [frames]
        torch.testing.assert_close(
            alone.log_probs[0, :frames], together.log_probs[row, :frames], atol=1e-4, rtol=0.0
        )


@families
def test_only_models_that_hear_padding_are_run_one_by_one(opened: Any, name: str) -> None:
    teacher = opened(name)
    batches: list[int] = []
    handle = teacher._model.register_forward_hook(lambda _, args, output: batches.append(len(output.logits)))
    waveforms = [audio(7000, 0), audio(9000, 1), audio(7000, 2)]
    try:
        teacher.posteriors(*padded(waveforms))
    finally:
        handle.remove()
    assert batches == ([3] if FAMILIES[name].hides else [2, 1])


@pytest.mark.parametrize("name", [name for name, family in FAMILIES.items() if not family.hides])
def test_what_is_run_one_by_one_would_hear_padding(opened: Any, name: str) -> None:
    model = opened(name)._model
    short = audio(7000)[None]
    long = torch.nn.functional.pad(short, (0, 9000))
    mask = torch.ones_like(long, dtype=torch.long)
    mask[:, 7000:] = 0
    with torch.no_grad():
        alone, beside = model(short).logits, model(long, attention_mask=mask).logits
    assert (alone - beside[:, : alone.shape[1]]).abs().max() > 0.01 * alone.std()


@pytest.mark.parametrize("name", ["wav2vec2-group", "hubert-group"])
def test_group_normalisation_would_hear_padding(saved: Saved, opened: Any, name: str) -> None:
    from transformers import AutoModelForCTC

    model = AutoModelForCTC.from_pretrained(saved(name)).eval()
    batch, lengths = padded([audio(16000), audio(7000, 1)])
    mask = torch.arange(16000) < lengths[:, None]
    normalized = torch.stack(
        [(row - row[m].mean()) / row[m].std() * m for row, m in zip(batch, mask, strict=True)]
    )
    with torch.no_grad():
        plain = model(normalized, attention_mask=mask.long()).logits.log_softmax(-1)
    found = opened(name).posteriors(batch, lengths).log_probs
    assert (plain[0] - found[0]).abs().max() < 1e-2
    assert (plain[1] - found[1])[:21].abs().max() > 0.1


# torch's own remark on what of attention bfloat16 has kernels for.
@pytest.mark.filterwarnings("ignore::UserWarning")
@families
def test_bfloat16_moves_little_and_marks_its_posteriors(saved: Saved, opened: Any, name: str) -> None:
    exact = opened(name)
    config = HuggingFaceTeacher(path=str(saved(name)), precision="bf16")
    rounded = open_teacher(config)
    batch = padded([audio(samples, seed) for seed, samples in enumerate(SAMPLES)])
    expected, found = exact.posteriors(*batch), rounded.posteriors(*batch)
    assert torch.equal(found.lengths, expected.lengths)
    valid = torch.arange(found.log_probs.shape[1]) < found.lengths[:, None]
    assert not torch.equal(expected.log_probs, found.log_probs)
    # As these heads would be if they had not been made four times as decisive.
    p, q = ((one.log_probs[valid] / 4).log_softmax(-1) for one in (expected, found))
    assert (p.exp() * (p - q)).sum(-1).mean() < 0.02
    assert rounded.fingerprint == f"{exact.fingerprint}-bf16"
    assert open_teacher(HuggingFaceTeacher(path=str(saved(name)))).fingerprint == exact.fingerprint


@families
def test_frozen_and_in_eval_mode(saved: Saved, opened: Any, name: str) -> None:
    teacher = opened(name)
    batch = padded([audio(6000)])
    first, second = teacher.posteriors(*batch), teacher.posteriors(*batch)
    assert torch.equal(first.log_probs, second.log_probs)  # the families have dropout 0.5
    assert not first.log_probs.requires_grad
    assert not any(p.requires_grad for p in teacher._model.parameters())
    # A tensor made in inference mode could not be saved for a student's backward pass.
    student = torch.zeros_like(first.log_probs, requires_grad=True)
    (first.log_probs * student).sum().backward()
    assert teacher.parameters == sum(p.numel() for p in teacher._model.parameters())
    assert teacher.bytes == 4 * teacher.parameters
    assert teacher.sample_rate == 16000


@families
def test_short_empty_and_silent_audio(opened: Any, name: str) -> None:
    teacher = opened(name)
    waveforms = [audio(8000), torch.empty(0), audio(1), audio(399), torch.zeros(8000)]
    found = teacher.posteriors(*padded(waveforms))
    frames = found.lengths.tolist()
    assert frames[1:4] == [0, 1, 1]
    assert frames[0] == frames[4] > 1
    assert found.log_probs.isfinite().all()
    alone = teacher.posteriors(*padded([torch.empty(0)]))
    assert alone.lengths.tolist() == [0]


@families
def test_text_is_what_the_tokenizer_decodes(saved: Saved, opened: Any, name: str) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(saved(name))
    vocabulary = opened(name).vocabulary
    parakeet = name == "parakeet"
    assert vocabulary.blank == (31 if parakeet else 0)
    assert vocabulary.word_boundary == ("▁" if parakeet else "|")
    assert vocabulary.silent == ({0} if parakeet else {1, 2, 3})
    posteriors = opened(name).posteriors(*padded([audio(16000), audio(12000, 1)]))
    speakable = torch.tensor([i for i in range(len(vocabulary)) if i not in vocabulary.silent])
    drawn = speakable[torch.randint(len(speakable), (8, 60), generator=torch.Generator().manual_seed(0))]
    rows = [p[:n].argmax(-1) for p, n in zip(posteriors.log_probs, posteriors.lengths, strict=True)]
    texts = set()
    for ids in [*rows, *drawn]:
        expected = tokenizer.batch_decode(ids[None], clean_up_tokenization_spaces=False)[0]
        text = vocabulary.text([token for token, _ in groupby(ids.tolist())])
        assert text == " ".join(expected.split())
        texts.add(text)
    assert len(texts) > 8


def test_opening_is_silent_and_leaves_the_seed_alone(saved: Saved, capfd: pytest.CaptureFixture[str]) -> None:
    folder = saved("wav2vec2-group")
    torch.manual_seed(7)
    before = torch.get_rng_state()
    teacher = TransformersTeacher.open(HuggingFaceTeacher(path=str(folder)))
    teacher.posteriors(*padded([audio(5000)]))
    assert torch.equal(torch.get_rng_state(), before)
    assert capfd.readouterr() == ("", "")


def test_fingerprint_follows_weights_and_vocabulary(saved: Saved, opened: Any, tmp_path: Path) -> None:
    first = opened("wav2vec2-layer").fingerprint
    copy = Path(shutil.copytree(saved("wav2vec2-layer"), tmp_path / "copy"))
    config = HuggingFaceTeacher(path=str(copy))
    assert TransformersTeacher.open(config).fingerprint == first
    vocabulary = json.loads((copy / "vocab.json").read_text())
    vocabulary["é"] = vocabulary.pop("z")
    (copy / "vocab.json").write_text(json.dumps(vocabulary))
    second = TransformersTeacher.open(config).fingerprint
    assert len({first, second, opened("wav2vec2-group").fingerprint}) == 3


def test_weights_kept_in_half_precision(saved: Saved, opened: Any, tmp_path: Path) -> None:
    from transformers import AutoModelForCTC

    folder = Path(shutil.copytree(saved("wav2vec2-layer"), tmp_path / "half"))
    AutoModelForCTC.from_pretrained(folder).half().save_pretrained(folder)
    teacher, batch = TransformersTeacher.open(HuggingFaceTeacher(path=str(folder))), padded([audio(8000)])
    found, full = teacher.posteriors(*batch), opened("wav2vec2-layer").posteriors(*batch)
    assert 0 < (found.log_probs.exp() - full.log_probs.exp()).abs().max() < 0.05
    assert teacher.bytes == opened("wav2vec2-layer").bytes


def test_not_finite_is_refused(saved: Saved) -> None:
    teacher = TransformersTeacher.open(HuggingFaceTeacher(path=str(saved("wav2vec2-layer"))))
    with pytest.raises(TeacherError, match="NaN or infinity"):
        teacher.posteriors(*padded([torch.full((8000,), float("inf"))]))


def damaged(saved: Saved, tmp_path: Path, name: str = "wav2vec2-layer") -> tuple[Path, HuggingFaceTeacher]:
    folder = Path(shutil.copytree(saved(name), tmp_path / "damaged"))
    return folder, HuggingFaceTeacher(path=str(folder))


def refused(config: HuggingFaceTeacher, match: str) -> None:
    with pytest.raises(TeacherError, match=match) as caught:
        TransformersTeacher.open(config)
    assert "\n" not in str(caught.value)


def test_pickled_weights_are_refused(saved: Saved, tmp_path: Path) -> None:
    folder, config = damaged(saved, tmp_path)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    refused(config, r"pytorch_model\.bin, which is pickled.*save_pretrained")
    (folder / "pytorch_model.bin").unlink()
    refused(config, "no weights")


@pytest.mark.parametrize("name", ["wav2vec2-layer", "parakeet"])
def test_missing_vocabulary_is_named(saved: Saved, tmp_path: Path, name: str) -> None:
    folder, config = damaged(saved, tmp_path, name)
    file = "tokenizer.json" if name == "parakeet" else "vocab.json"
    (folder / file).unlink()
    refused(config, f"vocabulary.*{file}")


def test_missing_feature_extractor_is_named(saved: Saved, tmp_path: Path) -> None:
    folder, config = damaged(saved, tmp_path)
    (folder / "preprocessor_config.json").unlink()
    refused(config, "feature extractor")


def test_another_sampling_rate_is_refused(saved: Saved, tmp_path: Path) -> None:
    folder, config = damaged(saved, tmp_path)
    settings = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").write_text(json.dumps({**settings, "sampling_rate": 8000}))
    refused(config, "8000 Hz")


def test_damaged_weights_are_refused(saved: Saved, tmp_path: Path) -> None:
    folder, config = damaged(saved, tmp_path)
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    refused(config, "weights")


def test_an_encoder_without_ctc_head_is_refused(saved: Saved, tmp_path: Path) -> None:
    import transformers

    folder, config = damaged(saved, tmp_path)
    encoder = transformers.Wav2Vec2Model(transformers.Wav2Vec2Config(**FAMILIES["wav2vec2-layer"].options))
    encoder.save_pretrained(folder)
    refused(config, r"lack lm_head\.(bias|weight).*CTC")


def test_a_model_that_is_no_ctc_model_is_refused(tmp_path: Path, saved: Saved) -> None:
    folder, config = damaged(saved, tmp_path)
    (folder / "config.json").write_text(json.dumps({"model_type": "bert", "hidden_size": 8}))
    refused(config, "weights.*damaged: ")


def test_a_blank_that_config_and_tokenizer_dispute_is_refused(saved: Saved, tmp_path: Path) -> None:
    folder, config = damaged(saved, tmp_path)
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**settings, "pad_token_id": 5}))
    refused(config, r"blank is 5 in config\.json")


def test_missing_directory() -> None:
    refused(HuggingFaceTeacher(path="/nowhere/at all"), "no such directory")


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty hub cache; the hub itself is out of reach."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def test_a_hub_id_is_found_in_the_cache(saved: Saved, opened: Any, hub_cache: Path) -> None:
    revision = "0123456789abcdef0123456789abcdef01234567"
    repository = hub_cache / "models--someone--tiny"
    shutil.copytree(saved("hubert-group"), repository / "snapshots" / revision)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(revision)
    teacher = open_teacher(resolve_teacher("someone/tiny"))
    assert teacher.fingerprint == opened("hubert-group").fingerprint


def test_a_hub_out_of_reach_is_one_line(hub_cache: Path) -> None:
    refused(HuggingFaceTeacher(path="someone/unknown"), "hub cannot be reached")
