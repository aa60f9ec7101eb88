"""Narrow a Conformer's feed-forward modules to the units that matter most, and refit the rest; or widen them.

To narrow: module after module, from the front to the back: units are chosen one at a time, each the one
that explains most of what the module should add (orthogonal least squares, Chen, Billings & Luo 1989), and
the outer matrix is then solved for in closed form. What a module should add is what brings the narrowed
student's stream back to where the wide one's is at this place, so that a module also mends what those before
it have lost (reconstruction as by He et al. 2017, arXiv 1707.06168); attention and convolution, which stay as
wide as they are, have their outer matrices solved for likewise. Nothing is trained, no transcript is read.

House letters: T frames, N frames of all utterances, I inner units, D width.
"""

import copy
from collections.abc import Iterable
from typing import TypeAlias

import torch
from torch import Tensor, nn

from kdcompress.aliases import Progress
from kdcompress.errors import AudioError
from kdcompress.students.encoder import HALF_STEP, Conformer, ConformerBlock
from kdcompress.students.layers import FeedForward

_NORM, _WIDEN, _ACTIVATE, _SHRINK = range(4)  # places in `FeedForward`
_PULL = 0.1  # of a refitted layer to its old weights, as a share of each input's power
_IDLE = 1e-9  # a unit whose variance is below this share of the largest explains nothing

Streams: TypeAlias = list[Tensor]
"""What passes one place of a student, float32 [1, T, D] for each utterance."""


@torch.no_grad()
def narrow(
    encoder: Conformer,
    inner: int,
    features: Iterable[tuple[Tensor, Tensor]],
    on_progress: Progress | None = None,
) -> None:
    """Leave every feed-forward module `inner` units, in place; the configuration is the caller's to change.

    Args:
        encoder: in eval mode.
        features: of one utterance each, [1, T, F] and [1], to measure by; eight minutes of audio are enough.
        on_progress: called with layers done, of all.

    Raises:
        AudioError: there are none.
    """
    streams: Streams = [encoder.subsampling(values, lengths)[0] for values, lengths in features]
    if not streams:
        raise AudioError("no audio could be read to choose feed-forward units by; see data.audio")
    wide_streams = streams
    for index, block in enumerate(encoder.blocks):
        assert isinstance(block, ConformerBlock)
        wide = copy.deepcopy(block)
        # The wide stream in front of each module is what should come out behind the one before it.
        places = (wide.attention, wide.convolution, wide.second)
        _, before_convolution, before_second, wide_out = _through(encoder, wide, wide_streams, *places)
        _narrow(block.first, inner, streams, _missing(wide.first, streams, wide_streams))
        for module, behind in ((block.attention, before_convolution), (block.convolution, before_second)):
            own, inside, _ = _through(encoder, block, streams, module, module.out)
            _refit(module.out, inside, [y - x for x, y in zip(own, behind, strict=True)])
        own, _ = _through(encoder, block, streams, block.second)
        _narrow(block.second, inner, own, _missing(wide.second, own, before_second))
        (streams,), wide_streams = _through(encoder, block, streams), wide_out
        if on_progress is not None:
            on_progress(index + 1, len(encoder.blocks))


@torch.no_grad()
def widen(encoder: Conformer, inner: int) -> None:
    """Give every feed-forward module up to `inner` units, in place; new ones add nothing until trained.

    Their inner weights are drawn as for a new student and their outer ones are zero, so that the output stays
    what it was (in the spirit of Net2Net, Chen et al. 2016, arXiv 1511.05641).
    """
    for module in encoder.modules():
        if isinstance(module, FeedForward):
            widen, shrink = module[_WIDEN], module[_SHRINK]
            assert isinstance(widen, nn.Linear)
            assert isinstance(shrink, nn.Linear)
            units = widen.out_features
            first, second = nn.Linear(widen.in_features, inner), nn.Linear(inner, shrink.out_features)
            first.weight[:units], first.bias[:units] = widen.weight, widen.bias
            second.weight[:, :units], second.weight[:, units:] = shrink.weight, 0
            second.bias.copy_(shrink.bias)
            module[_WIDEN], module[_SHRINK] = first, second


