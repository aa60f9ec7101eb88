"""Students of mel features: the front end and everything that follows from it.

B batch, S samples, T feature frames, F mel bands, T' output frames, V vocabulary.
"""

from abc import abstractmethod
from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor, nn

from kdcompress.audio.utterance import SAMPLE_RATE
from kdcompress.config.profile import LayoutName
from kdcompress.config.student import StudentConfig
from kdcompress.errors import ConfigError
from kdcompress.frontend.fbank import Fbank
from kdcompress.frontend.logmel import LogMel
from kdcompress.frontend.logmel_numpy import BANDS, HOP, Normalize
from kdcompress.frontend.scaling import FixedScaling
from kdcompress.runtime.bundle import Frontend
from kdcompress.runtime.layout import LAYOUTS
from kdcompress.students.student import Augment, Student
from kdcompress.students.view import ExportView

FEATURE_SHIFT_MS = 1000 * HOP // SAMPLE_RATE

# Odd, and no multiple of any factor: a graph that was only right for the traced length would show.
TRACED_FRAMES = 203


class FeatureStudent(Student):
    """A student that maps features to log-probabilities by `encode`, which is what derived classes add.

    Attributes:
        factor: feature frames per output frame.
        frontend: from waveforms to features.
        scaling: of these features, where it is fixed; first layer of the graph.
    """

    def __init__(
        self,
        config: StudentConfig,
        vocabulary_size: int,
        frontend: str = "logmel",
        normalize: Normalize | Literal["fixed"] = "per_feature",
    ) -> None:
        """Make the front end.

        Args:
            config: its frame shift [ms] is a multiple of 10.
            vocabulary_size: V.
            frontend: `logmel`, or `kaldi` for Kaldi's fbank.
            normalize: of the features; `fixed` is measured over the training audio.

        Raises:
            ConfigError: the frame shift is still open.
        """
        super().__init__()
        if config.frame_shift_ms is None:
            raise ConfigError(
                "student.frame_shift_ms is open: give 20, 40 or 80, or a teacher to take it from"
            )
        self.config, self.vocabulary_size = config, vocabulary_size
        self.factor = int(config.frame_shift_ms) // FEATURE_SHIFT_MS
        self.frame_shift = config.frame_shift_ms / 1000
        self.kaldi = frontend == "kaldi"
        self.normalize: Normalize = "none" if normalize == "fixed" else normalize
        self.frontend = Fbank() if self.kaldi else LogMel(normalize=self.normalize)
        self.scaling = FixedScaling(BANDS) if normalize == "fixed" else None

    @abstractmethod
    def encode(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Map features [B, T, F] and lengths [B] to log-probabilities [B, ⌈T / factor⌉, V] and lengths."""

    def forward(
        self, waveforms: Tensor, lengths: Tensor, augment: Augment | None = None
    ) -> tuple[Tensor, Tensor]:
        """Compute features and encode them; see `Student.forward`."""
        return self.encode(*self.features(waveforms, lengths, augment))

    def features(
        self, waveforms: Tensor, lengths: Tensor, augment: Augment | None = None
    ) -> tuple[Tensor, Tensor]:
        """Map waveforms [B, S] and lengths [B] to features [B, T, F] and lengths."""
        features, lengths = self.frontend(waveforms, lengths)
        features = self.scaled(features, lengths)
        return features if augment is None else augment(features, lengths), lengths

    def scaled(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Map features of the front end [B, T, F] to those that are encoded."""
        return features if self.scaling is None else self.scaling(features, lengths)

    def measure(self, waveforms: Iterable[Tensor]) -> None:
        """Measure mean and scale of the features, where they are fixed and not known yet."""
        if self.scaling is not None and not self.scaling.measured:
            device = self.scaling.mean.device
            self.scaling.measure(self._prepare(x.to(device)) for x in waveforms if len(x) >= HOP)

    def output_lengths(self, samples: Tensor) -> Tensor:
        """Return the output frames [B] of waveforms with so many samples [B]."""
        begun = HOP // 2 if self.kaldi else 0  # Kaldi counts half a hop as a frame
        return -(-((samples + begun) // HOP) // self.factor)

    def export_view(self, layout: LayoutName) -> ExportView:
        """Return the encoder of features; for the layout `waveform`, export puts the front end before it."""
        inside = LAYOUTS["portable" if LAYOUTS[layout].takes_waveforms else layout]
        device = next(self.parameters()).device
        features = torch.zeros(2, TRACED_FRAMES, BANDS, device=device)
        lengths = torch.tensor([TRACED_FRAMES, TRACED_FRAMES // 2], device=device)
        if inside.time_axis == 2:
            features = features.transpose(1, 2).contiguous()
        return ExportView(
            module=FeatureGraph(self, inside.time_axis).eval(),
            layout=inside,
            example=(features, lengths),
            prepare=self._prepare,
            frontend=Frontend("kaldi" if self.kaldi else "logmel", BANDS, self.normalize),
            subsampling_factor=self.factor,
        )

    def _prepare(self, waveform: Tensor) -> Tensor:
        features, _ = self.frontend(waveform[None], torch.tensor([len(waveform)], device=waveform.device))
        return features[0]


class FeatureGraph(nn.Module):
    """The graph of a student of features: [B, F, T] as NeMo's take them, or [B, T, F] as icefall's do."""

    def __init__(self, student: FeatureStudent, time_axis: int) -> None:
        super().__init__()
        self.student, self.time_axis = student, time_axis

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Map features and lengths [B] to log-probabilities [B, T', V] and lengths [B] int64."""
        if self.time_axis == 2:
            features = features.transpose(1, 2)
        # An empty utterance in a batch would leave its attention without a key, and its row NaN.
        lengths = lengths.clamp(min=1)
        return self.student.encode(self.student.scaled(features, lengths), lengths)
