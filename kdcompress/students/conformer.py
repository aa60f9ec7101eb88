"""The student of this project: log-mel features, a Conformer, a CTC head."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn

from kdcompress.aliases import Progress
from kdcompress.config.profile import LayoutName
from kdcompress.config.student import ConformerConfig
from kdcompress.errors import ConfigError
from kdcompress.frontend.logmel_numpy import BANDS
from kdcompress.runtime.layout import LAYOUTS
from kdcompress.students.chunks import Chunks
from kdcompress.students.encoder import Conformer, ConformerBlock, State, layer_of
from kdcompress.students.features import FEATURE_SHIFT_MS, FeatureStudent
from kdcompress.students.layers import widen
from kdcompress.students.pruning.anatomy import Anatomy
from kdcompress.students.pruning.prune import Cut, prune
from kdcompress.students.student import Augment, Student
from kdcompress.students.view import ExportView


class ConformerStudent(FeatureStudent):
    """Front end, Conformer, linear head."""

    Config = ConformerConfig
    config: ConformerConfig

    def __init__(self, config: ConformerConfig, vocabulary_size: int) -> None:
        """Make one of random weights.

        Raises:
            ConfigError: a size of chunks is no multiple of the frame shift, or that is still open.
        """
        super().__init__(config, vocabulary_size, config.frontend, config.normalize)
        self.exits = len(config.exits)
        self.contexts = self._contexts()
        self.context = self.contexts[0]
        self.streams = config.streaming is not None
        self.encoder = Conformer(config, BANDS, self.factor)
        self.head = nn.Linear(config.width, vocabulary_size)
        self.anatomy().shape(config.sizes)

    def encode(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Map features [B, T, F] and lengths [B] to log-probabilities [B, ⌈T / factor⌉, V] and lengths."""
        encoded, lengths = self.encoder(features, lengths, self._drawn())
        return self._log_probs(encoded), lengths

    def forward(
        self,
        waveforms: Tensor,
        lengths: Tensor,
        augment: Augment | None = None,
        *,
        exits: bool = False,
        full_rows: int = 0,
    ) -> tuple[Tensor, Tensor]:
        """Map waveforms to log-probabilities; see `Student.forward`, its `exits` and its `streams`."""
        features, lengths = self.features(waveforms, lengths, augment)
        chunks, rest = self._drawn(), len(lengths) - full_rows
        encodings, counts = self.encoder.at_exits(features[:rest], lengths[:rest], chunks)
        if full_rows:
            full, full_counts = self.encoder.at_exits(features[rest:], lengths[rest:])
            encodings = [torch.cat(both) for both in zip(encodings, full, strict=True)]
            counts = torch.cat((counts, full_counts))
        return self._log_probs(torch.stack(encodings) if exits else encodings[-1]), counts

    def select_chunk(self, chunk_ms: int | None) -> None:
        """Choose the chunks of eval mode; see `Student.select_chunk`."""
        if self.config.streaming is None:
            super().select_chunk(chunk_ms)
        else:
            self.context = self._context("full" if chunk_ms is None else chunk_ms)

    def initial_state(self, batch: int = 1) -> State:
        """Return the state of a streaming student before the first chunk of each of some utterances."""
        assert self.config.streaming is not None
        return self.encoder.initial_state(batch, self.config.streaming.left_ms // self._shift_ms)

    def step(self, features: Tensor, lengths: Tensor, state: State) -> tuple[Tensor, Tensor, State]:
        """Map the features of a chunk to its log-probabilities, given the state that the last one left.

        Args:
            features: of the front end [B, T, F], T a multiple of the factor; the look-ahead at their end.
            lengths: T, or what the last chunk of an utterance has; at least 1.

        Returns:
            Log-probabilities [B, T', V] of the chunk, lengths, and the state for the next chunk.
        """
        ahead = 0 if self.context is None else self.context.ahead
        encoded, lengths, state = self.encoder.step(self.scaled(features, lengths), lengths, state, ahead)
        return self._log_probs(encoded), lengths, state

    def export_view(self, layout: LayoutName) -> ExportView:
        """Return what is traced; for a layout with states, one chunk."""
        if not LAYOUTS[layout].states:
            return super().export_view(layout)
        if self.context is None:
            raise ConfigError(f"the profile {layout} is for chunks of a fixed size: give --chunk-ms")
        if layout == "telephone":
            if self.context.ahead:
                raise ConfigError("the profile telephone has no look-ahead: train with look_ahead_ms: 0")
            from kdcompress.students.telephone import telephone_view  # not above: it derives from this

            return telephone_view(self, super().export_view("portable"))
        chunk = (self.context.frames + self.context.ahead) * self.factor
        features = torch.zeros(2, BANDS, chunk, device=self.head.weight.device)
        lengths = torch.tensor([chunk, chunk // 2], device=features.device)
        return replace(
            super().export_view("portable"),
            module=StreamGraph(self).eval(),
            layout=LAYOUTS[layout],
            example=(features, lengths, *self.initial_state(2)),
            whole=self._whole,
            look_ahead=self.context.ahead * self.factor,
        )

    def _whole(self, features: Tensor) -> Tensor:
        lengths = torch.tensor([len(features)], device=features.device)
        log_probs, _ = self.encode(self.scaled(features[None], lengths), lengths)
        return log_probs[0]

    def _log_probs(self, encoded: Tensor) -> Tensor:
        return self.head(encoded).float().log_softmax(dim=-1)

    def _drawn(self) -> Chunks | None:
        """Return what a frame depends on: in training one of the contexts, drawn anew at each call."""
        if self.training and len(self.contexts) > 1:
            return self.contexts[int(torch.randint(len(self.contexts), ()))]
        return self.context

    @property
    def _shift_ms(self) -> int:
        return self.factor * FEATURE_SHIFT_MS

    def _contexts(self) -> tuple[Chunks | None, ...]:
        streaming = self.config.streaming
        return (None,) if streaming is None else tuple(map(self._context, streaming.chunk_ms))

    def _context(self, chunk_ms: int | str) -> Chunks | None:
        assert self.config.streaming is not None
        if chunk_ms == "full":
            return None
        ahead_ms, shift = self.config.streaming.look_ahead_ms, self._shift_ms
        for what, size in (("chunks", int(chunk_ms)), ("look-aheads", ahead_ms)):
            if size % shift:
                raise ConfigError(
                    f"{what} of {size} ms are no multiple of the student's frame shift, {shift} ms"
                )
        return Chunks(int(chunk_ms) // shift, self.config.streaming.left_ms // shift, ahead_ms // shift)

    def anatomy(self) -> Anatomy:
        """Describe feed-forward units, heads and convolution channels; see `Student.anatomy`."""
        blocks = cast("list[ConformerBlock]", list(self.encoder.blocks))
        return Anatomy(
            tuple(layer_of(f"{index}.", block, streams=self.streams) for index, block in enumerate(blocks)),
            self,
            lambda x: self._log_probs(x),
        )

    def keep_layers(self, kept: Sequence[int]) -> None:
        """Leave the encoder some of its layers; see `Student.keep_layers`."""
        blocks = list(self.encoder.blocks)
        self.encoder.blocks = nn.ModuleList(blocks[index] for index in kept)
        update = {"layers": len(kept), "exits": (), "sizes": self.anatomy().sizes()}
        self.config = self.config.model_copy(update=update)

    def start_from(
        self, other: Student, waveforms: Iterable[Tensor], on_progress: Progress | None = None
    ) -> None:
        """Take over the weights of a Conformer; of a deeper one, those of some of its layers.

        Where the deeper one was trained with an exit at this one's depth, those below it: they work with the
        head as they are. Else evenly spaced ones, the first and the last among them (as distil-whisper
        chooses, arXiv 2311.00430): the front and the head keep the layers they were trained beside. Of wider
        feed-forward modules, the units that explain most of the output on the audio, refitted; narrower ones
        get units that add nothing at first (see `pruning`). Between 20 and 40 ms a frame, weights are of the
        same shapes; they have to learn the other time scale.

        Raises:
            ConfigError: it is shallower, or differs in more than that, feed_forward, dropout, exits,
                normalize, streaming and 20 or 40 ms a frame.
            AudioError: feed-forward modules are to be narrower, and there are no waveforms.
        """
        config, theirs = self.config, other.config
        names: tuple[str, ...] = ("dropout", "layers", "exits", "feed_forward", "normalize", "streaming")
        if {config.frame_shift_ms, getattr(theirs, "frame_shift_ms", 0)} <= {20, 40}:
            names = (*names, "frame_shift_ms")
        free = {name: getattr(config, name) for name in names}
        if not isinstance(other, ConformerStudent) or not isinstance(theirs, ConformerConfig):
            raise ConfigError(f"it is a student of kind {theirs.kind}, this one of kind {config.kind}")
        if config.layers > theirs.layers or config != theirs.model_copy(update=free):
            raise ConfigError(
                f"it has another shape (width {theirs.width}, {theirs.layers} layers, "
                f"{theirs.frame_shift_ms} ms): only `feed_forward`, `dropout`, `exits`, `normalize` and "
                "`streaming` may be other than there, 20 ms 40 or the reverse, and `layers` smaller"
            )
        inner = int(config.width * config.feed_forward)
        if config.feed_forward < theirs.feed_forward:
            narrower = {p.name: inner for _, p in other.anatomy() if p.lever == "feed_forward"}
            pruned = prune(other, Cut(narrower), waveforms, on_progress=on_progress)
            other = cast(ConformerStudent, pruned.student)
        elif config.feed_forward > theirs.feed_forward:
            widen(other.encoder, inner)
        blocks = list(other.encoder.blocks)
        step = (theirs.layers - 1) / max(1, config.layers - 1)
        if config.layers in theirs.exits:
            step = 1
        other.encoder.blocks = nn.ModuleList(blocks[round(step * index)] for index in range(config.layers))
        mine = self.state_dict()
        self.load_state_dict(mine | {name: x for name, x in other.state_dict().items() if name in mine})


class StreamGraph(nn.Module):
    """The graph of a streaming student: one chunk [B, F, T] and the state, in NeMo's order."""

    def __init__(self, student: ConformerStudent) -> None:
        super().__init__()
        self.student = student

    def forward(
        self, features: Tensor, lengths: Tensor, attended: Tensor, tails: Tensor, seen: Tensor
    ) -> tuple[Tensor, ...]:
        """Map a chunk to log-probabilities [B, T', V] and lengths [B] int64, and to the next state."""
        state = (attended, tails, seen)
        log_probs, lengths, state = self.student.step(features.transpose(1, 2), lengths.clamp(min=1), state)
        return log_probs, lengths, *state
