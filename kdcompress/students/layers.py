"""Parts of a Conformer whose output for an utterance does not depend on its batch.

House letters: B batch, T frames, F mel bins, C stem channels, D width, H heads, E width / H.
Frames past an utterance's length are zeroed before every operation that looks at neighbours in time.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from kdcompress.frontend.masks import valid_frames


class Subsampling(nn.Module):
    """Strided 3x3 convolutions over time and mel bands: [B, T, F] to [B, ceil(T / factor), D].

    The first convolution is dense (one input channel), the others depthwise-separable, as in FastConformer
    (Rekesh et al. 2023, arXiv 2305.05084). Frequency is always halved; time is while the factor lasts.
    """

    def __init__(self, bands: int, channels: int, width: int, factor: int) -> None:
        super().__init__()
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
            x = convolution(x)
            lengths_B = (lengths_B + stride - 1) // stride
        return self.project(x.transpose(1, 2).flatten(2)), lengths_B


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
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_BTD: Tensor, keys_B11T: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        batch, frames, width = x_BTD.shape
        qkv = self.query_key_value(self.norm(x_BTD)).reshape(
            batch, frames, 3, self.heads, width // self.heads
        )
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = functional.scaled_dot_product_attention(
            rotate(query, cos, sin), rotate(key, cos, sin), value, attn_mask=keys_B11T
        )
        return self.dropout(self.out(mixed.transpose(1, 2).reshape(batch, frames, width)))


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

    def forward(self, x_BTD: Tensor, valid_BT1: Tensor) -> Tensor:
        x = functional.glu(self.gate(self.norm(x_BTD)), dim=-1) * valid_BT1
        x = self.depthwise(x.transpose(1, 2)).transpose(1, 2)
        return self.dropout(self.out(functional.silu(self.inner_norm(x))))


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
