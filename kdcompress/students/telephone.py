"""A streaming student for telephone calls: 300 ms of samples at 8 kHz and a state, front end in the graph.

The layout is that of T-one, which sherpa-onnx's `OnlineRecognizer.from_t_one_ctc` loads. What the graph
computes is what the student makes of the same samples at 16 kHz, 10 ms late.

N streams, S samples, T feature frames, F mel bands.
"""

import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from kdcompress.frontend.logmel_numpy import (
    HOP,
    LOG_GUARD,
    N_FFT,
    PREEMPHASIS,
    WINDOW,
    hann_window,
    mel_filterbank,
)
from kdcompress.runtime.frontend import TELEPHONE_RATE, telephone_hops
from kdcompress.runtime.layout import LAYOUTS
from kdcompress.students.conformer import ConformerStudent
from kdcompress.students.encoder import State
from kdcompress.students.view import ExportView

CHUNK_MS = 300
LATE_MS = 10  # the last windows of a chunk would reach beyond it
SAMPLES = TELEPHONE_RATE * CHUNK_MS // 1000
HOP_8K = TELEPHONE_RATE // 100
FULL_SCALE = 32767.0
_TAPS = 40  # on each side of a new sample: images are 90 dB down, below what windows let through
_PAST = HOP_8K + WINDOW // 4 + _TAPS  # [samples] that windows of the next chunk reach back to
_FINE = 16.0  # samples are kept in two parts, since half precision has 11 bits


class TelephoneGraph(nn.Module):
    """The graph of a chunk: samples int32 [N, 2400, 1] and state float16 [N, D]."""

    taps: Tensor
    window: Tensor
    bands: Tensor

    def __init__(self, student: ConformerStudent) -> None:
        super().__init__()
        self.student = student
        self.register_buffer("taps", _interpolation()[None, None], persistent=False)
        self.register_buffer("window", torch.from_numpy(hann_window().copy()), persistent=False)
        bands = torch.from_numpy(mel_filterbank().T.copy())[:, :, None]
        self.register_buffer("bands", bands, persistent=False)
        self.shapes = [(_PAST,), (_PAST,), *(part.shape[1:] for part in student.initial_state())]

    @property
    def size(self) -> int:
        """D of the state."""
        return sum(math.prod(shape) for shape in self.shapes)

    def forward(self, signal: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Map a chunk to log-probabilities [N, T / factor, V] and to the next state."""
        parts = state.float().split([math.prod(shape) for shape in self.shapes], dim=1)
        coarse, fine, *caches = (x.reshape(-1, *shape) for x, shape in zip(parts, self.shapes, strict=True))
        samples = torch.cat((_FINE * coarse + fine, signal.flatten(1).float()), dim=1)
        features = self.features(samples / FULL_SCALE)
        lengths = torch.full_like(signal[:, 0, 0], features.shape[1], dtype=torch.int64)
        attended, tails, seen = caches
        inner: State = (attended, tails, seen.long())
        log_probs, _, inner = self.student.step(features, lengths, inner)
        kept = samples[:, samples.shape[1] - _PAST :]
        coarse = (kept / _FINE).floor()
        after = [coarse, kept - _FINE * coarse, *(part.flatten(1).float() for part in inner[:2])]
        return log_probs, torch.cat((*after, inner[2][:, None].float()), dim=1).half()

    def features(self, samples: Tensor) -> Tensor:
        """Map samples [N, _PAST + S] to the T = S / 80 frames [N, T, F] from 10 ms before the new ones on."""
        frames = (samples.shape[1] - _PAST) // HOP_8K
        between = functional.conv1d(samples[:, None], self.taps)[:, 0]
        pairs = ((frames - 1) * HOP + WINDOW) // 2 + 1
        doubled = torch.stack((between[:, :pairs], samples[:, _TAPS : _TAPS + pairs]), dim=2).flatten(1)
        emphasised = doubled[:, 1:] - PREEMPHASIS * doubled[:, :-1]
        cut = emphasised[:, : (frames - 1) * HOP + WINDOW].unfold(1, WINDOW, HOP)
        spectrum = torch.fft.rfft(cut * self.window, N_FFT)
        power = spectrum.real.square() + spectrum.imag.square()
        # A convolution: products of matrices would be made integer by some presets.
        energies = functional.conv1d(power.transpose(1, 2), self.bands)
        return (energies + LOG_GUARD).log().transpose(1, 2)

    def whole(self, hops: Tensor) -> Tensor:
        """Map all samples, in hops [T, 80], to the log-probabilities [T', V] that chunks must give."""
        samples, frames = (FULL_SCALE * hops.flatten().clamp(-1, 1)).trunc() / FULL_SCALE, len(hops)
        chunk = SAMPLES // HOP_8K
        missing = -frames % chunk * HOP_8K
        features = self.features(functional.pad(samples, (_PAST, missing))[None])
        lengths = torch.tensor([features.shape[1]], device=features.device)
        log_probs, _ = self.student.encode(self.student.scaled(features, lengths), lengths)
        return log_probs[0, : -(-frames // self.student.factor)]


def telephone_view(student: ConformerStudent, view: ExportView) -> ExportView:
    """Return what is traced for telephone calls, given the view of the student's features."""
    graph = TelephoneGraph(student).eval()
    device = graph.taps.device
    signal = torch.zeros(2, SAMPLES, 1, dtype=torch.int32, device=device)
    return replace(
        view,
        module=graph,
        layout=LAYOUTS["telephone"],
        example=(signal, torch.zeros(2, graph.size, dtype=torch.float16, device=device)),
        prepare=lambda waveform: torch.from_numpy(telephone_hops(waveform.cpu().numpy())).to(device),
        sample_rate=TELEPHONE_RATE,
        whole=graph.whole,
    )


def _interpolation() -> Tensor:
    """Return the filter that puts a sample between each two: a windowed sinc, of sum 1."""
    at = np.arange(-_TAPS, _TAPS) + 0.5
    taps = np.sinc(at) * np.kaiser(2 * _TAPS, 9.0)
    return torch.from_numpy((taps / taps.sum()).astype(np.float32))
