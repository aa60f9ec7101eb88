"""The student of this project: log-mel features, a Conformer, a CTC head."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from kdcompress.aliases import Progress
from kdcompress.config.student import ConformerConfig
from kdcompress.errors import ConfigError
from kdcompress.frontend.logmel_numpy import BANDS
from kdcompress.students.encoder import Conformer
from kdcompress.students.features import FeatureStudent
from kdcompress.students.pruning import narrow, widen
from kdcompress.students.student import Augment, Student


class ConformerStudent(FeatureStudent):
    """Front end, Conformer, linear head."""

    Config = ConformerConfig
    config: ConformerConfig

    def __init__(self, config: ConformerConfig, vocabulary_size: int) -> None:
        super().__init__(config, vocabulary_size, config.frontend, config.normalize)
        self.exits = len(config.exits)
        self.encoder = Conformer(config, BANDS, self.factor)
        self.head = nn.Linear(config.width, vocabulary_size)

    def encode(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Map features [B, T, F] and lengths [B] to log-probabilities [B, ⌈T / factor⌉, V] and lengths."""
        encoded, lengths = self.encoder(features, lengths)
        return self.head(encoded).float().log_softmax(dim=-1), lengths

    def forward(
        self, waveforms: Tensor, lengths: Tensor, augment: Augment | None = None, *, exits: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Map waveforms to log-probabilities; see `Student.forward`, and `Student.exits`."""
        features, lengths = self.features(waveforms, lengths, augment)
        if not exits:
            return self.encode(features, lengths)
        encodings, lengths = self.encoder.at_exits(features, lengths)
        return self.head(torch.stack(encodings)).float().log_softmax(dim=-1), lengths

    def start_from(
        self, other: Student, waveforms: Iterable[Tensor], on_progress: Progress | None = None
    ) -> None:
        """Take over the weights of a Conformer; of a deeper one, those of some of its layers.

        Where the deeper one was trained with an exit at this one's depth, those below it: they work with the
        head as they are. Else evenly spaced ones, the first and the last among them (as distil-whisper
        chooses, arXiv 2311.00430): the front and the head keep the layers they were trained beside. Of wider
        feed-forward modules, the units that explain most of the output on the audio, refitted; narrower ones
        get units that add nothing at first (see `pruning`).

        Raises:
            ConfigError: it is shallower, or differs in more than that, feed_forward, dropout, exits and
                normalize.
            AudioError: feed-forward modules are to be narrower, and there are no waveforms.
        """
        config, theirs = self.config, other.config
        names = ("dropout", "layers", "exits", "feed_forward", "normalize")
        free = {name: getattr(config, name) for name in names}
        if not isinstance(other, ConformerStudent) or not isinstance(theirs, ConformerConfig):
            raise ConfigError(f"it is a student of kind {theirs.kind}, this one of kind {config.kind}")
        if config.layers > theirs.layers or config != theirs.model_copy(update=free):
            raise ConfigError(
                f"it has another shape (width {theirs.width}, {theirs.layers} layers, "
                f"{theirs.frame_shift_ms} ms): only `feed_forward`, `dropout`, `exits` and `normalize` may "
                "be other than there, and `layers` smaller"
            )
        inner = int(config.width * config.feed_forward)
        if config.feed_forward < theirs.feed_forward:
            features = (other.features(x[None], torch.tensor([len(x)], device=x.device)) for x in waveforms)
            narrow(other.encoder, inner, features, on_progress)
        elif config.feed_forward > theirs.feed_forward:
            widen(other.encoder, inner)
        blocks = list(other.encoder.blocks)
        step = (theirs.layers - 1) / max(1, config.layers - 1)
        if config.layers in theirs.exits:
            step = 1
        other.encoder.blocks = nn.ModuleList(blocks[round(step * index)] for index in range(config.layers))
        mine = self.state_dict()
        self.load_state_dict(mine | {name: x for name, x in other.state_dict().items() if name in mine})
