"""Least squares for one linear map from sums over frames: which units to keep, and the best weights.

N frames, U units, I inputs of the map (and a constant, where it has a bias), O outputs.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

_ROWS = 2048  # at a time: products of the few frames of one utterance take longer than all else
_IDLE = 1e-9  # a unit whose variance is below this share of the largest explains nothing


class Moments:
    """Sums over frames of a map's inputs X and wanted outputs Y, in float64 on the CPU.

    Attributes:
        gram: XᵀX; with a constant 1 as the last column of X, where the map has a bias.
        cross: XᵀY.
        power: sum of Y².
        rows: N.
    """

    def __init__(self, last: nn.Module) -> None:
        weight = _matrix(last)
        self.bias = getattr(last, "bias", None) is not None
        size = weight.shape[1] + self.bias
        self._last = last
        self.gram = torch.zeros(size, size, dtype=torch.float64)
        self.cross = torch.zeros(size, weight.shape[0], dtype=torch.float64)
        self.power, self.rows = 0.0, 0

    @classmethod
    def of(cls, last: nn.Module, pairs: Iterable[tuple[Tensor, Tensor]], step: int = 1) -> "Moments":
        """Sum up what each utterance gives: the map's input, and wanted outputs [N, O], every `step`-th."""
        found = cls(last)
        xs: list[Tensor] = []
        ys: list[Tensor] = []
        for inputs, wanted in pairs:
            xs.append(_frames(last, inputs)[::step])
            ys.append(wanted[::step])
            if sum(map(len, xs)) >= _ROWS:
                found._add(torch.cat(xs), torch.cat(ys).double())
                xs, ys = [], []
        if xs:
            found._add(torch.cat(xs), torch.cat(ys).double())
        return found

    def _add(self, x: Tensor, y: Tensor) -> None:
        x = (torch.cat([x, x.new_ones(len(x), 1)], dim=1) if self.bias else x).double()
        self.gram += (x.T @ x).cpu()  # solved there: CUDA's least squares want full rank
        self.cross += (x.T @ y).cpu()
        self.power += float(y.square().sum())
        self.rows += len(x)

    def of_units(self, kept: Tensor, columns: int) -> "Moments":
        """Return the moments of some of the units."""
        index = (kept[:, None] * columns + torch.arange(columns)).flatten()
        if self.bias:
            index = torch.cat([index, index.new_tensor([len(self.gram) - 1])])
        less = Moments(self._last)
        less.gram, less.cross = self.gram[index][:, index], self.cross[index]
        less.power, less.rows = self.power, self.rows
        return less

    def solve(self, last: nn.Module, pull: float) -> None:
        """Give a map the weights with the least squared error, drawn to those it has.

        Args:
            pull: strength of that, as a share of each input's power, above 0; the bias is free.
        """
        weight = _matrix(last)
        power = self.gram.diagonal()
        strength = (pull * power).clamp(min=max(1e-9 * float(power.max()), 1e-12))  # of idle inputs
        old = weight.T.double().cpu()
        if self.bias:
            strength[-1] = 0.0
            old = torch.cat([old, last.bias[None].double().cpu()])  # type: ignore[index]
        solution = torch.linalg.solve(self.gram + strength.diag(), self.cross + strength[:, None] * old)
        values = solution[: weight.shape[1]].T
        last.weight.copy_(values.reshape(last.weight.shape))  # type: ignore[operator]
        if self.bias:
            last.bias.copy_(solution[-1])  # type: ignore[operator]


def moments_of(inputs: Sequence[Tensor], wanted: Sequence[Tensor]) -> Moments:
    """Return the moments of a linear layer with a bias, given its inputs and wanted outputs [1, T, …]."""
    last = nn.Linear(inputs[0].shape[-1], wanted[0].shape[-1], device="meta")
    return Moments.of(last, ((x, y[0]) for x, y in zip(inputs, wanted, strict=True)))


def rank_units(moments: Moments, columns: int, count: int, batch: int = 1) -> tuple[list[int], list[float]]:
    """Choose units one by one, with what is chosen projected out of the rest.

    Args:
        batch: units to choose at a time, which is faster and less exact.

    Returns:
        The units, the most telling first, and the squared error of Y that is left after each.
    """
    gram, cross, left = moments.gram, moments.cross.clone(), moments.power
    units = (len(gram) - moments.bias) // columns
    places = torch.arange(units * columns).view(units, columns)
    blocks = gram[places[:, :, None], places[:, None, :]]
    # What is projected out of the gram is a product of these; only the columns that are chosen are ever seen.
    room = columns * count + moments.bias
    tall, wide, used = gram.new_empty(len(gram), room), gram.new_empty(room, len(gram)), 0

    def project_out(index: Tensor) -> None:
        nonlocal left, used
        now = gram[:, index] - tall[:, :used] @ wide[:used, index]
        inverse = torch.linalg.pinv(now[index], hermitian=True, atol=float(floor))
        rows, values = now @ inverse, cross[index]
        left -= float((inverse @ values * values).sum())
        blocks.sub_(rows[places] @ now[places].transpose(1, 2))
        cross.addmm_(rows, values, alpha=-1)
        tall[:, used : used + len(index)], wide[used : used + len(index)] = rows, now.T
        used += len(index)

    floor = torch.zeros(())
    if moments.bias:
        project_out(torch.tensor([len(gram) - 1]))
    floor = _IDLE * blocks.diagonal(dim1=1, dim2=2).max()
    chosen: list[int] = []
    errors: list[float] = []
    while len(chosen) < count:
        wanted = cross[: units * columns].view(units, columns, -1)
        variance = blocks.diagonal(dim1=1, dim2=2).sum(dim=1)
        if columns == 1:
            explained = wanted.square().sum(dim=(1, 2)) / variance.clamp(min=floor)
        else:
            inverse = torch.linalg.pinv(blocks, hermitian=True, atol=float(floor))
            explained = (inverse @ wanted * wanted).sum(dim=(1, 2))
        explained[variance <= floor] = -1  # idle, or explained by the others already
        explained[chosen] = -2
        best = explained.topk(min(batch, count - len(chosen))).indices
        project_out(places[best].flatten())
        chosen += best.tolist()
        errors += [max(left, 0.0)] * len(best)
    return chosen, errors


def _matrix(last: nn.Module) -> Tensor:
    weight: Tensor = last.weight  # type: ignore[assignment]
    return weight.flatten(1)


def _frames(last: nn.Module, inputs: Tensor) -> Tensor:
    """Return the inputs of a map as rows [N, I], in the order of its weight's columns."""
    if isinstance(last, nn.Conv1d):
        kernel, stride = last.kernel_size[0], last.stride[0]
        windows = inputs[0].unfold(1, kernel, stride)  # [C, N, kernel]
        return windows.permute(1, 0, 2).flatten(1)
    return inputs[0]
