"""The optimiser and its schedule."""

import math

from torch import nn
from torch.optim import AdamW

from kdcompress.config.training import TrainingConfig


def make_optimizer(model: nn.Module, config: TrainingConfig) -> AdamW:
    """Return AdamW; vectors (biases, norms) have no weight decay."""
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    # β₂ = 0.98 as is usual for attention models: the default forgets too slowly for short runs.
    return AdamW(groups, lr=config.peak_lr, betas=(0.9, 0.98), fused=True)


def learning_rate(step: int, config: TrainingConfig) -> float:
    """Return the rate of a step (from 0): linear warm-up to `peak_lr`, then half a cosine to zero."""
    warmup = round(config.warmup_share * config.steps)
    if step < warmup:
        return config.peak_lr * (step + 1) / warmup
    return config.peak_lr * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, config.steps - warmup)))
