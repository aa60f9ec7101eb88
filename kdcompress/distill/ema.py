"""A running average of the weights: less noisy than the last step's, at the price of a copy."""

from copy import deepcopy

import torch

from kdcompress.students.student import Student


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
        for mean, value in zip(self.model.parameters(), self.trained.parameters(), strict=True):
            mean.lerp_(value, share)
