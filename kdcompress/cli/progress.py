"""Show a training run on standard error: bars with ETA on a terminal, a line now and then elsewhere."""

import os
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column
from typing_extensions import Self

from kdcompress.cli.screen import Console

if TYPE_CHECKING:
    from kdcompress.distill.validate import ValidationFigures

_QUIET_SECONDS = 15.0  # between lines where there is no terminal
_TIMED_STEPS = 20  # after which the time of the others is foreseen
_NARROW = 100  # columns of a terminal, below which bars are short


def leads() -> bool:
    """Tell whether this process is the first of those that torchrun or accelerate launched, or alone."""
    return int(os.environ.get("RANK", 0)) == 0


class DistillProgress:
    """An observer of `kdcompress.distill.loop.distill`."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, quiet=not leads())
        self.progress = Progress(
            TextColumn("{task.description}", table_column=_column()),
            BarColumn(10 if self.console.width < _NARROW else 40),
            MofNCompleteColumn(table_column=_column()),
            TimeElapsedColumn(table_column=_column()),
            TimeRemainingColumn(table_column=_column()),
            TextColumn("{task.fields[note]}", table_column=_column()),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self._task: TaskID | None = None
        self._name = ""  # of the stage that is shown
        self._done = self._first = 0.0  # of it, now and when it was first seen
        self._begun = self._last_line = time.monotonic()

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
        note = f"loss {figures['loss']:.4f}" if "loss" in figures else ""
        if "selected_share" in figures:
            note += f"  selected {figures['selected_share']:.0%}"
        self._move("Training", step, total, note)
        if step - self._first == _TIMED_STEPS and total - step > _TIMED_STEPS:
            from kdcompress.distill.budget import duration

            pace = (time.monotonic() - self._begun) / _TIMED_STEPS
            self.say(f"about {duration(pace * (total - step))} to go, {pace:.2g} s a step")

    def validated(self, step: int, figures: "ValidationFigures", best: bool) -> None:
        """Print what a validation found."""
        parts = [f"step {step}:"]
        if figures.wer_against_teacher is not None and figures.kl is not None:
            parts.append(f"WER against the teacher {figures.wer_against_teacher:.2f} %, KL {figures.kl:.4f},")
        if figures.unit == "tokens":
            parts.append(f"{figures.score:.2f} % of the teacher's tokens wrong, which decides,")
        if figures.wer is not None:
            parts.append(f"WER {figures.wer:.2f} %,")
        parts.append(f"blank {figures.blank_rate:.0%}")
        if figures.teacher_blank_rate is not None:
            parts.append(f"(teacher {figures.teacher_blank_rate:.0%})")
        self.say(" ".join(parts) + (" (best)" if best else ""))

    def say(self, text: str) -> None:
        """Print a line above the bars."""
        # What goes to a file or a pipe is wrapped by whoever reads it.
        soft = not self.console.is_terminal
        self.progress.console.print(text, highlight=False, markup=False, soft_wrap=soft)

    def _move(self, name: str, done: float, total: float, note: str) -> None:
        now = time.monotonic()
        if self._task is None or name != self._name or done < self._done:
            # One bar at a time: a column is as wide as the longest name that is shown.
            if self._task is not None:
                self.progress.remove_task(self._task)
            self._task = self.progress.add_task(name, total=total, note="")
            self._name, self._begun, self._first = name, now, done
        self._done = done
        self.progress.update(self._task, completed=done, total=total, note=note)
        if not self.console.is_terminal and now - self._last_line > _QUIET_SECONDS:
            from kdcompress.distill.budget import duration

            self._last_line = now
            line = f"{name} {done:.0f}/{total:.0f} {note}".rstrip()
            if done > self._first:
                left = (now - self._begun) / (done - self._first) * (total - done)
                line += f", {duration(left)} left"
            self.say(line)


def _column() -> Column:
    return Column(no_wrap=True)
