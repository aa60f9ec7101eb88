"""The student: an utterance's output is its own, whatever shares its batch."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kdcompress.config.student import PRESETS, ConformerConfig
from kdcompress.errors import ConfigError
from kdcompress.students.conformer import ConformerStudent
from kdcompress.students.layers import Rotary, rotate

TINY = {"width": 16, "layers": 2, "heads": 2, "feed_forward": 2.0, "kernel": 7, "stem_channels": 4}


def tiny(frame_shift_ms: int = 40, seed: int = 0) -> ConformerStudent:
    torch.manual_seed(seed)
    return ConformerStudent(ConformerConfig(**TINY, frame_shift_ms=frame_shift_ms), 6).eval()


@pytest.mark.parametrize("frame_shift_ms", [20, 40, 80])
@torch.no_grad()
def test_padding_and_company_change_nothing(frame_shift_ms: int) -> None:
    student = tiny(frame_shift_ms)
    torch.manual_seed(1)
    samples = [1700, 16_000, 9_333, 24_001]
    waveforms = [torch.randn(n) for n in samples]
    batch = torch.full((4, 30_000), 7.0)  # what lies beyond an end must not matter
    for row, waveform in enumerate(waveforms):
        batch[row, : len(waveform)] = waveform
    together, lengths = student(batch, torch.tensor(samples))
    for row, waveform in enumerate(waveforms):
        alone, (length,) = student(waveform[None], torch.tensor([len(waveform)]))
        assert lengths[row] == length
        torch.testing.assert_close(together[row, :length], alone[0, :length], atol=2e-5, rtol=0)


@given(samples=st.integers(160, 40_000), frame_shift_ms=st.sampled_from([20, 40, 80]))
@settings(max_examples=20)
@torch.no_grad()
def test_output_has_one_frame_per_started_shift(samples: int, frame_shift_ms: int) -> None:
    student = tiny(frame_shift_ms)
    log_probs, lengths = student(torch.randn(1, samples), torch.tensor([samples]))
    feature_frames = samples // 160
    assert lengths.tolist() == [-(-feature_frames // student.factor)]
    assert lengths.tolist() == student.output_lengths(torch.tensor([samples])).tolist()
    assert log_probs.shape == (1, lengths[0], 6)
    torch.testing.assert_close(log_probs.exp().sum(-1), torch.ones_like(log_probs[..., 0]))


@torch.no_grad()
def test_audio_shorter_than_a_frame_has_no_frames_and_no_nan() -> None:
    log_probs, lengths = tiny()(torch.randn(2, 4000), torch.tensor([100, 4000]))
    assert lengths.tolist()[0] == 0
    assert torch.isfinite(log_probs[1]).all()


def test_gradients_reach_every_parameter_and_stay_finite_beside_an_empty_utterance() -> None:
    student = tiny().train()
    log_probs, _ = student(torch.randn(2, 8000), torch.tensor([100, 8000]))
    log_probs[1].square().mean().backward()
    for name, parameter in student.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


def test_attention_depends_on_distance_not_on_place() -> None:
    """Rotary products q·k of equal distances are equal (Su et al. 2021)."""
    cos, sin = Rotary(8)(12)
    query, key = torch.randn(8).expand(1, 1, 12, 8), torch.randn(8).expand(1, 1, 12, 8)
    scores = rotate(query, cos, sin)[0, 0] @ rotate(key, cos, sin)[0, 0].T
    for distance in range(-5, 6):
        diagonal = scores.diagonal(distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_named_by_their_size(name: str) -> None:
    with torch.device("meta"):
        student = ConformerStudent(ConformerConfig.model_validate({"preset": name, "frame_shift_ms": 40}), 32)
    assert student.parameter_count() / 1e6 == pytest.approx(float(name.removesuffix("M")), rel=0.12)


def test_an_open_frame_shift_is_refused() -> None:
    with pytest.raises(ConfigError, match="20, 40 or 80"):
        ConformerStudent(ConformerConfig(**TINY), 6)


@torch.no_grad()
def test_an_exit_is_the_model_cut_off_there() -> None:
    torch.manual_seed(0)
    deep = ConformerStudent(ConformerConfig(**{**TINY, "layers": 3}, frame_shift_ms=40, exits=(1,)), 6).eval()
    shallow = ConformerStudent(ConformerConfig(**{**TINY, "layers": 1}, frame_shift_ms=40), 6).eval()
    names = shallow.state_dict().keys()
    shallow.load_state_dict({name: value for name, value in deep.state_dict().items() if name in names})
    waveforms, samples = torch.randn(2, 16_000), torch.tensor([16_000, 12_000])
    outputs, lengths = deep(waveforms, samples, exits=True)
    assert outputs.shape[:2] == (2, 2)
    torch.testing.assert_close(outputs[0], shallow(waveforms, samples)[0])
    torch.testing.assert_close(outputs[1], deep(waveforms, samples)[0])
    assert lengths.tolist() == deep.output_lengths(samples).tolist()
    with pytest.raises(ValueError, match="before the last"):
        ConformerConfig(layers=3, exits=(3,))
