"""Show a training run on standard error: bars with ETA on a terminal, a line now and then elsewhere."""

import os
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from typing_extensions import Self

if TYPE_CHECKING:
    from kdcompress.distill.validate import ValidationFigures

_QUIET_SECONDS = 15.0  # between lines where there is no terminal


def leads() -> bool:
    """Tell whether this process is the first of those that torchrun or accelerate launched, or alone."""
    return int(os.environ.get("RANK", 0)) == 0


class DistillProgress:
    """An observer of `kdcompress.distill.loop.distill`."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, quiet=not leads())
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}
        self._last_line = time.monotonic()

    def __enter__(self) -> Self:
        self.progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.progress.stop()

    def stage(self, name: str, done: float, total: float) -> None:
        """Move the bar of a stage of preparation."""
        self._move(name, done, total, "")

    def step(self, step: int, total: int, figures: dict[str, Any]) -> None:
        """Move the bar of the training."""
        note = f"loss {figures['loss']:.4f}"
        if "selected_share" in figures:
            note += f"  selected {figures['selected_share']:.0%}"
        self._move("Training", step, total, note)

    def validated(self, step: int, figures: "ValidationFigures", best: bool) -> None:
        """Print what a validation found."""
        parts = [f"step {step}:"]
        if figures.agreement is not None and figures.kl is not None:
            parts.append(f"WER against the teacher {figures.agreement:.2f} %, KL {figures.kl:.4f},")
        if figures.wer is not None:
            parts.append(f"WER {figures.wer:.2f} %,")
        parts.append(f"blank {figures.blank_rate:.0%}")
        if figures.teacher_blank_rate is not None:
            parts.append(f"(teacher {figures.teacher_blank_rate:.0%})")
        self.say(" ".join(parts) + (" (best)" if best else ""))

    def say(self, text: str) -> None:
        """Print a line above the bars."""
        self.progress.console.print(text, highlight=False, markup=False)

    def _move(self, name: str, done: float, total: float, note: str) -> None:
        if name not in self._tasks:
            self._tasks[name] = self.progress.add_task(name, total=total, note="")
        self.progress.update(self._tasks[name], completed=done, total=total, note=note)
        if not self.console.is_terminal and time.monotonic() - self._last_line > _QUIET_SECONDS:
            self._last_line = time.monotonic()
            self.say(f"{name} {done:.0f}/{total:.0f} {note}".rstrip())
