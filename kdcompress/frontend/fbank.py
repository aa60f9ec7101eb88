"""Kaldi's log-mel features in torch: the input of students for icefall's runtimes in training.

B batch, S samples, T frames, F mel bands. The same definition as `fbank_numpy`, which owns the constants.
"""

import torch
from torch import Tensor, nn

from kdcompress.frontend.fbank_numpy import (
    FIRST,
    FLOOR,
    HOP,
    N_FFT,
    PREEMPHASIS,
    WINDOW,
    frame_count,
    mel_filterbank,
    povey_window,
)


class Fbank(nn.Module):
    """Kaldi's features of a padded batch.

    An utterance's features depend neither on padding nor on the rest of its batch: its own waveform is
    mirrored at its own end.
    """

    window: Tensor
    filterbank: Tensor

    def __init__(self) -> None:
        super().__init__()
        # Not persistent: constants of the definition, not weights of a model.
        self.register_buffer("window", torch.from_numpy(povey_window().copy()), persistent=False)
        self.register_buffer("filterbank", torch.from_numpy(mel_filterbank().copy()), persistent=False)

    @torch.no_grad()
    def forward(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Compute features.

        Args:
            waveforms: float32 [B, S] at 16 kHz; what is beyond an utterance's length is ignored.
            lengths: int64 [B] [samples].

        Returns:
            features: float32 [B, T, F]; zero beyond an utterance's own frames.
            frames: int64 [B], lengths / 160 rounded half up; 0 for an utterance of less than 5 ms.
        """
        frames = torch.div(lengths + HOP // 2, HOP, rounding_mode="floor")
        time = torch.arange(frame_count(waveforms.shape[1]), device=waveforms.device)
        index_TW = FIRST + HOP * time[:, None] + torch.arange(WINDOW, device=waveforms.device)
        # Mirrored at both ends of its own utterance, as often as needed.
        period = 2 * lengths.clamp(min=1)[:, None, None]
        index_BTW = index_TW % period
        index_BTW = torch.minimum(index_BTW, period - 1 - index_BTW)
        # Half precision would cost more accuracy here than anywhere else in the model.
        with torch.autocast(waveforms.device.type, enabled=False):
            framed = waveforms.float().gather(1, index_BTW.flatten(1)).reshape(index_BTW.shape)
            framed = framed - framed.mean(dim=2, keepdim=True)
            before = torch.cat([framed[:, :, :1], framed[:, :, :-1]], dim=2)
            spectrum = torch.fft.rfft((framed - PREEMPHASIS * before) * self.window, N_FFT)
            power = spectrum.real.square() + spectrum.imag.square()
            features = (power @ self.filterbank).clamp_min(FLOOR).log()
            valid = time < frames[:, None]
            return features * valid.unsqueeze(2), frames
