"""The optimiser, its schedule, and a running average of the weights."""

import math
from copy import deepcopy

import torch
from torch import nn
from torch.optim import AdamW, Optimizer

from kdcompress.config.training import TrainingConfig
from kdcompress.distill.muon import Muon
from kdcompress.students.student import Student


def make_optimizer(model: nn.Module, config: TrainingConfig) -> Optimizer:
    """Return the optimiser that the recipe names; vectors (biases, norms) have no weight decay."""
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    by_muon = [p for p in matrices if p.ndim == 2] if config.optimizer == "muon" else []
    others = [p for p in matrices if p.ndim > 2] if by_muon else matrices
    groups = [
        {"params": others, "weight_decay": config.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    # β₂ = 0.98 as is usual for attention models: the default forgets too slowly for short runs.
    adamw = AdamW(groups, lr=config.peak_lr, betas=(0.9, 0.98), fused=True)
    return Muon(by_muon, adamw, lr=config.peak_lr, weight_decay=config.weight_decay) if by_muon else adamw


def learning_rate(step: int, config: TrainingConfig) -> float:
    """Return the rate of a step (from 0): linear warm-up to `peak_lr`, then half a cosine to zero."""
    warmup = round(config.warmup_share * config.steps)
    if step < warmup:
        return config.peak_lr * (step + 1) / warmup
    return config.peak_lr * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, config.steps - warmup)))


class AveragedStudent:
    """The student that is validated, kept and exported: an average of the trained one, or that one itself.

    After step k the average is d·average + (1 − d)·weights, d = min(decay, k / (k + 9)) (Polyak and Juditsky
    1992): the random weights of the start are soon forgotten, however short the run.

    Attributes:
        model: the average; the trained student where there is no decay.
        trained: the student that the optimiser moves.
    """

    def __init__(self, trained: Student, decay: float | None, device: torch.device | str = "cpu") -> None:
        self.trained, self.decay = trained, decay
        self.model = trained if decay is None else deepcopy(trained).requires_grad_(False).to(device)

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after optimiser step `step`, counted from 1."""
        if self.decay is None:
            return
        share = 1 - min(self.decay, step / (step + 9))
        torch._foreach_lerp_([*self.model.parameters()], [*self.trained.parameters()], share)
