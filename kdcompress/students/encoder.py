"""The Conformer encoder (Gulati et al. 2020, arXiv 2005.08100) over mel features."""

import math
from typing import TypeAlias

import torch
from torch import Tensor, nn

from kdcompress.config.student import ConformerConfig
from kdcompress.frontend.masks import valid_frames
from kdcompress.students.chunks import Cache, Chunks, Windows
from kdcompress.students.layers import (
    ConvolutionModule,
    FeedForward,
    Joined,
    Rotary,
    SelfAttention,
    Subsampling,
)
from kdcompress.students.pruning.anatomy import Axis, Layer, Part, linear_part

HALF_STEP = 0.5
"""The share of a feed-forward module's output that is added: there are two of them in a block."""


Angles: TypeAlias = tuple[Tensor, Tensor]
"""Cosines and sines of positions, see `Rotary`."""

State: TypeAlias = tuple[Tensor, Tensor, Tensor]
"""What a chunk needs of those before it, in the shapes of NeMo's caches.

Keys and values of L frames [B, layers, L, 2 D], tails of convolutions [B, 1, 1, S], and how many of the L
frames there are, int64 [B].
"""


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

    def forward(
        self, x_BTD: Tensor, valid_BT: Tensor, cos: Tensor, sin: Tensor, chunks: Chunks | None = None
    ) -> Tensor:
        keys = valid_BT[:, None, None, :] if chunks is None else chunks.keys(valid_BT)
        x = x_BTD + HALF_STEP * self.first(x_BTD)
        x = x + self.attention(x, keys, cos, sin)
        x = x + self.convolution(x, valid_BT[:, :, None], None if chunks is None else chunks.frames)
        x = x + HALF_STEP * self.second(x)
        return self.norm(x)

    def step(
        self, x_BTD: Tensor, valid_BT: Tensor, keys: Tensor, angles: Angles, attended: Joined, tail: Joined
    ) -> Tensor:
        """Map a chunk, given what joins it with the past of attention and of the convolution."""
        x = x_BTD + HALF_STEP * self.first(x_BTD)
        x = x + self.attention.step(x, attended, keys, *angles)
        x = x + self.convolution.step(x, valid_BT[:, :, None], tail)
        x = x + HALF_STEP * self.second(x)
        return self.norm(x)


def layer_of(name: str, block: ConformerBlock, *, streams: bool) -> Layer:
    """Describe what of a block can be cut away; while it streams no heads: states are of one size."""
    width, attention = block.attention.head_width, block.attention
    heads: tuple[Axis, ...] = (
        ("attention.query_key_value.weight", 0, 3, width),
        ("attention.query_key_value.bias", 0, 3, width),
        ("attention.out.weight", 1, 1, width),
    )
    kinds = ("weight", "bias")
    channels: tuple[Axis, ...] = (
        *((f"convolution.gate.{kind}", 0, 2, 1) for kind in kinds),
        *((f"convolution.{path}.{kind}", 0, 1, 1) for path in ("depthwise", "inner_norm") for kind in kinds),
        ("convolution.out.weight", 1, 1, 1),
    )
    inner = block.convolution.out.in_features

    def feed_forward(which: str, behind: str) -> Part:
        names = (f"{which}.1", f"{which}.3")
        return linear_part(name + which, "feed_forward", block, *names, behind=behind, scale=HALF_STEP)

    parts = (
        feed_forward("first", "attention"),
        Part(
            f"{name}heads",
            "heads",
            "attention.out",
            attention.heads,
            width,
            heads,
            "convolution",
            count="attention.heads",
            fixed=streams,
        ),
        Part(
            f"{name}convolution", "convolution", "convolution.out", inner, 1, channels, "second", normed=True
        ),
        feed_forward("second", "norm"),
    )
    return Layer(block, parts, "norm")


