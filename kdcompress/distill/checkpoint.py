"""Checkpoints: written under a temporary name and renamed, so that a kill leaves the previous one whole.

checkpoints/step-000500/  model.safetensors  student.json      the student
                          optimizer.safetensors  state.json    what --resume needs beside it, among it the
                          weights that the optimiser moves where those of the student are averaged
best, last                text files with the name of a checkpoint directory
"""

import json
import math
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor
from typing_extensions import Self

from kdcompress.digests import DIGESTS, altered_file, write_digests
from kdcompress.errors import RunError
from kdcompress.files import remove_folder, remove_leftovers, write_file, writing_folder
from kdcompress.students.student import Student
from kdcompress.students.weights import RECORD, WEIGHTS, find_checkpoint, student_files
from kdcompress.text.vocabulary import Vocabulary

_OPTIMIZER, _STATE = "optimizer.safetensors", "state.json"
_TRAINED = "trained/"  # before the names of weights, where those in model.safetensors are averaged


@dataclass
class LoopState:
    """Where the loop stands.

    Attributes:
        step: optimiser steps done.
        epoch: passes over the data done.
        position: batches of the current epoch done; of a packed corpus, of all epochs.
        lowest_score: the lowest `ValidationFigures.score` so far [%].
        lanes: of a packed corpus, (epoch, block, batches done of the block) of each lane: of this process's,
            in a checkpoint of all; None for other audio.
        world_size: processes that the batches were planned for; None in runs of old, which did not write it.
    """

    step: int = 0
    epoch: int = 0
    position: int = 0
    lowest_score: float | None = None
    world_size: int | None = None
    lanes: list[list[int]] | None = None


def checkpoint_files(
    student: Student,
    vocabulary: Vocabulary,
    optimizer: torch.optim.Optimizer,
    state: LoopState,
    record: dict[str, Any],
    *,
    trained: Student | None = None,
    random: Sequence[dict[str, Tensor]] | None = None,
) -> dict[str, bytes]:
    """Return the files of a checkpoint: what is trained on afterwards does not change them.

    Args:
        student: whose weights are kept for use.
        trained: whose weights the optimiser moves, where these are others (averaged ones are kept).
        random: `random_state()` of each process; None where there is one.
    """
    states = [random_state()] if random is None else random
    tensors = _training_tensors(optimizer, None if trained is student else trained, states)
    return {
        **student_files(student, vocabulary, {"step": state.step, "digests": DIGESTS, **record}),
        _OPTIMIZER: save(tensors),
        _STATE: json.dumps(asdict(state)).encode(),
    }


def write_checkpoint(run: Path, step: int, files: Mapping[str, bytes], *, best: bool, keep: int) -> Path:
    """Write a checkpoint, point `last` (and `best`) to it, and delete the oldest beyond `keep`."""
    name = f"step-{step:06d}"
    folder = run / "checkpoints" / name
    with writing_folder(folder) as unfinished:
        for file, content in files.items():
            (unfinished / file).write_bytes(content)
        write_digests(unfinished)
    # best first: killed between the two, the run goes on from the step before, and does this one again.
    for pointer in ("best", "last") if best else ("last",):
        write_file(run / pointer, name + "\n")
    prune(run, keep)
    return folder


class Saving:
    """Writes checkpoints one after the other, beside the training or while that waits.

    As a context it ends with the last of them on the disk.
    """

    def __init__(self, run: Path, keep: int, minutes: float | None) -> None:
        """Prepare for a run whose checkpoints are at most so many minutes apart."""
        self.run, self.keep = run, keep
        self._seconds = math.inf if minutes is None else 60 * minutes
        self._last = time.monotonic()
        self._thread = ThreadPoolExecutor(1)
        self._running: Future[Path] | None = None

    @property
    def due(self) -> bool:
        """Whether the last checkpoint was that long ago."""
        return time.monotonic() - self._last >= self._seconds

    def write(self, step: int, files: Mapping[str, bytes], *, best: bool, wait: bool) -> None:
        """Write a checkpoint, once the one before is written.

        Raises:
            OSError: one of the two could not be written.
        """
        self._finish()
        self._running = self._thread.submit(
            write_checkpoint, self.run, step, files, best=best, keep=self.keep
        )
        self._last = time.monotonic()
        if wait:
            self._finish()

    def _finish(self) -> None:
        running, self._running = self._running, None
        if running is not None:
            running.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._thread.shutdown()
        if kind is None:
            self._finish()


