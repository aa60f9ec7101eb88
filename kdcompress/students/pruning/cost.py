"""What parts and layers of a student cost: bytes, or time on this machine."""

import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kdcompress.students.pruning.anatomy import Layer, Part
from kdcompress.students.student import Student

BYTES = 4  # of a weight
_PASSES = 5


@dataclass(frozen=True)
class Costs:
    """Costs of a student as it is.

    Attributes:
        total: of all.
        units: of one unit of each part by name.
        layers: of each layer.
    """

    total: float
    units: dict[str, float]
    layers: tuple[float, ...]


def byte_costs(student: Student) -> Costs:
    """Count bytes of weights in float32."""
    anatomy = student.anatomy()
    units = {part.name: BYTES * part.parameters(owner) for owner, part in anatomy}
    layers = tuple(float(BYTES * _size(layer.module)) for layer in anatomy.layers)
    return Costs(float(BYTES * student.parameter_count()), units, layers)


@torch.no_grad()
def time_costs(student: Student, sounds: Sequence[Tensor]) -> Costs:
    """Measure seconds on one thread, by layer and by stage of the front; within a layer, by products."""
    anatomy = student.anatomy()
    modules = [*(layer.module for layer in anatomy.layers), *anatomy.stages]
    begun: dict[int, float] = {}
    spent: list[list[float]] = []
    hooks = []
    for index, module in enumerate(modules):

        def begin(*_: object, index: int = index) -> None:
            begun[index] = time.perf_counter()

        def end(*_: object, index: int = index) -> None:
            spent[-1][index] += time.perf_counter() - begun[index]

        hooks += [module.register_forward_pre_hook(begin), module.register_forward_hook(end)]
    totals = []
    with one_thread():
        for _ in range(_PASSES):
            spent.append([0.0] * len(modules))
            totals.append(_seconds(student, sounds))
    for hook in hooks:
        hook.remove()
    seconds = [statistics.median(row[index] for row in spent) for index in range(len(modules))]
    frames = float(student.output_lengths(torch.tensor([max(map(len, sounds))])))
    units: dict[str, float] = {}
    for layer, cost in zip(anatomy.layers, seconds, strict=False):
        weights = {part.name: _products(layer, part, frames) for part in layer.parts}
        whole = max(sum(weights.values()), float(_size(layer.module)))
        units |= {part.name: cost * weights[part.name] / whole / part.units for part in layer.parts}
    stages = seconds[len(anatomy.layers) :]
    for index, part in enumerate(anatomy.front):
        units[part.name] = (stages[index] + stages[index + 1]) / part.units
    return Costs(statistics.median(totals), units, tuple(seconds[: len(anatomy.layers)]))


@torch.no_grad()
def time_ratios(students: Sequence[Student], sounds: Sequence[Tensor]) -> list[list[float]]:
    """Return low, median and high of each one's time as a multiple of the first one's.

    One thread; passes are interleaved, so that a slow moment of the machine is slow for all.
    """
    rows = []
    with one_thread():
        for student in students:
            _seconds(student, sounds[:1])  # warm
        for _ in range(_PASSES):
            taken = [_seconds(student, sounds) for student in students]
            rows.append([value / taken[0] for value in taken])
    columns = [sorted(row[index] for row in rows) for index in range(len(students))]
    return [[column[0], statistics.median(column), column[-1]] for column in columns]


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _seconds(student: Student, sounds: Sequence[Tensor]) -> float:
    begin = time.perf_counter()
    for sound in sounds:
        student(sound[None], torch.tensor([len(sound)]))
    return time.perf_counter() - begin


def _products(layer: Layer, part: Part, frames: float) -> float:
    weights = part.units * part.parameters(layer.module)
    return weights + (2 * frames * part.units * part.columns if part.lever == "heads" else 0)


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
