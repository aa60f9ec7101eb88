"""SpecAugment on the student's features; the teacher hears clean audio."""

from dataclasses import dataclass

import torch
from torch import Tensor

from kdcompress.config.training import SpecAugmentConfig


@dataclass(frozen=True)
class SpecAugment:
    """Zero random stretches of time and mel bands (Park et al. 2019, arXiv 1904.08779).

    Zero is the mean of normalised features. Every utterance has masks of its own.
    """

    config: SpecAugmentConfig

    def __call__(self, features_BTF: Tensor, lengths_B: Tensor) -> Tensor:
        """Return a masked copy of features [B, T, F]."""
        _, frames, bands = features_BTF.shape
        kept = torch.ones_like(features_BTF, dtype=torch.bool)
        for _ in range(self.config.time_masks):
            widest = (lengths_B * self.config.time_share).long()
            kept &= ~_stretch(widest, lengths_B, frames)[:, :, None]
        for _ in range(self.config.band_masks):
            size = torch.full_like(lengths_B, bands)
            kept &= ~_stretch(torch.full_like(lengths_B, self.config.band_width), size, bands)[:, None, :]
        return features_BTF * kept


def _stretch(widest_B: Tensor, size_B: Tensor, positions: int) -> Tensor:
    """Return bool [B, positions]: one uniformly placed stretch of 0…widest positions per utterance."""
    device = size_B.device
    width = (torch.rand(len(size_B), device=device) * (widest_B + 1)).long()
    start = (torch.rand(len(size_B), device=device) * (size_B - width + 1).clamp(min=1)).long()
    at = torch.arange(positions, device=device)[None, :]
    return (at >= start[:, None]) & (at < (start + width)[:, None])
