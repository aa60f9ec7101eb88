"""What the loop tells while it runs, and how it ended."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from kdcompress.distill.validate import ValidationFigures


class Observer(Protocol):
    """Who wants to know how a run goes: a progress bar, a notebook, nobody."""

    def stage(self, name: str, done: int, total: int) -> None:
        """Be told of preparation: `done` of `total` files or utterances."""

    def step(self, step: int, total: int, figures: dict[str, Any]) -> None:
        """Be told of every optimiser step."""

    def validated(self, step: int, figures: ValidationFigures, best: bool) -> None:
        """Be told of every validation."""

    def say(self, text: str) -> None:
        """Be told of something that is worth a line."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended: finished, or stopped by a signal and ready to be resumed."""

    run: Path
    step: int
    finished: bool
    best: ValidationFigures | None
