"""torchaudio's pipelines: its own tiny models with random weights, in files as torch hub keeps them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_transformers import LETTERS, audio, padded

from kdcompress.config.teacher import TorchaudioTeacher
from kdcompress.errors import TeacherError
from kdcompress.frontend.torchaudio_import import load_torchaudio
from kdcompress.teachers.huggingface import TransformersTeacher
from kdcompress.teachers.open import open_teacher, resolve_teacher
from kdcompress.teachers.torchaudio_pipeline import PipelineTeacher

LABELS = ("|", "A", "B", "C", "D")
CONVOLUTIONS = [(8, 10, 5), *[(8, 3, 2)] * 4, *[(8, 2, 2)] * 2]
SAMPLES = (16000, 7000, 11111)


def parameters(mode: str) -> dict[str, Any]:
    """Return a tiny model's shape; its dropout would show if it were left in train mode."""
    return {
        "extractor_mode": mode,
        "extractor_conv_layer_config": CONVOLUTIONS,
        "extractor_conv_bias": False,
        "encoder_embed_dim": 16,
        "encoder_projection_dropout": 0.5,
        "encoder_pos_conv_kernel": 16,
        "encoder_pos_conv_groups": 4,
        "encoder_num_layers": 2,
        "encoder_num_heads": 2,
        "encoder_attention_dropout": 0.5,
        "encoder_ff_interm_features": 24,
        "encoder_ff_interm_dropout": 0.5,
        "encoder_dropout": 0.5,
        "encoder_layer_norm_first": mode == "layer_norm",
        "encoder_layer_drop": 0.5,
        # As published: with the rows 1, 2, 3 that torchaudio removes.
        "aux_num_out": len(LABELS) + 1,
    }


