"""Which frames of a padded batch count."""

import torch
from torch import Tensor


def valid_frames(lengths: Tensor, frames: int) -> Tensor:
    """Return bool [B, T]: True where a frame lies within its utterance."""
    return torch.arange(frames, device=lengths.device)[None, :] < lengths[:, None]
