"""Run an encoder layer by layer on one utterance, and see what passes a place."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from kdcompress.students.pruning.anatomy import Anatomy, Part
from kdcompress.students.student import Student


@dataclass(frozen=True)
class Stream:
    """One utterance on its way through an encoder.

    Attributes:
        x: [1, T, D].
        rest: other positional arguments of a layer.
        options: its keyword arguments.
        known: what modules of the layer return for this stream, computed once; None where that is to be kept
            the next time.
    """

    x: Tensor
    rest: tuple[Any, ...]
    options: dict[str, Any]
    known: dict[nn.Module, Any] = field(default_factory=dict)

    def through(self, layer: nn.Module) -> "Stream":
        """Return the stream behind a layer."""
        with self._computed_once():
            found = layer(self.x, *self.rest, **self.options)
        if not isinstance(found, tuple):
            return Stream(found, self.rest, self.options)
        if "position_bias" in self.options:  # WavLM's hand on the one that the first has made
            return Stream(found[0], self.rest, {**self.options, "position_bias": found[1]})
        return Stream(found[0], self.rest, self.options)

    @contextmanager
    def _computed_once(self) -> Iterator[None]:
        hooks, known = [], self.known

        def keep(module: nn.Module, _: Any, output: Any) -> None:
            known[module] = output

        replaced = [module for module, output in known.items() if output is not None]
        for module in known.keys() - replaced:
            hooks.append(module.register_forward_hook(keep))
        for module in replaced:
            module.forward = partial(_return, known[module])
        try:
            yield
        finally:
            for module in replaced:
                del module.forward  # the class's own again
            for hook in hooks:
                hook.remove()


def _return(output: Any, *_: Any, **__: Any) -> Any:
    return output


@dataclass(frozen=True)
class Seen:
    """What passes a part.

    Attributes:
        inputs: of its last map, as that takes them.
        output: of its last map, [1, T, O].
        behind: the stream behind the part.
    """

    inputs: Tensor
    output: Tensor
    behind: Tensor


class _Reached(Exception):
    """Ends a forward pass once its place is reached."""


def entering(student: Student, waveform: Tensor, place: nn.Module | None = None) -> Stream:
    """Return what the encoder's first layer is called with for a waveform [S]; or another module."""
    place = student.anatomy().layers[0].module if place is None else place
    kept: list[Stream] = []

    def stop(_: nn.Module, rest: tuple[Any, ...], options: dict[str, Any]) -> None:
        kept.append(Stream(rest[0], rest[1:], options))
        raise _Reached

    hook = place.register_forward_pre_hook(stop, with_kwargs=True)
    device = next(student.parameters()).device
    with suppress(_Reached):
        student(waveform[None].to(device), torch.tensor([len(waveform)], device=device))
    hook.remove()
    return kept[0]


def watch_one(stream: Stream, layer: nn.Module, part: Part) -> Seen:
    """Return what passes a part of a layer, which is run no further."""
    if part.behind is None:
        return watch(stream, layer, [part])[0][0]
    kept: list[Tensor] = []

    def keep(module: nn.Module, given: Any, output: Tensor) -> None:
        kept.extend((given[0], output.transpose(1, 2) if isinstance(module, nn.Conv1d) else output))

    def stop(_: nn.Module, given: Any) -> None:
        kept.append(given[0])
        raise _Reached

    hooks = [
        part.last_of(layer).register_forward_hook(keep),
        layer.get_submodule(part.behind).register_forward_pre_hook(stop),
    ]
    with suppress(_Reached):
        stream.through(layer)
    for hook in hooks:
        hook.remove()
    return Seen(*kept)


def watch(stream: Stream, layer: nn.Module, parts: Sequence[Part]) -> tuple[list[Seen], Stream]:
    """Return what passes some parts of a layer, and the stream behind the layer."""
    inputs: dict[int, Tensor] = {}
    outputs: dict[int, Tensor] = {}
    behind: dict[int, Tensor] = {}
    hooks = []
    for index, part in enumerate(parts):
        last = part.last_of(layer)

        def keep(module: nn.Module, given: Any, output: Tensor, index: int = index) -> None:
            inputs[index] = given[0]
            outputs[index] = output.transpose(1, 2) if isinstance(module, nn.Conv1d) else output

        hooks.append(last.register_forward_hook(keep))
        if part.behind is not None:

            def reach(_: nn.Module, given: Any, index: int = index) -> None:
                behind[index] = given[0]

            hooks.append(layer.get_submodule(part.behind).register_forward_pre_hook(reach))
    leaving = stream.through(layer)
    for hook in hooks:
        hook.remove()
    seen = [Seen(inputs[i], outputs[i], behind.get(i, leaving.x)) for i in range(len(parts))]
    return seen, leaving


def between(anatomy: Anatomy, index: int, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return what the last map of a part of the front is given, and gives [N, O], for its stage's input."""
    kept: list[tuple[Tensor, Tensor]] = []
    part = anatomy.front[index]
    last = part.last_of(anatomy.root)
    hook = last.register_forward_hook(lambda _, given, output: kept.append((given[0], output)))
    values = anatomy.stages[index](x)
    projected = index + 2 == len(anatomy.stages)  # takes channels last
    anatomy.stages[index + 1](values.transpose(1, 2) if projected else values)
    hook.remove()
    inputs, output = kept[0]
    return inputs, output[0] if projected else output[0].T
