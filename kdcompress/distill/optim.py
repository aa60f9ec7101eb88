"""The optimiser, its schedule, and a running average of the weights."""

import math
from collections import defaultdict
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from kdcompress.config.training import TrainingConfig
from kdcompress.students.student import Student

# A quintic that takes singular values from 0.003 to 1 to between 0.68 and 1.2 in five rounds (Jordan et al.).
_COEFFICIENTS = 3.4445, -4.7750, 2.0315
_ROUNDS = 5


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


class Muon(Optimizer):
    """Matrices move by the nearest semi-orthogonal matrix of their momentum, everything else by AdamW.

    Jordan et al. 2024 (kellerjordan.github.io/posts/muon), with rates scaled as Liu et al. 2025 (arXiv
    2502.16982, §2.2) do: one rate and one weight decay serve both. `torch.optim.Muon` is the same rule for
    matrices only, one after the other and in bf16, which takes 20 times as long on a CPU that has no bf16;
    here all of one shape go together, in float32 on a CPU.
    """

    def __init__(
        self,
        matrices: Sequence[nn.Parameter],
        others: AdamW,
        *,
        lr: float,
        weight_decay: float,
        momentum: float = 0.95,
    ) -> None:
        """Join the two.

        Args:
            matrices: with two axes.
            others: the optimiser of all other parameters.
        """
        self._others = others
        first = {"params": list(matrices), "lr": lr, "weight_decay": weight_decay, "momentum": momentum}
        super().__init__([first, *others.param_groups], {})
        self._share()

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._share()

    def _share(self) -> None:
        self._others.param_groups, self._others.state = self.param_groups[1:], self.state

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Move all parameters that have a gradient."""
        self._others.step()
        group = self.param_groups[0]
        moving = [parameter for parameter in group["params"] if parameter.grad is not None]
        for parameter in moving:
            if not self.state[parameter]:
                self.state[parameter]["momentum"] = torch.zeros_like(parameter)
        if not moving:
            return
        gradients = [parameter.grad for parameter in moving]
        momenta = [self.state[parameter]["momentum"] for parameter in moving]
        torch._foreach_lerp_(momenta, gradients, 1 - group["momentum"])
        # Nesterov's: the momentum as it will be, were the next gradient like this one.
        ahead = torch._foreach_lerp(gradients, momenta, group["momentum"])
        torch._foreach_mul_(moving, 1 - group["lr"] * group["weight_decay"])
        of_shape = defaultdict(list)
        for parameter, move in zip(moving, ahead, strict=True):
            wide = move.shape[0] <= move.shape[1]
            of_shape[tuple(sorted(move.shape))].append(
                (parameter if wide else parameter.T, move if wide else move.T)
            )
        for (_, longer), pairs in of_shape.items():
            parameters, moves = zip(*pairs, strict=True)
            found = semi_orthogonal(torch.stack(moves)).to(parameters[0].dtype)
            # An update of AdamW has a root mean square of about 0.2, a semi-orthogonal one of 1/√longer.
            torch._foreach_add_(parameters, found.unbind(), alpha=-0.2 * longer**0.5 * group["lr"])


def semi_orthogonal(wide: Tensor) -> Tensor:
    """Return matrices [N, m, n], m at most n, with their singular vectors, and singular values near 1."""
    x = wide.bfloat16() if wide.is_cuda else wide.float()
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    a, b, c = _COEFFICIENTS
    for _ in range(_ROUNDS):
        gram = torch.bmm(x, x.mT)
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x