class Conformer(nn.Module):
    """Subsampling and blocks: features [B, T, F] to encodings [B, ⌈T / factor⌉, D].

    `at_exits` gives the encodings after the layers named by the configuration's exits as well.
    """

    def __init__(self, config: ConformerConfig, bands: int, factor: int) -> None:
        super().__init__()
        causal = config.streaming is not None
        self.subsampling = Subsampling(bands, config.stem_channels, config.width, factor, causal=causal)
        self.dropout = nn.Dropout(config.dropout)
        self.rotary = Rotary(config.width // config.heads)
        self.blocks = nn.ModuleList(ConformerBlock(config) for _ in range(config.layers))
        self.exits, self.bands = config.exits, bands

    def forward(
        self, features_BTF: Tensor, lengths_B: Tensor, chunks: Chunks | None = None
    ) -> tuple[Tensor, Tensor]:
        encodings, lengths_B = self.at_exits(features_BTF, lengths_B, chunks)
        return encodings[-1], lengths_B

    def at_exits(
        self, features_BTF: Tensor, lengths_B: Tensor, chunks: Chunks | None = None
    ) -> tuple[list[Tensor], Tensor]:
        """Return the encodings at each exit and, last in the list, at the end; and the lengths.

        Args:
            chunks: what each frame may depend on; None for the whole utterance.
        """
        x, lengths_B = self.subsampling(features_BTF, lengths_B)
        x = self.dropout(x)
        valid_BT = valid_frames(lengths_B, x.shape[1])
        if chunks is not None and chunks.ahead:
            return self._in_windows(x, valid_BT, chunks), lengths_B
        cos, sin = self.rotary(x.shape[1])
        encodings = []
        for depth, block in enumerate(self.blocks, start=1):
            x = block(x, valid_BT, cos, sin, chunks)
            if depth in self.exits or depth == len(self.blocks):
                encodings.append(x)
        return encodings, lengths_B

    def _in_windows(self, x_BTD: Tensor, valid_BT: Tensor, chunks: Chunks) -> list[Tensor]:
        """Run each chunk with its look-ahead, which the layers compute anew for each, all at once."""
        windows = Windows(chunks, *valid_BT.shape)
        x, valid = windows.cut(x_BTD), windows.cut(valid_BT[:, :, None])
        keys = windows.attended(valid)[:, :, 0]
        # Beyond an utterance's end nothing is valid, and a softmax over nothing is NaN.
        keys = (keys | ~keys.any(dim=1, keepdim=True))[:, None, None]
        angles = self.rotary(keys.shape[-1])
        encodings = []
        for depth, block in enumerate(self.blocks, start=1):
            assert isinstance(block, ConformerBlock)
            tail = windows.tail(block.convolution.reach)
            x = block.step(x, valid[:, :, 0], keys, angles, windows.attended, tail)
            if depth in self.exits or depth == len(self.blocks):
                encodings.append(windows.own(x))
        return encodings

    def initial_state(self, batch: int, left: int) -> State:
        """Return the state before the first chunk of an utterance, for attention to `left` frames."""
        weight = self.subsampling.project.weight
        size = sum(math.prod(shape) for shape in self._tail_shapes())
        return (
            weight.new_zeros(batch, len(self.blocks), left, 2 * weight.shape[0]),
            weight.new_zeros(batch, 1, 1, size),
            weight.new_zeros(batch, dtype=torch.int64),
        )

    def step(
        self, features_BTF: Tensor, lengths_B: Tensor, state: State, ahead: int = 0
    ) -> tuple[Tensor, Tensor, State]:
        """Map the features of a chunk; also returns the state for the next one.

        Args:
            features_BTF: T a multiple of the factor.
            lengths_B: T, or less in the last chunk of an utterance; at least 1.
            ahead: how many of the frames behind the subsampling are look-ahead; they have no output.
        """
        attended_BNLP, time_B11S, seen_B = state
        shapes = self._tail_shapes()
        flat = time_B11S.flatten(1).split([math.prod(shape) for shape in shapes], dim=1)
        tails = [part.unflatten(1, shape) for part, shape in zip(flat, shapes, strict=True)]
        first = len(shapes) - len(self.blocks)
        features_ahead = ahead * math.prod(self.subsampling.time_strides)
        x, lengths_B, kept = self.subsampling.step(features_BTF, lengths_B, tails[:first], features_ahead)
        window, left = x.shape[1], attended_BNLP.shape[2]
        frames = window - ahead
        valid_BT = valid_frames(lengths_B, window)
        past_BL = torch.arange(left, device=x.device) >= left - seen_B[:, None]
        keys = torch.cat((past_BL, valid_BT), dim=1)[:, None, None, :]
        angles = self.rotary(left + window)
        pasts = []
        for index, block in enumerate(self.blocks):
            assert isinstance(block, ConformerBlock)
            attended = Cache(attended_BNLP[:, index], 1, frames)
            tail = Cache(tails[first + index], 2, frames)
            x = block.step(x, valid_BT, keys, angles, attended, tail)
            pasts.append(attended.after)
            kept.append(tail.after)
        time_B11S = torch.cat([part.flatten(1) for part in kept], dim=1)[:, None, None]
        after = (torch.stack(pasts, 1), time_B11S, (seen_B + frames).clamp(max=left))
        return x[:, :frames], lengths_B.clamp(max=frames), after

    def _tail_shapes(self) -> list[tuple[int, ...]]:
        """Return the shapes of what convolutions keep: those of the subsampling, then one of each block."""
        tails: list[tuple[int, ...]] = [*self.subsampling.tail_shapes(self.bands)]
        for block in self.blocks:
            assert isinstance(block, ConformerBlock)
            tails.append((block.convolution.depthwise.in_channels, block.convolution.reach))
        return tails
