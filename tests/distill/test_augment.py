"""SpecAugment masks what it says, reproducibly."""

import torch

from kdcompress.config.training import SpecAugmentConfig
from kdcompress.distill.augment import SpecAugment


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
