"""Parts of a Conformer whose output for an utterance does not depend on its batch.

House letters: B batch, T frames, F mel bins, C stem channels, D width, H heads, E width / H.
Frames past an utterance's length are zeroed before every operation that looks at neighbours in time.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from kdcompress.frontend.masks import valid_frames

Joined: TypeAlias = Callable[[Tensor], Tensor]
"""Puts what a module makes of a chunk behind what it made of the frames before it."""


class Subsampling(nn.Module):
    """Strided 3x3 convolutions over time and mel bands: [B, T, F] to [B, ceil(T / factor), D].

    The first convolution is dense (one input channel), the others depthwise-separable, as in FastConformer
    (Rekesh et al. 2023, arXiv 2305.05084). Frequency is always halved; time is while the factor lasts.
    """

    def __init__(self, bands: int, channels: int, width: int, factor: int, *, causal: bool = False) -> None:
        """Make the convolutions.

        Args:
            causal: none looks beyond the frames that its stride moves by; those of stride 2 do not anyway.
        """
        super().__init__()
        self.causal = causal
        self.time_strides = {2: (2, 1), 4: (2, 2), 8: (2, 2, 2)}[factor]
        convolutions: list[nn.Module] = []
        for index, stride in enumerate(self.time_strides):
            dense = index == 0
            spatial = nn.Conv2d(
                1 if dense else channels,
                channels,
                kernel_size=3,
                stride=(stride, 2),
                padding=1,
                groups=1 if dense else channels,
            )
            mix = nn.Identity() if dense else nn.Conv2d(channels, channels, kernel_size=1)
            convolutions.append(nn.Sequential(spatial, mix, nn.SiLU()))
            bands = (bands + 1) // 2
        self.convolutions = nn.ModuleList(convolutions)
        self.project = nn.Linear(channels * bands, width)

    def forward(self, features_BTF: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        x = features_BTF[:, None]
        for convolution, stride in zip(self.convolutions, self.time_strides, strict=True):
            x = x * valid_frames(lengths_B, x.shape[2])[:, None, :, None]
            if self.causal and stride == 1:
                x = convolution(functional.pad(x, (0, 0, 1, 0)))[:, :, :-1]
            else:
                x = convolution(x)
            lengths_B = (lengths_B + stride - 1) // stride
        return self.project(x.transpose(1, 2).flatten(2)), lengths_B

    def tail_shapes(self, bands: int) -> list[tuple[int, int, int]]:
        """Return [C, T, F] of what each causal convolution keeps of the frames before a chunk."""
        shapes = []
        for convolution, stride in zip(self._spatial(), self.time_strides, strict=True):
            shapes.append((convolution.in_channels, 3 - stride, bands))
            bands = (bands + 1) // 2
        return shapes

    def _spatial(self) -> Iterator[nn.Conv2d]:
        for convolution in self.convolutions:
            assert isinstance(convolution, nn.Sequential)
            spatial = convolution[0]
            assert isinstance(spatial, nn.Conv2d)
            yield spatial

    def step(
        self, features_BTF: Tensor, lengths_B: Tensor, tails: Sequence[Tensor], ahead: int = 0
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Map the features of a chunk; also returns the tails for the next one.

        Args:
            features_BTF: T a multiple of the factor.
            tails: [B, *shape] of `tail_shapes`, zeros at first.
            ahead: how many of the frames come again in the next chunk, likewise a multiple.
        """
        own = features_BTF.shape[1] - ahead
        x, kept = features_BTF[:, None], []
        steps = zip(self.convolutions, self._spatial(), self.time_strides, tails, strict=True)
        for convolution, spatial, stride, tail in steps:
            x = x * valid_frames(lengths_B, x.shape[2])[:, None, :, None]
            x = torch.cat((tail, x), dim=2)
            kept.append(x.narrow(2, own, 3 - stride))
            own //= stride
            x = functional.conv2d(
                x, spatial.weight, spatial.bias, spatial.stride, (0, 1), groups=spatial.groups
            )
            assert isinstance(convolution, nn.Sequential)
            x = convolution[1:](x)
            lengths_B = (lengths_B + stride - 1) // stride
        return self.project(x.transpose(1, 2).flatten(2)), lengths_B, kept


class Rotary(nn.Module):
    """Rotary position angles (Su et al. 2021, arXiv 2104.09864), computed for the T at hand.

    Nothing is tabulated, so an exported graph has no longest utterance.
    """

    inverse_wavelengths: Tensor

    def __init__(self, head_width: int) -> None:
        super().__init__()
        exponents = torch.arange(0, head_width, 2, dtype=torch.float32) / head_width
        self.register_buffer("inverse_wavelengths", 10_000.0**-exponents, persistent=False)

    def forward(self, frames: int) -> tuple[Tensor, Tensor]:
        """Return cos and sin, each float32 [T, E / 2]."""
        positions = torch.arange(frames, device=self.inverse_wavelengths.device, dtype=torch.float32)
        angles = positions[:, None] * self.inverse_wavelengths[None, :]
        return angles.cos(), angles.sin()


