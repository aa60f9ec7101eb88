"""What is reported while a run goes on, and how it ended."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from kdcompress.distill.validate import ValidationFigures


class StageObserver(Protocol):
    """Follows work in stages: a progress bar, for example."""

    def stage(self, name: str, done: float, total: float) -> None:
        """Take note of progress: `done` of `total` files, utterances or seconds of audio."""

    def say(self, text: str) -> None:
        """Take note of something that is worth a line."""


class Observer(StageObserver, Protocol):
    """Follows a whole run: a progress bar, a notebook, nobody."""

    def step(self, step: int, total: int, figures: dict[str, Any]) -> None:
        """Take note of an optimiser step.

        Args:
            figures: step, epoch and learning rate of this one; losses and shares of the last one that they
                were read of, the first or a `training.log_every`th: reading waits for the device.
        """

    def validated(self, step: int, figures: ValidationFigures, best: bool) -> None:
        """Take note of a validation."""


@dataclass(frozen=True)
class DistillResult:
    """How a run ended: finished, or stopped by a signal and ready to be resumed."""

    run: Path
    step: int
    finished: bool
    best: ValidationFigures | None
