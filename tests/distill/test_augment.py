"""SpecAugment masks what it says, reproducibly."""

import torch

from kdcompress.config.training import SpecAugmentConfig
from kdcompress.distill.augment import SpecAugment, delay


def masked(config: SpecAugmentConfig, seed: int = 0) -> torch.Tensor:
    torch.manual_seed(seed)
    return SpecAugment(config)(torch.ones(3, 200, 80), torch.tensor([200, 100, 50])) == 0


def test_bands_and_times_stay_within_their_widths() -> None:
    bands = masked(SpecAugmentConfig(time_masks=0, band_masks=1, band_width=9))
    assert (bands.all(dim=1).sum(dim=1) <= 9).all()
    assert torch.equal(
        bands.all(dim=1), bands.any(dim=1)
    )  # a band is masked for the whole time or not at all
    times = masked(SpecAugmentConfig(time_masks=1, time_share=0.1, band_masks=0))
    widest = times.all(dim=2).sum(dim=1)
    assert (widest <= torch.tensor([20, 10, 5])).all()
    assert torch.equal(times.all(dim=2), times.any(dim=2))


def test_masks_differ_between_utterances_and_follow_the_seed() -> None:
    config = SpecAugmentConfig(band_width=30)
    first = masked(config)
    assert not torch.equal(first[0], first[1])
    assert torch.equal(first, masked(config))
    assert not torch.equal(first, masked(config, seed=1))


def test_no_masks_change_nothing() -> None:
    assert not masked(SpecAugmentConfig(time_masks=0, band_masks=0)).any()


def test_warped_bands_move_a_peak_by_no_more_than_asked() -> None:
    features = torch.zeros(64, 3, 80)
    features[:, :, 40] = 1
    config = SpecAugmentConfig(time_masks=0, band_masks=0, band_warp=0.1)
    torch.manual_seed(0)
    warped = SpecAugment(config)(features, torch.full((64,), 3))
    peaks = warped.argmax(dim=2)
    assert torch.equal(peaks[:, 0], peaks[:, 2])  # one warp per utterance
    assert len(peaks[:, 0].unique()) > 4
    assert (peaks >= 36).all()
    assert (peaks <= 45).all()
    # A straight line stays one: the interpolation is linear.
    line = torch.arange(80.0).expand(1, 1, 80)
    steps = SpecAugment(config)(line, torch.tensor([1]))[0, 0, :70].diff()
    torch.testing.assert_close(steps, steps[:1].expand(69), atol=1e-4, rtol=0)


def test_delay_shifts_and_keeps_the_length() -> None:
    waveforms = torch.arange(1.0, 1001.0).repeat(2, 1)
    torch.manual_seed(0)
    shifts = set()
    for _ in range(20):
        late = delay(waveforms, 10)
        shift = int((late[0] == 0).sum())
        assert torch.equal(late[:, shift:], waveforms[:, : 1000 - shift])
        shifts.add(shift)
    assert len(shifts) > 10
    assert max(shifts) <= 160
    assert torch.equal(delay(waveforms, 0), waveforms)