def load_checkpoint(
    run: Path,
    student: Student,
    optimizer: torch.optim.Optimizer,
    trained: Student | None = None,
    rank: int = 0,
) -> LoopState:
    """Restore weights, optimiser, random states and position from the run's last checkpoint.

    Args:
        student: as in `checkpoint_files`, as is `trained`.
        rank: whose random state it is to be.

    Raises:
        RunError: it has none, or files of it are missing or damaged.
    """
    folder = find_checkpoint(run, "last")
    try:
        files = (_STATE, _OPTIMIZER, RECORD, WEIGHTS)
        if (altered := altered_file(folder, *files, promised_by=RECORD)) is not None:
            raise RunError(f"{altered.name} is {'not what was written' if altered.exists() else 'missing'}")
        state = json.loads((folder / _STATE).read_text(encoding="utf-8"))
        tensors = load_file(folder / _OPTIMIZER)
        student.load_state_dict(load_file(folder / WEIGHTS))
        if trained is not None and trained is not student:
            found = {key: value for key, value in tensors.items() if key.startswith(_TRAINED)}
            trained.load_state_dict({key[len(_TRAINED) :]: value for key, value in found.items()})
        _restore_optimizer(optimizer, tensors)
        torch.set_rng_state(tensors.get(f"random/cpu/{rank}", tensors["random/cpu"]))
        if "random/cuda" in tensors and torch.cuda.is_available():
            torch.cuda.set_rng_state(tensors.get(f"random/cuda/{rank}", tensors["random/cuda"]))
        return LoopState(**state)
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise RunError(
            f"cannot resume from {folder} ({reason}); remove it and resume from an older one"
        ) from error


def check_world(out: Path, state: LoopState, now: int) -> None:
    """Refuse processes whose batches would repeat some of those done, and leave out others.

    Raises:
        RunError: there are others than the run was begun with.
    """
    before = state.world_size
    if before is not None and before != now:
        raise RunError(
            f"{out} shares its audio out among {before} process{'es' * (before > 1)}, now there are {now}: "
            f"go on with {before} (torchrun --nproc_per_node), or begin a new run with "
            f"training.start_from={out}"
        )
    state.world_size = now


def random_state() -> dict[str, Tensor]:
    """Return the state of this process's generators, by device."""
    found = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        found["cuda"] = torch.cuda.get_rng_state()
    return found


def _training_tensors(
    optimizer: torch.optim.Optimizer, trained: Student | None, random: Sequence[dict[str, Tensor]]
) -> dict[str, Tensor]:
    """Return what --resume needs beside the student, by names that tell what each is."""
    tensors = {
        f"optimizer/{index}/{name}": value
        for index, entries in optimizer.state_dict()["state"].items()
        for name, value in entries.items()
    }
    for rank, state in enumerate(random):
        tensors |= {f"random/{name}" + (f"/{rank}" if rank else ""): value for name, value in state.items()}
    if trained is not None:
        tensors |= {_TRAINED + name: value for name, value in trained.state_dict().items()}
    return {name: value.detach().cpu().contiguous() for name, value in tensors.items()}


def _restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        kind, *rest = key.split("/")
        if kind == "optimizer":
            state.setdefault(int(rest[0]), {})[rest[1]] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


def prune(run: Path, keep: int) -> None:
    """Delete the oldest checkpoints beyond `keep`, and beside those that `best` and `last` name."""
    pointers = (run / name for name in ("best", "last"))
    named = {pointer.read_text(encoding="utf-8").strip() for pointer in pointers if pointer.is_file()}
    others = sorted(f for f in (run / "checkpoints").glob("step-*") if f.name not in named)
    for folder in others[: max(0, len(others) - keep)]:
        remove_folder(folder)
    remove_leftovers(run / "checkpoints")  # of a prune that was killed
