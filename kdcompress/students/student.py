"""The student: waveform to CTC log-probabilities."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from kdcompress.audio.utterance import SAMPLE_RATE
from kdcompress.config.student import StudentConfig
from kdcompress.errors import ConfigError
from kdcompress.frontend.fbank import Fbank
from kdcompress.frontend.logmel import LogMel
from kdcompress.frontend.logmel_numpy import BANDS, HOP
from kdcompress.students.conformer import Conformer

Augment = Callable[[Tensor, Tensor], Tensor]

FEATURE_SHIFT_MS = 1000 * HOP // SAMPLE_RATE


class CtcStudent(nn.Module):
    """Front end, Conformer, linear head.

    Padding and the other utterances of a batch do not change an utterance's output.

    Attributes:
        factor: feature frames per output frame.
        frame_shift: of the output [s].

    Raises:
        ConfigError: the frame shift is still open (`frame_shift_ms` None).
    """

    def __init__(self, config: StudentConfig, vocabulary_size: int) -> None:
        super().__init__()
        if config.frame_shift_ms is None:
            raise ConfigError(
                "student.frame_shift_ms is open: give 20, 40 or 80, or a teacher to take it from"
            )
        self.config = config
        self.factor = config.frame_shift_ms // FEATURE_SHIFT_MS
        self.frame_shift = config.frame_shift_ms / 1000
        self.frontend = Fbank() if config.frontend == "kaldi" else LogMel(normalize=config.normalize)
        self.encoder = Conformer(config, BANDS, self.factor)
        self.head = nn.Linear(config.width, vocabulary_size)

    def encode(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Map features [B, T, F] and lengths [B] to log-probabilities [B, ⌈T / factor⌉, V] and lengths."""
        encoded, lengths = self.encoder(features, lengths)
        return self.head(encoded).float().log_softmax(dim=-1), lengths

    def forward(
        self, waveforms: Tensor, lengths: Tensor, augment: Augment | None = None, *, exits: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Map 16 kHz waveforms [B, S] and lengths [B] to log-probabilities [B, T, V] float32 and lengths.

        Args:
            augment: changes features [B, T, F] given their lengths [B]; training passes SpecAugment.
            exits: give those of all E exits too, as [E + 1, B, T, V]; the last is that of the whole model.
        """
        features, lengths = self.frontend(waveforms, lengths)
        if augment is not None:
            features = augment(features, lengths)
        if not exits:
            return self.encode(features, lengths)
        encodings, lengths = self.encoder.at_exits(features, lengths)
        return self.head(torch.stack(encodings)).float().log_softmax(dim=-1), lengths

    def output_lengths(self, samples: Tensor) -> Tensor:
        """Return the output frames [B] of waveforms with so many samples [B]."""
        begun = HOP // 2 if self.config.frontend == "kaldi" else 0  # Kaldi counts half a hop as a frame
        return -(-((samples + begun) // HOP) // self.factor)

    def parameter_count(self) -> int:
        """Return the number of trained values."""
        return sum(p.numel() for p in self.parameters())
