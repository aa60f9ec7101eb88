"""The Conformer encoder (Gulati et al. 2020, arXiv 2005.08100) over mel features."""

from torch import Tensor, nn

from kdcompress.config.student import ConformerConfig
from kdcompress.frontend.masks import valid_frames
from kdcompress.students.layers import (
    ConvolutionModule,
    FeedForward,
    Rotary,
    SelfAttention,
    Subsampling,
)

HALF_STEP = 0.5
"""The share of a feed-forward module's output that is added: there are two of them in a block."""


class ConformerBlock(nn.Module):
    """Half feed-forward, attention, convolution, half feed-forward, norm."""

    def __init__(self, config: ConformerConfig) -> None:
        super().__init__()
        inner = int(config.width * config.feed_forward)
        self.first = FeedForward(config.width, inner, config.dropout)
        self.attention = SelfAttention(config.width, config.heads, config.dropout)
        self.convolution = ConvolutionModule(config.width, config.kernel, config.dropout)
        self.second = FeedForward(config.width, inner, config.dropout)
        self.norm = nn.LayerNorm(config.width)

    def forward(self, x_BTD: Tensor, valid_BT: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        x = x_BTD + HALF_STEP * self.first(x_BTD)
        x = x + self.attention(x, valid_BT[:, None, None, :], cos, sin)
        x = x + self.convolution(x, valid_BT[:, :, None])
        x = x + HALF_STEP * self.second(x)
        return self.norm(x)


class Conformer(nn.Module):
    """Subsampling and blocks: features [B, T, F] to encodings [B, ⌈T / factor⌉, D].

    `at_exits` gives the encodings after the layers named by the configuration's exits as well.
    """

    def __init__(self, config: ConformerConfig, bands: int, factor: int) -> None:
        super().__init__()
        self.subsampling = Subsampling(bands, config.stem_channels, config.width, factor)
        self.dropout = nn.Dropout(config.dropout)
        self.rotary = Rotary(config.width // config.heads)
        self.blocks = nn.ModuleList(ConformerBlock(config) for _ in range(config.layers))
        self.exits = config.exits

    def forward(self, features_BTF: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        encodings, lengths_B = self.at_exits(features_BTF, lengths_B)
        return encodings[-1], lengths_B

    def at_exits(self, features_BTF: Tensor, lengths_B: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return the encodings at each exit and, last in the list, at the end; and the lengths."""
        x, lengths_B = self.subsampling(features_BTF, lengths_B)
        x = self.dropout(x)
        valid_BT = valid_frames(lengths_B, x.shape[1])
        cos, sin = self.rotary(x.shape[1])
        encodings = []
        for depth, block in enumerate(self.blocks, start=1):
            x = block(x, valid_BT, cos, sin)
            if depth in self.exits or depth == len(self.blocks):
                encodings.append(x)
        return encodings, lengths_B
