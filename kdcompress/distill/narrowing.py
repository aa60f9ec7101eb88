"""Narrow a student's feed-forward modules to the inner units that say most, refitted; or widen them.

To narrow: module after module, from the front to the back: units are chosen one at a time, each the one
that explains most of what the module should add (orthogonal least squares, Chen, Billings & Luo 1989), and
the outer matrix is then solved for in closed form. What a module should add is what brings the narrowed
student's stream back to where the wide one's is at this place, so that a module also mends what those before
it have lost (reconstruction as by He et al. 2017, arXiv 1707.06168). Nothing is trained, no transcript read.

House letters: T frames, N frames of all utterances, I inner units, D width.
"""

import copy
from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
from torch import Tensor, nn

from kdcompress.audio.utterance import Utterance
from kdcompress.distill.data import decode
from kdcompress.errors import AudioError
from kdcompress.students.conformer import HALF_STEP, ConformerBlock
from kdcompress.students.layers import FeedForward
from kdcompress.students.student import CtcStudent

SECONDS = 480.0  # of audio to listen to: twice as much changes nothing
_NORM, _WIDEN, _ACTIVATE, _SHRINK = range(4)  # places in `FeedForward`
_IDLE = 1e-9  # a unit whose variance is below this share of the largest says nothing

Streams: TypeAlias = list[Tensor]
"""What passes one place of a student, float32 [1, T, D] for each utterance."""


@torch.no_grad()
def narrow(
    student: CtcStudent,
    inner: int,
    utterances: Sequence[Utterance],
    on_progress: Callable[[int, int], None] | None = None,
) -> None:
    """Leave every feed-forward module `inner` units, in place; the configuration is the caller's to change.

    Args:
        student: in eval mode.
        utterances: to listen to; evenly spaced ones of about eight minutes are taken.
        on_progress: told of layers done, of all.

    Raises:
        AudioError: none of them could be heard.
    """
    encoder = student.encoder
    streams: Streams = []
    total = sum(u.duration for u in utterances)
    for utterance in utterances[:: max(1, int(total / SECONDS))]:
        batch = decode([utterance])  # alone: padding is no speech
        if batch.ids:
            features, lengths = student.frontend(batch.waveforms, batch.lengths)
            streams.append(encoder.subsampling(features, lengths)[0])
    if not streams:
        raise AudioError("no audio could be read to choose feed-forward units by; see data.audio")
    wide_streams = streams
    for index, block in enumerate(encoder.blocks):
        assert isinstance(block, ConformerBlock)
        wide = copy.deepcopy(block)
        wide_second, wide_out = _through(student, wide, wide_streams)
        _narrow(block.first, inner, streams, _missing(wide.first, streams, wide_streams))
        second, _ = _through(student, block, streams)
        _narrow(block.second, inner, second, _missing(wide.second, second, wide_second))
        streams, wide_streams = _through(student, block, streams)[1], wide_out
        if on_progress is not None:
            on_progress(index + 1, len(encoder.blocks))


@torch.no_grad()
def widen(student: CtcStudent, inner: int) -> None:
    """Give every feed-forward module up to `inner` units, in place; new ones are heard only once trained.

    Their inner weights are drawn as for a new student and their outer ones are zero, so that the output stays
    what it was (in the spirit of Net2Net, Chen et al. 2016, arXiv 1511.05641).
    """
    for module in student.modules():
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


def _through(student: CtcStudent, block: ConformerBlock, streams: Streams) -> tuple[Streams, Streams]:
    """Return what reaches a block's second feed-forward module, and what leaves the block."""
    arriving: Streams = []
    hook = block.second.register_forward_pre_hook(lambda _, inputs: arriving.append(inputs[0]))
    leaving = []
    for x in streams:
        valid = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
        leaving.append(block(x, valid, *student.encoder.rotary(x.shape[1])))
    hook.remove()
    return arriving, leaving


def _missing(wide: FeedForward, streams: Streams, wide_streams: Streams) -> Streams:
    """Return what a narrowed module has to say for the stream behind it to be the wide student's."""
    return [wide(x) + (x - own) / HALF_STEP for own, x in zip(streams, wide_streams, strict=True)]


def _narrow(module: FeedForward, inner: int, streams: Streams, wanted: Streams) -> None:
    widen, shrink = module[_WIDEN], module[_SHRINK]
    assert isinstance(widen, nn.Linear)
    assert isinstance(shrink, nn.Linear)
    gram: Tensor | float = 0.0  # [I + 1, I + 1], the last of the constant that the bias multiplies
    cross: Tensor | float = 0.0  # [I + 1, D]
    for x, target in zip(streams, wanted, strict=True):
        units = module[_ACTIVATE](widen(module[_NORM](x)))[0].double()
        units = torch.cat([units, units.new_ones(len(units), 1)], dim=1)
        gram = gram + (units.T @ units).cpu()  # solved there: CUDA's least squares want full rank
        cross = cross + (units.T @ target[0].double()).cpu()
    assert isinstance(gram, Tensor)
    assert isinstance(cross, Tensor)
    kept = _most_telling(gram, cross, inner)
    with_bias = torch.cat([kept, kept.new_tensor([len(gram) - 1])])
    solution = torch.linalg.lstsq(gram[with_bias][:, with_bias], cross[with_bias], driver="gelsd").solution
    first, second = nn.Linear(widen.in_features, inner), nn.Linear(inner, shrink.out_features)
    first.weight.copy_(widen.weight[kept])
    first.bias.copy_(widen.bias[kept])
    second.weight.copy_(solution[:-1].T)
    second.bias.copy_(solution[-1])
    module[_WIDEN], module[_SHRINK] = first.to(widen.weight.device), second.to(widen.weight.device)


def _most_telling(gram: Tensor, cross: Tensor, count: int) -> Tensor:
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
        explained[variance <= floor] = -1  # idle, or said by the others already
        explained[chosen] = -2
        chosen.append(int(explained.argmax()))
        project_out(chosen[-1])
    return torch.tensor(sorted(chosen))