@pytest.fixture
def pipelines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let torchaudio have two small pipelines more, whose weights nobody offers for download."""
    module = load_torchaudio().pipelines
    for name, mode in (("TINY_BASE", "group_norm"), ("TINY_LARGE", "layer_norm")):
        bundle = module.Wav2Vec2ASRBundle(
            _path=f"https://127.0.0.1:9/{name.lower()}.pth",
            _params=parameters(mode),
            _labels=LABELS,
            _sample_rate=16000,
            _normalize_waveform=mode == "layer_norm",
            _model_type="Wav2Vec2",
        )
        monkeypatch.setattr(module, name, bundle, raising=False)
    monkeypatch.setattr(module, "__all__", [*module.__all__, "TINY_BASE", "TINY_LARGE"])


def weights(name: str, outputs: int = len(LABELS) + 1, seed: int = 0) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    mode = "group_norm" if name == "TINY_BASE" else "layer_norm"
    model = load_torchaudio().models.wav2vec2_model(**parameters(mode) | {"aux_num_out": outputs})
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
        model.aux.weight.mul_(4)
    return dict(model.state_dict())


@pytest.fixture
def opened(pipelines: None, tmp_path: Path) -> Callable[..., PipelineTeacher]:
    def get(name: str, state: dict[str, torch.Tensor] | None = None) -> PipelineTeacher:
        file = tmp_path / "weights.pt"
        torch.save(state or weights(name), file)
        teacher = open_teacher(TorchaudioTeacher(name=name, state_dict=file))
        assert isinstance(teacher, PipelineTeacher)
        return teacher

    return get


pairs = pytest.mark.parametrize("name", ["TINY_BASE", "TINY_LARGE"])


@pairs
def test_posteriors_are_those_of_the_pipeline_itself(opened: Any, name: str, tmp_path: Path) -> None:
    teacher = opened(name, weights(name, len(LABELS) + 4))
    bundle = getattr(load_torchaudio().pipelines, name)
    options = {"model_dir": str(tmp_path), "file_name": "weights.pt", "weights_only": True}
    model = bundle.get_model(dl_kwargs=options)
    waveform = audio(11111)
    with torch.no_grad():
        expected = model(waveform[None])[0].log_softmax(-1)
    found = teacher.posteriors(*padded([waveform]))
    torch.testing.assert_close(found.log_probs, expected, atol=1e-5, rtol=1e-5)
    assert found.lengths.tolist() == [expected.shape[1]] == [34]
    assert found.log_probs.exp().std(dim=1).max() > 0.01  # the model does listen
    assert teacher.vocabulary.tokens == ("-", *LABELS)
    assert (teacher.vocabulary.blank, teacher.vocabulary.word_boundary) == (0, "|")
    assert (teacher.sample_rate, teacher.frame_shift) == (16000, 0.02)
    assert teacher.bytes == 4 * teacher.parameters == 4 * sum(p.numel() for p in model.parameters())


@pairs
def test_neither_padding_nor_company_changes_an_utterance(opened: Any, name: str) -> None:
    teacher = opened(name)
    waveforms = [audio(samples, seed) for seed, samples in enumerate(SAMPLES)]
    together = teacher.posteriors(*padded(waveforms, float("nan")))
    assert together.lengths.tolist() == [49, 21, 34]
    for row, waveform in enumerate(waveforms):
        alone = teacher.posteriors(*padded([waveform]))
        frames = int(together.lengths[row])
        assert alone.lengths.tolist() == [frames]
        torch.testing.assert_close(
            alone.log_probs[0, :frames], together.log_probs[row, :frames], atol=1e-4, rtol=0.0
        )


@pairs
def test_a_padded_batch_is_one_run(opened: Any, name: str) -> None:
    teacher = opened(name)
    seen: list[int] = []
    handle = teacher._model.register_forward_hook(lambda _, args, output: seen.append(len(output[0])))
    teacher.posteriors(*padded([audio(7000, 0), audio(9000, 1), audio(7000, 2)]))
    handle.remove()
    assert seen == [3]


@pairs
def test_frozen_and_in_eval_mode(opened: Any, name: str) -> None:
    teacher = opened(name)
    batch = padded([audio(6000)])
    torch.manual_seed(7)
    state = torch.get_rng_state()
    first, second = teacher.posteriors(*batch), teacher.posteriors(*batch)
    assert torch.equal(first.log_probs, second.log_probs)
    assert torch.equal(torch.get_rng_state(), state)
    assert not first.log_probs.requires_grad
    assert not any(p.requires_grad for p in teacher._model.parameters())


@pairs
def test_short_empty_and_silent_audio(opened: Any, name: str) -> None:
    waveforms = [audio(8000), torch.empty(0), audio(1), audio(399), torch.zeros(8000)]
    found = opened(name).posteriors(*padded(waveforms))
    assert found.lengths.tolist() == [24, 0, 1, 1, 24]
    assert found.log_probs.isfinite().all()


def test_the_same_weights_as_in_transformers(opened: Any, saved: Callable[[str], Path]) -> None:
    """One set of weights by two roads; the models share no code."""
    from torchaudio.models.wav2vec2.utils import import_huggingface_model
    from torchaudio.pipelines._wav2vec2.utils import _extend_model

    for name, tiny in (("wav2vec2-layer", "TINY_LARGE"), ("wav2vec2-group", "TINY_BASE")):
        theirs = open_teacher(resolve_teacher(str(saved(name))))
        assert isinstance(theirs, TransformersTeacher)
        model = import_huggingface_model(theirs._model)
        if tiny == "TINY_LARGE":
            model = _extend_model(model, normalize_waveform=True)
        ours = PipelineTeacher(name, model, ["-", "<s>", "</s>", "<unk>", *LETTERS[4:]])
        # torchaudio's base models take waveforms as they are: these get what their extractor would make.
        waveforms = [audio(samples, seed) for seed, samples in enumerate(SAMPLES)]
        fed = waveforms if tiny == "TINY_LARGE" else [(w - w.mean()) / w.std(correction=0) for w in waveforms]
        expected, found = theirs.posteriors(*padded(waveforms)), ours.posteriors(*padded(fed))
        assert torch.equal(found.lengths, expected.lengths)
        torch.testing.assert_close(found.log_probs, expected.log_probs, atol=2e-3, rtol=0.0)
        assert expected.log_probs.exp().std(dim=1).max() > 0.01


@pairs
def test_opening_is_silent_and_leaves_the_seed_alone(
    opened: Any, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    state = weights(name)
    torch.manual_seed(7)
    before = torch.get_rng_state()
    opened(name, state)
    assert torch.equal(torch.get_rng_state(), before)
    assert capfd.readouterr() == ("", "")


def test_fingerprint_follows_the_weights(opened: Any) -> None:
    first = opened("TINY_BASE").fingerprint
    assert opened("TINY_BASE").fingerprint == first
    changed = weights("TINY_BASE")
    changed["aux.bias"] = changed["aux.bias"] + torch.tensor([0.0, 0, 0, 0, 1e-3, 0])
    assert len({first, opened("TINY_BASE", changed).fingerprint, opened("TINY_LARGE").fingerprint}) == 3


def test_published_weights_lose_the_rows_that_torchaudio_removes(opened: Any) -> None:
    published = weights("TINY_BASE", len(LABELS) + 4)
    trimmed = dict(published)
    for key in ("aux.weight", "aux.bias"):
        trimmed[key] = torch.cat([published[key][:1], published[key][4:]])
    batch = padded([audio(6000)])
    first, second = opened("TINY_BASE", published), opened("TINY_BASE", trimmed)
    assert torch.equal(first.posteriors(*batch).log_probs, second.posteriors(*batch).log_probs)
    assert first.fingerprint == second.fingerprint


def test_weights_come_from_the_cache_of_torch_hub(
    opened: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = opened("TINY_BASE", weights("TINY_BASE", len(LABELS) + 4)).fingerprint
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    (tmp_path / "weights.pt").rename(tmp_path / "hub" / "checkpoints" / "tiny_base.pth")
    assert open_teacher(resolve_teacher("torchaudio:TINY_BASE")).fingerprint == expected


def refused(config: TorchaudioTeacher, match: str) -> None:
    with pytest.raises(TeacherError, match=match) as caught:
        open_teacher(config)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("pipelines")
def test_without_network_it_says_where_the_file_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    place = tmp_path / "hub" / "checkpoints" / "tiny_base.pth"
    refused(TorchaudioTeacher(name="TINY_BASE"), f"not at {place} and cannot be downloaded")


@pytest.mark.usefixtures("pipelines")
def test_a_file_that_is_no_state_dict(tmp_path: Path) -> None:
    file = tmp_path / "x.pt"
    config = TorchaudioTeacher(name="TINY_BASE", state_dict=file)
    refused(config, "no file .*x.pt")
    file.write_bytes(b"<html>")
    refused(config, r"x\.pt is damaged")
    torch.save({"model": 1}, file)
    refused(config, r"x\.pt is damaged")
    torch.save(weights("TINY_LARGE"), file)
    refused(config, r"x\.pt is damaged")


def test_what_is_no_recogniser() -> None:
    refused(TorchaudioTeacher(name="WAV2VEC2_BASE"), "is no CTC recogniser.*WAV2VEC2_ASR_BASE_960H")
    refused(TorchaudioTeacher(name="MMS_FA"), "is no CTC recogniser")
    refused(TorchaudioTeacher(name="NOTHING"), "is not a pipeline")
