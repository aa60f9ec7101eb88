"""What the steps found, left on the device until it is wanted: reading a number waits for all work there."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from kdcompress.distill.objective.objective import Objective, Tally
from kdcompress.errors import NumericsError


@dataclass(frozen=True)
class StepNumbers:
    """One step, as it is on the device.

    Attributes:
        figures: step, epoch and learning rate.
        ids: of some utterances of this process, for messages.
        losses: float64, of each term, over all processes.
        norm: of the gradient.
        tally: of this process.
    """

    figures: dict[str, Any]
    ids: Sequence[str]
    losses: Tensor
    norm: Tensor
    tally: Tally


class StepLog:
    """The steps since the last reading.

    Attributes:
        figures: of the last step that was read.
    """

    def __init__(self, objective: Objective, accelerator: Accelerator) -> None:
        self.objective, self.accelerator = objective, accelerator
        self.figures: dict[str, Any] = {}
        self._steps: list[StepNumbers] = []

    def add(self, step: StepNumbers) -> None:
        """Take note of a step, without looking at it."""
        self._steps.append(step)

    def read(self) -> dict[str, Any]:
        """Wait for the device once, and return the figures of the last step, over all processes.

        Every process must call this.

        Raises:
            NumericsError: a loss or a gradient is not finite.
        """
        if not self._steps:
            return self.figures
        steps, self._steps = self._steps, []
        counts = self.accelerator.reduce(steps[-1].tally.counts(self.accelerator.device), "sum")
        rows = torch.stack([torch.cat((step.losses, step.norm.double()[None])) for step in steps])
        flat = torch.cat((counts, rows.flatten())).tolist()
        counted, flat = flat[: len(counts)], flat[len(counts) :]
        for number, step in enumerate(steps):
            *losses, norm = flat[number * rows.shape[1] : (number + 1) * rows.shape[1]]
            value = sum(w * loss for w, loss in zip(self.objective.weights, losses, strict=True))
            _check(step, value, norm)
        self.figures = {
            **{name: step.figures[name] for name in ("step", "epoch")},
            "loss": value,
            **dict(zip(self.objective.names, losses, strict=True)),
            **Tally.figures(counted),
            "gradient_norm": norm,
            "learning_rate": step.figures["learning_rate"],
        }
        return self.figures


def _check(step: StepNumbers, value: float, norm: float) -> None:
    if math.isfinite(value) and math.isfinite(norm):
        return
    raise NumericsError(
        f"the loss is {value} with gradient norm {norm} at step {step.figures['step']}; batch: "
        f"{', '.join(step.ids[:3])}…; the last checkpoint is untouched: resume with a "
        "lower training.peak_lr in a new run, or look at these files"
    )
