"""The torch features: equal to the numpy ones, and blind to padding and company."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kdcompress.frontend.logmel import LogMel, normalize_features
from kdcompress.frontend.logmel_numpy import Normalize, log_mel


def waveform(samples: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    swell = 0.05 + torch.sin(torch.arange(samples) / 2000) ** 2
    return 0.1 * swell * torch.randn(samples, generator=generator)


def batched(waveforms: list[torch.Tensor], filler: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
    batch = torch.nn.utils.rnn.pad_sequence(waveforms, batch_first=True, padding_value=filler)
    return batch, torch.tensor([len(w) for w in waveforms])


@pytest.mark.parametrize("normalize", ["per_feature", "none"])
@pytest.mark.parametrize("samples", [160, 400, 4321, 32_000])
def test_torch_and_numpy_agree(samples: int, normalize: Normalize) -> None:
    wave = waveform(samples)
    features, frames = LogMel(normalize)(*batched([wave]))
    ours = log_mel(wave.numpy(), normalize=normalize)
    assert frames.tolist() == [len(ours)]
    np.testing.assert_allclose(features[0].numpy(), ours, atol=5e-4)


@pytest.mark.parametrize("normalize", ["per_feature", "none"])
@settings(max_examples=20)
@given(
    sizes=st.lists(st.integers(160, 6000), min_size=1, max_size=4), filler=st.sampled_from([0.0, 0.7, -3.0])
)
def test_padding_and_company_change_nothing(normalize: Normalize, sizes: list[int], filler: float) -> None:
    module = LogMel(normalize)
    waves = [waveform(size, seed) for seed, size in enumerate(sizes)]
    together, frames = module(*batched([*waves, waveform(7000, 99)], filler))
    for i, wave in enumerate(waves):
        alone, own = module(*batched([wave]))
        assert frames[i] == own[0] == len(wave) // 160
        torch.testing.assert_close(together[i, : own[0]], alone[0], atol=1e-3, rtol=0)
        assert torch.all(together[i, own[0] :] == 0)


def test_one_frame_and_no_frame_are_zeros() -> None:
    features, frames = LogMel()(*batched([waveform(200), waveform(100), waveform(2000)]))
    assert frames.tolist() == [1, 0, 12]
    assert torch.all(features[:2] == 0)
    assert torch.isfinite(features).all()


def test_silence_is_zeros() -> None:
    features, _ = LogMel()(*batched([torch.zeros(16_000), waveform(20_000)]))
    assert torch.all(features[0] == 0)


def test_statistics_are_over_own_frames() -> None:
    features, frames = LogMel()(*batched([waveform(16_000), waveform(48_000, 1)]))
    own = features[0, : frames[0]]
    torch.testing.assert_close(own.mean(dim=0), torch.zeros(80), atol=1e-4, rtol=0)
    torch.testing.assert_close(own.std(dim=0), torch.ones(80), atol=1e-3, rtol=0)


def test_autocast_does_not_reach_the_features() -> None:
    wave = batched([waveform(8000)])
    plain, _ = LogMel()(*wave)
    with torch.autocast("cpu", torch.bfloat16):
        cast, _ = LogMel()(*wave)
    assert cast.dtype == torch.float32
    assert torch.equal(cast, plain)


def test_the_input_stays_as_it_was() -> None:
    batch, lengths = batched([waveform(3000), waveform(5000)], filler=0.5)
    before = batch.clone()
    LogMel()(batch, lengths)
    assert torch.equal(batch, before)


def test_nothing_is_saved_with_the_weights() -> None:
    assert LogMel().state_dict() == {}


def test_normalising_padded_features_ignores_what_is_beyond() -> None:
    features = torch.randn(2, 10, 80, generator=torch.Generator().manual_seed(0))
    frames = torch.tensor([6, 10])
    garbage = features.clone()
    garbage[0, 6:] = 1e4
    torch.testing.assert_close(normalize_features(garbage, frames), normalize_features(features, frames))


@pytest.mark.gpu
def test_cuda_agrees_with_the_cpu() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    batch, lengths = batched([waveform(8000), waveform(16_000, 1)])
    there, _ = LogMel().cuda()(batch.cuda(), lengths.cuda())
    torch.testing.assert_close(there.cpu(), LogMel()(batch, lengths)[0], atol=1e-3, rtol=0)
