"""A student of depthwise and pointwise convolutions with gates, a few attention layers, and a CTC head.

Its matrices may be products of two thin ones, found in closed form from a trained one (`low_rank`).

B batch, T frames, F mel bands, D width.
"""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from kdcompress.aliases import Progress
from kdcompress.config.student import SeparableConfig
from kdcompress.errors import ConfigError
from kdcompress.frontend.logmel_numpy import BANDS
from kdcompress.frontend.masks import valid_frames
from kdcompress.students.features import FeatureStudent
from kdcompress.students.student import Student


def thin(inputs: int, outputs: int, rank: int | None) -> nn.Module:
    """Return a linear layer, or the product of two through `rank` values."""
    if rank is None:
        return nn.Linear(inputs, outputs)
    return nn.Sequential(nn.Linear(inputs, rank, bias=False), nn.Linear(rank, outputs))


class SeparableBlock(nn.Module):
    """Depthwise and pointwise convolution, SiLU, a gate per channel (Hu et al. 2018, arXiv 1709.01507), sum.

    The gate is computed from the mean over the utterance's own frames.
    """

    def __init__(self, config: SeparableConfig, dilation: int) -> None:
        super().__init__()
        width, kernel = config.width, config.kernel
        around = dilation * (kernel // 2)
        self.depthwise = nn.Conv1d(width, width, kernel, padding=around, dilation=dilation, groups=width)
        self.pointwise = thin(width, width, config.rank)
        self.squeeze = nn.Linear(width, config.gate)
        self.excite = nn.Linear(config.gate, width)

    def forward(self, x_BTD: Tensor, valid_BT1: Tensor) -> Tensor:
        y = functional.silu(self.pointwise(self.spread(x_BTD, valid_BT1)))
        return x_BTD + y * self.excite(self.squeezed(y, valid_BT1)).sigmoid()

    def spread(self, x_BTD: Tensor, valid_BT1: Tensor) -> Tensor:
        """Apply the depthwise convolution."""
        return self.depthwise((x_BTD * valid_BT1).transpose(1, 2)).transpose(1, 2)

    def squeezed(self, y_BTD: Tensor, valid_BT1: Tensor) -> Tensor:
        """Return what the gate is computed from [B, 1, gate]."""
        # One frame rather than none: with three axes the exporter makes products that presets can round.
        frames = valid_BT1.sum(dim=1, keepdim=True).clamp(min=1)
        mean = (y_BTD * valid_BT1).sum(dim=1, keepdim=True) / frames
        return functional.silu(self.squeeze(mean))


class AttentionBlock(nn.Module):
    """Attention without positions, and a feed-forward module, each after a norm."""

    def __init__(self, config: SeparableConfig) -> None:
        super().__init__()
        width = config.width
        self.heads = config.heads
        self.norm = nn.LayerNorm(width)
        self.query_key_value = thin(width, 3 * width, config.attention_rank)
        self.out = thin(width, width, config.attention_rank)
        self.inner_norm = nn.LayerNorm(width)
        self.widen = nn.Linear(width, config.feed_forward)
        self.shrink = nn.Linear(config.feed_forward, width)

    def forward(self, x_BTD: Tensor, valid_BT1: Tensor) -> Tensor:
        x = x_BTD + self.out(self.mixed(x_BTD, valid_BT1))
        return x + self.shrink(self.inner(x))

    def mixed(self, x_BTD: Tensor, valid_BT1: Tensor) -> Tensor:
        """Return what the heads found, before their outer matrix."""
        batch, frames, width = x_BTD.shape
        found = self.query_key_value(self.norm(x_BTD))
        found = found.reshape(batch, frames, 3, self.heads, width // self.heads)
        query, key, value = found.permute(2, 0, 3, 1, 4).unbind(0)
        keys = valid_BT1[:, None, None, :, 0] > 0
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=keys)
        return mixed.transpose(1, 2).reshape(batch, frames, width)

    def inner(self, x_BTD: Tensor) -> Tensor:
        """Return the units of the feed-forward module."""
        return functional.gelu(self.widen(self.inner_norm(x_BTD)))


class SeparableStudent(FeatureStudent):
    """Front end, convolutions, attention, linear head."""

    Config = SeparableConfig
    config: SeparableConfig

    def __init__(self, config: SeparableConfig, vocabulary_size: int) -> None:
        super().__init__(config, vocabulary_size, normalize=config.normalize)
        width, edge = config.width, config.edge_rank
        # One more tap than the stride: frame t is centred on feature frame t · factor.
        taps, around = self.factor + 1, self.factor // 2
        self.stem = nn.Conv1d(BANDS, edge or width, taps, self.factor, around, bias=edge is None)
        self.stem_out = nn.Identity() if edge is None else nn.Linear(edge, width)
        self.blocks = nn.ModuleList(SeparableBlock(config, dilation) for dilation in config.dilations)
        self.attention = nn.ModuleList(AttentionBlock(config) for _ in range(config.attention_layers))
        self.dropout = nn.Dropout(config.dropout)
        self.head = thin(width, vocabulary_size, edge)

    def linear_chains(self) -> Iterator[tuple[nn.Module, nn.Linear]]:
        """Return the thin halves of matrices."""
        if isinstance(self.stem_out, nn.Linear):
            yield self.stem, self.stem_out
        for module in self.modules():
            if isinstance(module, nn.Sequential):
                first, second = module
                assert isinstance(second, nn.Linear)
                yield first, second

    def encode(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Map features [B, T, F] and lengths [B] to log-probabilities [B, ⌈T / factor⌉, V] and lengths."""
        x = functional.gelu(self.stem_out(self.stemmed(features, lengths)))
        lengths = (lengths + self.factor - 1) // self.factor
        valid_BT1 = valid_frames(lengths, x.shape[1])[..., None].to(x.dtype)
        for block in (*self.blocks, *self.attention):
            x = self.dropout(block(x, valid_BT1))
        return self.head(x).float().log_softmax(dim=-1), lengths

    def stemmed(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Return the output of the strided convolution [B, T, D or the edges' rank]."""
        valid = valid_frames(lengths, features.shape[1])[..., None]
        stemmed: Tensor = self.stem((features * valid).transpose(1, 2)).transpose(1, 2)
        return stemmed

    def start_from(
        self, other: Student, waveforms: Iterable[Tensor], on_progress: Progress | None = None
    ) -> None:
        """Take over the weights of one that has at least as many units and ranks; see `low_rank`.

        Raises:
            ConfigError: it has fewer, or differs in more than that and dropout.
            AudioError: there are no waveforms.
        """
        from kdcompress.students.low_rank import reduce_student

        free = ("rank", "attention_rank", "edge_rank", "gate", "feed_forward")
        theirs = other.config
        if not isinstance(other, SeparableStudent) or not isinstance(theirs, SeparableConfig):
            raise ConfigError(f"it is a student of kind {theirs.kind}, this one of kind {self.config.kind}")
        same = {"dropout": self.config.dropout}
        if self.config == theirs.model_copy(update=same):
            self.load_state_dict(other.state_dict())
            return
        same |= {name: getattr(self.config, name) for name in free}
        if self.config != theirs.model_copy(update=same):
            names = ", ".join(free)
            raise ConfigError(f"it has another shape: only {names} and dropout may be other than there")
        for name in free:
            own, has = getattr(self.config, name), getattr(theirs, name)
            if has is not None and (own is None or own > has):
                raise ConfigError(f"{name} is {has} there and {own or 'full'} here: it cannot grow")
        if self.scaling is not None and other.scaling is not None:
            self.scaling.load_state_dict(other.scaling.state_dict())
        streams = [other.features(x[None], torch.tensor([len(x)], device=x.device)) for x in waveforms]
        reduce_student(self, other, streams, on_progress)
