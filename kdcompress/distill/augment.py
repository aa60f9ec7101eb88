"""Augment the student's audio and features; the teacher gets them clean."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from kdcompress.audio.utterance import SAMPLE_RATE
from kdcompress.config.training import SpecAugmentConfig


@dataclass(frozen=True)
class SpecAugment:
    """Zero random stretches of time and mel bands (Park et al. 2019, arXiv 1904.08779).

    Zero is the mean of normalised features. Every utterance has masks, and a warp of the bands, of its own.
    """

    config: SpecAugmentConfig

    def __call__(self, features_BTF: Tensor, lengths_B: Tensor) -> Tensor:
        """Return a masked copy of features [B, T, F]."""
        if self.config.band_warp:
            features_BTF = _warp_bands(features_BTF, self.config.band_warp)
        _, frames, bands = features_BTF.shape
        kept = torch.ones_like(features_BTF, dtype=torch.bool)
        for _ in range(self.config.time_masks):
            widest = (lengths_B * self.config.time_share).long()
            kept &= ~_stretch(widest, lengths_B, frames)[:, :, None]
        for _ in range(self.config.band_masks):
            size = torch.full_like(lengths_B, bands)
            kept &= ~_stretch(torch.full_like(lengths_B, self.config.band_width), size, bands)[:, None, :]
        return features_BTF * kept


def delay(waveforms_BS: Tensor, most_ms: float) -> Tensor:
    """Start a batch of waveforms 0…most_ms later, with zeros in front; what runs over the end is cut off."""
    samples = int(torch.randint(int(most_ms / 1000 * SAMPLE_RATE) + 1, ()))
    return functional.pad(waveforms_BS, (samples, -samples))


def _warp_bands(features_BTF: Tensor, most: float) -> Tensor:
    """Read band f at f·(1 + a), with one a in ±most per utterance, between bands linearly."""
    count, _, bands = features_BTF.shape
    device = features_BTF.device
    factor = 1 + most * (2 * torch.rand(count, 1, device=device) - 1)
    at = (torch.arange(bands, device=device) * factor).clamp(max=bands - 1)
    low = at.long().clamp(max=bands - 2)
    share = (at - low)[:, None, :]
    index = low[:, None, :].expand_as(features_BTF)
    return features_BTF.gather(2, index) * (1 - share) + features_BTF.gather(2, index + 1) * share


def _stretch(widest_B: Tensor, size_B: Tensor, positions: int) -> Tensor:
    """Return bool [B, positions]: one uniformly placed stretch of 0…widest positions per utterance."""
    device = size_B.device
    width = (torch.rand(len(size_B), device=device) * (widest_B + 1)).long()
    start = (torch.rand(len(size_B), device=device) * (size_B - width + 1).clamp(min=1)).long()
    at = torch.arange(positions, device=device)[None, :]
    return (at >= start[:, None]) & (at < (start + width)[:, None])
