"""WavLM's attention with a mask of one type, and with any of the heads that the model was trained with.

H heads of the model, h heads that are left, E width / H.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class GatedAttention(nn.Module):
    """Attention with a bias by distance, gated by each frame (Chen et al. 2022, arXiv 2110.13900).

    The bias [H, T, T] is made by the first layer, for all layers.
    """

    heads: Tensor

    def __init__(self, original: Any) -> None:
        """Take over the weights of transformers' module."""
        super().__init__()
        self.all_heads, self.head_dim = original.num_heads, original.head_dim
        self.dropout = original.dropout
        self.k_proj, self.v_proj, self.q_proj = original.k_proj, original.v_proj, original.q_proj
        self.out_proj = original.out_proj
        self.gru_rel_pos_const, self.gru_rel_pos_linear = (
            original.gru_rel_pos_const,
            original.gru_rel_pos_linear,
        )
        if hasattr(original, "rel_attn_embed"):
            self.rel_attn_embed = original.rel_attn_embed
        self._bucket = original._relative_positions_bucket
        # Which of the model's heads these are: part of the weights, for the bias is indexed by it.
        self.register_buffer("heads", torch.arange(self.all_heads))

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        position_bias: Tensor | None = None,
        **_: Any,
    ) -> tuple[Tensor, None, Tensor]:
        """Map [B, T, D] and a mask [B, T], 1 where valid, to [B, T, D], nothing, and the bias."""
        if position_bias is None:
            position_bias = self._bias(hidden_states.shape[1])
        shape = (*hidden_states.shape[:2], -1, self.head_dim)
        gates = self.gru_rel_pos_linear(hidden_states.view(shape)[:, :, self.heads].transpose(1, 2))
        first, second = gates.view(*gates.shape[:3], 2, 4).sum(-1).sigmoid().chunk(2, dim=-1)
        gate = first * (second * self.gru_rel_pos_const - 1.0) + 2.0
        bias = gate * position_bias[self.heads]
        if attention_mask is not None:
            hidden = attention_mask[:, None, None, :].ne(1)
            bias = bias.masked_fill(hidden, torch.finfo(bias.dtype).min)
        query, key, value = (
            project(hidden_states).view(shape).transpose(1, 2)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        if torch.compiler.is_exporting():  # torch takes the other apart into views that it cannot make
            mixed = (query @ key.transpose(2, 3) * self.head_dim**-0.5 + bias).softmax(dim=-1) @ value
        else:
            dropped = self.dropout if self.training else 0.0
            mixed = functional.scaled_dot_product_attention(
                query, key, value, attn_mask=bias, dropout_p=dropped
            )
        return self.out_proj(mixed.transpose(1, 2).flatten(2)), None, position_bias

    def _bias(self, frames: int) -> Tensor:
        at = torch.arange(frames, device=self.rel_attn_embed.weight.device)
        bias: Tensor = self.rel_attn_embed(self._bucket(at[None, :] - at[:, None]))
        return bias.permute(2, 0, 1)
