"""Mean and scale of each mel band, measured once over the training audio.

B batch, T frames, F mel bands.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from kdcompress.errors import AudioError
from kdcompress.frontend.logmel_numpy import STD_GUARD
from kdcompress.frontend.masks import valid_frames


class FixedScaling(nn.Module):
    """Features less their mean, times their scale, both of the training audio: no statistics of an utterance.

    What an utterance becomes then depends on none of its other frames, so that it can be streamed, and a
    silent one is not blown up. Kept with the weights; zero and one until they are measured.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, bands: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(bands))
        self.register_buffer("scale", torch.ones(bands))

    @property
    def measured(self) -> bool:
        """Whether it holds statistics."""
        return bool(self.mean.any())

    @torch.no_grad()
    def measure(self, features: Iterable[Tensor]) -> None:
        """Take mean and scale over the frames of all features [T, F].

        Raises:
            AudioError: there are none.
        """
        count = 0
        total, squares = torch.zeros(2, len(self.mean), dtype=torch.float64, device=self.mean.device)
        for frames_TF in features:
            count += len(frames_TF)
            total += frames_TF.double().sum(0)
            squares += frames_TF.double().square().sum(0)
        if not count:
            raise AudioError("no audio could be read to measure the features' means by; see data.audio")
        mean = total / count
        deviation = (squares / count - mean.square()).clamp(min=0).sqrt()
        self.mean.copy_(mean)
        self.scale.copy_(1 / (deviation + STD_GUARD))

    def forward(self, features_BTF: Tensor, lengths_B: Tensor) -> Tensor:
        """Scale features; frames beyond an utterance's own are zero."""
        valid = valid_frames(lengths_B, features_BTF.shape[1])[..., None]
        return (features_BTF - self.mean) * self.scale * valid