def _through(
    encoder: Conformer, block: ConformerBlock, streams: Streams, *places: nn.Module
) -> list[Streams]:
    """Return what reaches each of some modules of a block, and last what leaves the block."""
    found: list[Streams] = [[] for _ in places]
    hooks = [
        place.register_forward_pre_hook(lambda _, inputs, kept=kept: kept.append(inputs[0]))
        for place, kept in zip(places, found, strict=True)
    ]
    leaving = []
    for x in streams:
        valid = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
        leaving.append(block(x, valid, *encoder.rotary(x.shape[1])))
    for hook in hooks:
        hook.remove()
    return [*found, leaving]


def _missing(wide: FeedForward, streams: Streams, wide_streams: Streams) -> Streams:
    """Return what a narrowed module has to add for the stream behind it to be the wide student's."""
    return [wide(x) + (x - own) / HALF_STEP for own, x in zip(streams, wide_streams, strict=True)]


def _narrow(module: FeedForward, inner: int, streams: Streams, wanted: Streams) -> None:
    widen, shrink = module[_WIDEN], module[_SHRINK]
    assert isinstance(widen, nn.Linear)
    assert isinstance(shrink, nn.Linear)
    units = [module[_ACTIVATE](widen(module[_NORM](x))) for x in streams]
    gram, cross = moments(units, wanted)
    kept = select_units(gram, cross, inner)
    with_bias = torch.cat([kept, kept.new_tensor([len(gram) - 1])])
    solution = torch.linalg.lstsq(gram[with_bias][:, with_bias], cross[with_bias], driver="gelsd").solution
    first, second = nn.Linear(widen.in_features, inner), nn.Linear(inner, shrink.out_features)
    first.weight.copy_(widen.weight[kept])
    first.bias.copy_(widen.bias[kept])
    second.weight.copy_(solution[:-1].T)
    second.bias.copy_(solution[-1])
    module[_WIDEN], module[_SHRINK] = first.to(widen.weight.device), second.to(widen.weight.device)


def _refit(layer: nn.Linear, inputs: Streams, wanted: Streams) -> None:
    """Solve for a layer anew: least squares, drawn to what it was where the audio determines little."""
    gram, cross = moments(inputs, wanted)
    pull = _PULL * gram.diagonal()
    pull[-1] = 0.0  # the bias is free
    old = torch.cat([layer.weight.T, layer.bias[None]]).double().cpu()
    solution = torch.linalg.solve(gram + pull.diag(), cross + pull[:, None] * old)
    layer.weight.copy_(solution[:-1].T)
    layer.bias.copy_(solution[-1])


def moments(inputs: Streams, wanted: Streams) -> tuple[Tensor, Tensor]:
    """Return XᵀX and XᵀY in float64, with a constant 1 as the last column of X."""
    size = inputs[0].shape[-1] + 1
    gram = torch.zeros(size, size, dtype=torch.float64)
    cross = torch.zeros(size, wanted[0].shape[-1], dtype=torch.float64)
    for x, y in zip(inputs, wanted, strict=True):
        frames = torch.cat([x[0], x.new_ones(x.shape[1], 1)], dim=1).double()
        gram += (frames.T @ frames).cpu()  # solved there: CUDA's least squares want full rank
        cross += (frames.T @ y[0].double()).cpu()
    return gram, cross


def select_units(gram: Tensor, cross: Tensor, count: int) -> Tensor:
    """Return the units, in their order, chosen one by one with what is chosen projected out of the rest."""
    gram, cross = gram.clone(), cross.clone()
    units = len(gram) - 1
    chosen: list[int] = []

    def project_out(index: int) -> None:
        column, row, size = gram[:, index].clone(), cross[index].clone(), gram[index, index].clone()
        if size > 0:
            gram.addr_(column, column / size, alpha=-1)
            cross.addr_(column / size, row, alpha=-1)

    project_out(units)
    floor = _IDLE * gram.diagonal()[:units].max()
    for _ in range(count):
        variance = gram.diagonal()[:units]
        explained = cross[:units].square().sum(dim=1) / variance.clamp(min=floor)
        explained[variance <= floor] = -1  # idle, or explained by the others already
        explained[chosen] = -2
        chosen.append(int(explained.argmax()))
        project_out(chosen[-1])
    return torch.tensor(sorted(chosen))
