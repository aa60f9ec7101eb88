"""What of a student can be cut away: inner units of modules that end in a linear map, and whole layers.

House letters: U units of a part, D width.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

Lever: TypeAlias = Literal["heads", "feed_forward", "convolution", "front"]

Axis: TypeAlias = tuple[str, int, int, int]
"""A tensor by its path, the axis that units lie on, how often they repeat there, and values per unit."""


@dataclass(frozen=True)
class Part:
    """Units whose values only reach the rest through one linear map.

    Attributes:
        name: within the student.
        lever: what the units are.
        last: path of that map, a linear layer or a convolution; its inputs are the units', in their order.
        units: how many there are now.
        columns: inputs of the map for each unit.
        axes: every tensor that has the units on an axis, the map's own weight among them.
        behind: path of the module whose input is the stream behind the part; None where it leaves the layer.
        scale: of what the part adds to the stream.
        normed: whether its units share a norm, so that those left change where others go.
        fixed: whether they all have to stay.
        count: path of an attribute that says how many units there are.
    """

    name: str
    lever: Lever
    last: str
    units: int
    columns: int
    axes: tuple[Axis, ...]
    behind: str | None = None
    scale: float = 1.0
    normed: bool = False
    fixed: bool = False
    count: str | None = None

    def last_of(self, owner: nn.Module) -> nn.Module:
        """Return the linear map, of the module that paths begin at."""
        return owner.get_submodule(self.last)

    def module_of(self, owner: nn.Module) -> nn.Module:
        """Return the module of the layer that has the part."""
        return owner.get_submodule(self.last.partition(".")[0])

    @torch.no_grad()
    def cut(self, owner: nn.Module, kept: Tensor) -> "Part":
        """Leave the module that paths begin at some of the units, in place; returns the part as it is now."""
        for path, axis, copies, values in self.axes:
            module, name = _owner(owner, path)
            tensor: Tensor | None = getattr(module, name, None)
            if tensor is None:  # no bias
                continue
            units = kept.to(tensor.device)
            inside = torch.arange(values, device=tensor.device)
            one = (units[:, None] * values + inside).flatten()
            index = torch.cat([one + copy * self.units * values for copy in range(copies)])
            left = tensor.index_select(axis, index).clone()
            if isinstance(tensor, nn.Parameter):
                setattr(module, name, nn.Parameter(left, requires_grad=tensor.requires_grad))
            else:
                setattr(module, name, left)
            _describe(module)
        if self.count is not None:
            module, name = _owner(owner, self.count)
            setattr(module, name, len(kept))
        return replace(self, units=len(kept))

    def parameters(self, owner: nn.Module) -> float:
        """Return the parameters of one unit."""
        total = 0
        for path, *_ in self.axes:
            module, name = _owner(owner, path)
            tensor = getattr(module, name, None)
            total += tensor.numel() if isinstance(tensor, nn.Parameter) else 0
        return total / self.units


@dataclass(frozen=True)
class Layer:
    """A layer of an encoder.

    Attributes:
        module: takes the stream and returns it, alone or first of two.
        parts: in the order in which they add to the stream; their paths begin at the module.
        norm: path of the norm that the stream leaves by, if it does.
    """

    module: nn.Module
    parts: tuple[Part, ...]
    norm: str | None


@dataclass(frozen=True)
class Anatomy:
    """What of a student can be cut away.

    Attributes:
        layers: of the encoder.
        front: parts in front of it; their paths begin at `root`.
        stages: modules of the front by the place of a part; each one's input is the output of the one before,
            and part n is the units between stage n and stage n + 1.
        owners: names of the modules of `root` that have the stages.
        root: of the front's paths.
        tail: from the stream behind the last layer [1, T, D] to log-probabilities [1, T, V].
    """

    layers: tuple[Layer, ...]
    root: nn.Module
    tail: Callable[[Tensor], Tensor]
    front: tuple[Part, ...] = ()
    stages: tuple[nn.Module, ...] = ()
    owners: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[tuple[nn.Module, Part]]:
        """Yield every part with the module that its paths begin at."""
        yield from ((self.root, part) for part in self.front)
        yield from ((layer.module, part) for layer in self.layers for part in layer.parts)

    def sizes(self) -> dict[str, int]:
        """Return the units of each part by its name."""
        return {part.name: part.units for _, part in self}

    def shape(self, sizes: Mapping[str, int]) -> None:
        """Leave each part its first units, so many as it is to have: for weights that are loaded next."""
        for owner, part in list(self):
            if (size := sizes.get(part.name, part.units)) != part.units:
                part.cut(owner, torch.arange(size))


def linear_part(name: str, lever: Lever, owner: nn.Module, first: str, last: str, **place: Any) -> Part:
    """Describe the units between two linear layers."""
    weight: Tensor = owner.get_submodule(last).weight  # type: ignore[assignment]
    axes = ((f"{first}.weight", 0, 1, 1), (f"{first}.bias", 0, 1, 1), (f"{last}.weight", 1, 1, 1))
    return Part(name, lever, last, weight.shape[1], 1, axes, **place)


def _owner(module: nn.Module, path: str) -> tuple[Any, str]:
    above, _, name = path.rpartition(".")
    found: Any = module
    for step in above.split(".") if above else ():
        found = getattr(found, step)
    return found, name


def _describe(module: nn.Module) -> None:
    """Let a module say the sizes that its weights have."""
    if isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, nn.Conv1d):
        depthwise = module.groups > 1
        module.out_channels = module.weight.shape[0]
        module.in_channels = module.out_channels if depthwise else module.weight.shape[1]
        module.groups = module.out_channels if depthwise else 1
    elif isinstance(module, nn.LayerNorm):
        module.normalized_shape = tuple(module.weight.shape)
    elif isinstance(module, nn.modules.batchnorm._BatchNorm):
        module.num_features = len(module.weight)
    elif isinstance(module, nn.GroupNorm):
        module.num_groups = module.num_channels = len(module.weight)
