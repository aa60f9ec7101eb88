"""Laws of streaming students: a chunk and the state are all it takes, and what was printed stays."""

from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from kdcompress.config.student import ConformerConfig
from kdcompress.errors import ConfigError
from kdcompress.students.conformer import ConformerStudent

TINY = {"width": 16, "layers": 2, "heads": 2, "feed_forward": 2.0, "kernel": 7, "stem_channels": 4}


@cache
def student(frame_shift_ms: int, look_ahead_ms: int = 0, left_ms: int = 320) -> ConformerStudent:
    torch.manual_seed(0)
    streaming = {"left_ms": left_ms, "look_ahead_ms": look_ahead_ms}
    shape = {**TINY, "frame_shift_ms": frame_shift_ms, "streaming": streaming}
    made = ConformerStudent(ConformerConfig.model_validate(shape), 6).eval()
    made.measure([0.1 * torch.randn(32_000)])
    return made


def chunk_by_chunk(model: ConformerStudent, features: Tensor, chunk_ms: int) -> Tensor:
    """Step through features [1, T, F]; what lies behind their end must not matter."""
    size, frames = chunk_ms // 10, features.shape[1]
    assert model.context is not None
    window = size + model.context.ahead * model.factor
    state, pieces = model.initial_state(), []
    for start in range(0, frames, size):
        piece = features[:, start : start + window]
        length = piece.shape[1]
        padded = functional.pad(piece, (0, 0, 0, window - length), value=-23.0)
        log_probs, (count,), state = model.step(padded, torch.tensor([length]), state)
        pieces.append(log_probs[:, :count])
    return torch.cat(pieces, dim=1)


@given(
    frames=st.integers(1, 150),
    chunk_ms=st.sampled_from([80, 160, 320]),
    frame_shift_ms=st.sampled_from([20, 40, 80]),
    look_ahead_ms=st.sampled_from([0, 80, 240]),
    left_ms=st.sampled_from([0, 320]),
    seed=st.integers(0, 99),
)
@settings(max_examples=30)
@torch.no_grad()
def test_chunk_by_chunk_is_the_masked_pass(
    frames: int, chunk_ms: int, frame_shift_ms: int, look_ahead_ms: int, left_ms: int, seed: int
) -> None:
    model = student(frame_shift_ms, look_ahead_ms, left_ms)
    model.select_chunk(chunk_ms)
    features = 3 * torch.randn(1, frames, 80, generator=torch.Generator().manual_seed(seed)) - 8
    lengths = torch.tensor([frames])
    whole, _ = model.encode(model.scaled(features, lengths), lengths)
    torch.testing.assert_close(chunk_by_chunk(model, features, chunk_ms), whole, atol=1e-4, rtol=0)


@given(
    chunk=st.integers(0, 4),
    chunk_ms=st.sampled_from([80, 160]),
    frame_shift_ms=st.sampled_from([20, 40]),
    look_ahead_ms=st.sampled_from([0, 80]),
)
@settings(max_examples=20)
@torch.no_grad()
def test_later_audio_changes_nothing(
    chunk: int, chunk_ms: int, frame_shift_ms: int, look_ahead_ms: int
) -> None:
    """Neither the audio behind a chunk and its look-ahead, nor that beyond what reaches back."""
    model = student(frame_shift_ms, look_ahead_ms)
    model.select_chunk(chunk_ms)
    torch.manual_seed(1)
    features, size = torch.randn(1, 120, 80), chunk_ms // 10
    seen = (chunk + 1) * size + look_ahead_ms // 10
    other = features.clone()
    other[:, seen:] = 20 * torch.randn_like(other[:, seen:])
    lengths = torch.tensor([120])
    one, two = (model.encode(x, lengths)[0] for x in (features, other))
    printed = (chunk + 1) * size // model.factor
    torch.testing.assert_close(one[:, :printed], two[:, :printed], atol=1e-5, rtol=0)
    assert not torch.allclose(one[:, printed], two[:, printed], atol=1e-3)


@torch.no_grad()
def test_padding_and_company_change_nothing() -> None:
    model = student(40)
    model.select_chunk(160)
    torch.manual_seed(2)
    samples = [1_700, 16_000, 9_333]
    waveforms = [torch.randn(n) for n in samples]
    batch = torch.full((3, 20_000), 7.0)
    for row, waveform in zip(batch, waveforms, strict=True):
        row[: len(waveform)] = waveform
    together, lengths = model(batch, torch.tensor(samples))
    for row, waveform in enumerate(waveforms):
        alone, _ = model(waveform[None], torch.tensor([len(waveform)]))
        torch.testing.assert_close(together[row, : lengths[row]], alone[0], atol=2e-5, rtol=0)


def test_a_batch_with_look_ahead_learns_what_its_utterances_learn_alone() -> None:
    """Chunks beyond an end hold nothing: neither NaN nor a gradient comes out of them."""
    model = student(40, 80)
    model.select_chunk(160)
    waveforms, samples = torch.randn(2, 30_000), torch.tensor([30_000, 2_000])
    grads = []
    for rows in ([0, 1], [0], [1]):
        model.zero_grad()
        log_probs, lengths = model(waveforms[rows], samples[rows])
        sum(x[:count].square().sum() for x, count in zip(log_probs, lengths, strict=True)).backward()
        grads.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    torch.testing.assert_close(grads[0], grads[1] + grads[2], rtol=1e-3, atol=1e-2)


@torch.no_grad()
def test_full_context_is_the_offline_student() -> None:
    """With the same weights, to the bit: what was trained offline can learn to stream."""
    model = student(40)
    model.select_chunk(None)
    offline = ConformerStudent(ConformerConfig(**TINY, frame_shift_ms=40, normalize="fixed"), 6).eval()
    offline.load_state_dict(model.state_dict())
    waveforms, samples = torch.randn(2, 24_000), torch.tensor([24_000, 15_000])
    assert torch.equal(model(waveforms, samples)[0], offline(waveforms, samples)[0])


def test_a_student_of_20_ms_begins_with_weights_of_40() -> None:
    one = student(20)
    other = ConformerStudent(one.config.model_copy(update={"frame_shift_ms": 40}), 6)
    begun = ConformerStudent(one.config, 6)
    begun.start_from(other, [])
    assert all(torch.equal(x, y) for x, y in zip(begun.parameters(), other.parameters(), strict=True))
    with pytest.raises(ConfigError, match="another shape"):
        student(80).start_from(other, [])


def test_training_draws_chunks_anew_and_the_seed_decides() -> None:
    model = student(40).train()
    model.select_chunk(320)
    waveforms, samples = torch.randn(1, 24_000), torch.tensor([24_000])

    def drawn() -> list[float]:
        torch.manual_seed(5)
        return [model(waveforms, samples)[0].sum().item() for _ in range(12)]

    try:
        model.apply(lambda module: module.__setattr__("p", 0.0) if hasattr(module, "p") else None)
        once = drawn()
        assert once == drawn()
        assert len(set(once)) == 4  # 160, 320, 640 ms and full
    finally:
        model.eval()


def test_what_cannot_stream_says_so() -> None:
    offline = ConformerStudent(ConformerConfig(**TINY, frame_shift_ms=40), 6)
    with pytest.raises(ConfigError, match=r"student\.streaming"):
        offline.select_chunk(320)
    offline.select_chunk(None)
    with pytest.raises(ConfigError, match="100 ms are no multiple"):
        student(40).select_chunk(100)
    with pytest.raises(ValueError, match="fixed or none"):
        ConformerConfig.model_validate({"streaming": {}, "normalize": "per_feature"})