def rotate(x_BHTE: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn each pair (first half, second half) of the head by its position's angles."""
    first, second = x_BHTE.chunk(2, dim=-1)
    cos, sin = cos.to(x_BHTE.dtype), sin.to(x_BHTE.dtype)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


class SelfAttention(nn.Module):
    """Multi-head attention over the valid frames, with rotary positions."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.head_width = heads, width // heads
        self.norm = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_BTD: Tensor, keys: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Attend to the frames that `keys`, [B, 1, 1 or T, T], names."""
        query, key, value = self._heads(self.query_key_value(self.norm(x_BTD)), 3)
        return self._mixed(rotate(query, cos, sin), rotate(key, cos, sin), value, keys)

    def step(self, x_BTD: Tensor, joined: Joined, keys: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Attend to the L frames before a chunk of T, and to the chunk.

        Args:
            joined: makes [B, L + T, 2 D] of keys, before their rotation, and values.
            keys: bool [B, 1, 1, L + T].
            cos, sin: of L + T positions.
        """
        frames, width = x_BTD.shape[1:]
        query, new = self.query_key_value(self.norm(x_BTD)).split((width, 2 * width), dim=-1)
        (query,) = self._heads(query, 1)
        key, value = self._heads(joined(new), 2)
        query = rotate(query, cos[-frames:], sin[-frames:])
        return self._mixed(query, rotate(key, cos, sin), value, keys)

    def _heads(self, x_BTP: Tensor, parts: int) -> tuple[Tensor, ...]:
        split = x_BTP.reshape(*x_BTP.shape[:2], parts, self.heads, -1)
        return split.permute(2, 0, 3, 1, 4).unbind(0)

    def _mixed(self, query: Tensor, key: Tensor, value: Tensor, keys: Tensor) -> Tensor:
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=keys)
        return self.dropout(self.out(mixed.transpose(1, 2).flatten(2)))


class ConvolutionModule(nn.Module):
    """Gated pointwise, depthwise, pointwise. LayerNorm instead of BatchNorm: no batch statistics."""

    def __init__(self, width: int, kernel: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.gate = nn.Linear(width, 2 * width)
        self.depthwise = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=width)
        self.inner_norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_BTD: Tensor, valid_BT1: Tensor, chunk: int | None = None) -> Tensor:
        """Convolve over all frames, or for each chunk over what is before its end.

        A chunk's frames see those of the chunk behind them, and zeros from its end on (dynamic chunk
        convolution, Li et al. 2023, arXiv 2304.09325): without chunks it is the convolution of an offline
        model, whose weights a streaming one can begin with.
        """
        x = self._gated(x_BTD, valid_BT1)
        if chunk is None:
            return self._out(self.depthwise(x.transpose(1, 2)))
        batch, frames, width = x.shape
        chunks = -(-frames // chunk)
        x = functional.pad(x, (0, 0, self.reach, chunks * chunk - frames))
        x_BNDC = x.unfold(1, self.reach + chunk, chunk)
        x_BDNC = self._within(x_BNDC.flatten(0, 1)).unflatten(0, (batch, chunks)).transpose(1, 2)
        return self._out(x_BDNC.reshape(batch, width, chunks * chunk)[:, :, :frames])

    def step(self, x_BTD: Tensor, valid_BT1: Tensor, joined: Joined) -> Tensor:
        """Convolve over a chunk and the R frames before it; `joined` makes [B, D, R + T] of both."""
        return self._out(self._within(joined(self._gated(x_BTD, valid_BT1).transpose(1, 2))))

    @property
    def reach(self) -> int:
        """R, how many frames the convolution looks back."""
        return self.depthwise.kernel_size[0] // 2

    def _gated(self, x_BTD: Tensor, valid_BT1: Tensor) -> Tensor:
        return functional.glu(self.gate(self.norm(x_BTD)), dim=-1) * valid_BT1

    def _within(self, x_BDC: Tensor) -> Tensor:
        """Convolve chunks that begin with their R frames of the past, with zeros behind."""
        x = functional.pad(x_BDC, (0, self.reach))
        return functional.conv1d(x, self.depthwise.weight, self.depthwise.bias, groups=x.shape[1])

    def _out(self, x_BDT: Tensor) -> Tensor:
        return self.dropout(self.out(functional.silu(self.inner_norm(x_BDT.transpose(1, 2)))))


class FeedForward(nn.Sequential):
    """LayerNorm, widen, SiLU, narrow.

    Dropout on the narrow side only: on a CPU its masks cost as much as the products.
    """

    def __init__(self, width: int, inner: int, dropout: float) -> None:
        super().__init__(
            nn.LayerNorm(width),
            nn.Linear(width, inner),
            nn.SiLU(),
            nn.Linear(inner, width),
            nn.Dropout(dropout),
        )


@torch.no_grad()
def widen(encoder: nn.Module, inner: int) -> None:
    """Give every feed-forward module up to `inner` units, in place; new ones add nothing until trained.

    Their inner weights are drawn as for a new student and their outer ones are zero, so that the output stays
    what it was (in the spirit of Net2Net, Chen et al. 2016, arXiv 1511.05641).
    """
    for module in encoder.modules():
        if isinstance(module, FeedForward):
            widen, shrink = module[1], module[3]
            assert isinstance(widen, nn.Linear)
            assert isinstance(shrink, nn.Linear)
            units = widen.out_features
            first, second = nn.Linear(widen.in_features, inner), nn.Linear(inner, shrink.out_features)
            first.weight[:units], first.bias[:units] = widen.weight, widen.bias
            second.weight[:, :units], second.weight[:, units:] = shrink.weight, 0
            second.bias.copy_(shrink.bias)
            module[1], module[3] = first, second
