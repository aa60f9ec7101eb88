"""Find the thin matrices of a separable student in closed form, so that it begins near the one it is made of.

Layer after layer, from the front to the back: the thin pair is the best of its rank at giving, from what the
reduced student has at this place, what the full one gives there (reduced-rank regression, Izenman 1975), so
that a layer also mends what those before it have lost. Gates and feed-forward modules keep the units that
explain most of their output (see `pruning`). Each layer's input is brought to unit scale: steps of one size
then suit all weights. Nothing is trained, no transcript is read.

House letters: N frames of all utterances, D width.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from kdcompress.aliases import Progress
from kdcompress.errors import AudioError
from kdcompress.students.pruning.moments import moments_of, rank_units

if TYPE_CHECKING:
    from kdcompress.students.separable import AttentionBlock, SeparableBlock, SeparableStudent

Streams: TypeAlias = list[Tensor]
"""What passes one place of a student, float32 [1, T, D] for each utterance."""

_PULL = 0.01  # towards smaller weights, as a share of each input's power: many channels say nearly the same
_FLOOR = 1e-6  # of a deviation


@torch.no_grad()
def reduce_student(
    student: "SeparableStudent",
    wide: "SeparableStudent",
    features: Sequence[tuple[Tensor, Tensor]],
    on_progress: Progress | None = None,
) -> None:
    """Fill a student's weights from those of one with larger ranks and more units, in eval mode.

    Args:
        features: of one utterance each, [1, T, F] and [1], to measure by.
        on_progress: called with layers done, of all.

    Raises:
        AudioError: there are none.
    """
    if not features:
        raise AudioError("no audio could be read to find thin matrices by; see data.audio")
    of = len(student.blocks) + len(student.attention)
    wanted = [wide.stem_out(wide.stemmed(*found)) for found in features]
    fit_stem(student, features, wanted)
    own = [functional.gelu(student.stem_out(student.stemmed(*found))) for found in features]
    full = [functional.gelu(x) for x in wanted]
    for done, (reduced, block) in enumerate(
        zip((*student.blocks, *student.attention), (*wide.blocks, *wide.attention), strict=True)
    ):
        reduce = _convolution if done < len(student.blocks) else _attention
        own, full = reduce(reduced, block, own, full)
        if on_progress is not None:
            on_progress(done + 1, of)
    _fit(student.head, own, [wide.head(x) for x in full])


def fit_stem(student: "SeparableStudent", features: Sequence[tuple[Tensor, Tensor]], wanted: Streams) -> None:
    """Solve for the first layer: from features to what it should give [1, T, D]."""
    stem, taps = student.stem, student.stem.kernel_size[0]
    around = stem.padding[0]
    assert isinstance(around, int)
    windows = [
        functional.pad(x, (0, 0, around, around)).unfold(1, taps, stem.stride[0]).flatten(2)
        for x, _ in features
    ]
    if isinstance(student.stem_out, nn.Identity):
        whole = nn.Linear(windows[0].shape[-1], stem.out_channels)
        _fit(whole, windows, wanted)
        stem.weight.copy_(whole.weight.unflatten(1, (-1, taps)))
        assert stem.bias is not None
        stem.bias.copy_(whole.bias)
        return
    inward = nn.Linear(windows[0].shape[-1], stem.out_channels, bias=False)
    _fit(nn.Sequential(inward, student.stem_out), windows, wanted)
    stem.weight.copy_(inward.weight.unflatten(1, (-1, taps)))


def _convolution(
    reduced: "SeparableBlock", wide: "SeparableBlock", own: Streams, full: Streams
) -> tuple[Streams, Streams]:
    reduced.depthwise.load_state_dict(wide.depthwise.state_dict())
    valid = [torch.ones_like(x[:, :, :1]) for x in own]
    spread = [reduced.spread(x, v) for x, v in zip(own, valid, strict=True)]
    mean, scale = _mean_and_scale(spread)
    # Channels whose output is small and far from zero would want large weights behind them.
    reduced.depthwise.weight.div_(scale[:, None, None])
    assert reduced.depthwise.bias is not None
    reduced.depthwise.bias.sub_(mean).div_(scale)
    spread = [(x - mean) / scale for x in spread]
    inner = [wide.pointwise(wide.spread(x, v)) for x, v in zip(full, valid, strict=True)]
    _fit(reduced.pointwise, spread, inner)
    ours = [functional.silu(reduced.pointwise(x)) for x in spread]
    theirs = [functional.silu(x) for x in inner]
    gates = [wide.excite(wide.squeezed(y, v)) for y, v in zip(theirs, valid, strict=True)]
    squeezed = [wide.squeezed(y, v) for y, v in zip(ours, valid, strict=True)]
    _keep_units(reduced.squeeze, reduced.excite, wide.squeeze, _rows(squeezed), _rows(gates))
    return (
        [reduced(x, v) for x, v in zip(own, valid, strict=True)],
        [x + y * gate.sigmoid() for x, y, gate in zip(full, theirs, gates, strict=True)],
    )


def _attention(
    reduced: "AttentionBlock", wide: "AttentionBlock", own: Streams, full: Streams
) -> tuple[Streams, Streams]:
    reduced.norm.load_state_dict(wide.norm.state_dict())
    reduced.inner_norm.load_state_dict(wide.inner_norm.state_dict())
    valid = [torch.ones_like(x[:, :, :1]) for x in own]
    asked = [wide.query_key_value(wide.norm(x)) for x in full]
    _fit(reduced.query_key_value, [reduced.norm(x) for x in own], asked)
    full = [x + wide.out(wide.mixed(x, v)) for x, v in zip(full, valid, strict=True)]
    mixed = [reduced.mixed(x, v) for x, v in zip(own, valid, strict=True)]
    _fit(reduced.out, mixed, [x - y for x, y in zip(full, own, strict=True)])
    own = [x + reduced.out(y) for x, y in zip(own, mixed, strict=True)]
    full = [x + wide.shrink(wide.inner(x)) for x in full]
    missing = [x - y for x, y in zip(full, own, strict=True)]
    _keep_units(reduced.widen, reduced.shrink, wide.widen, [wide.inner(x) for x in own], missing)
    return [x + reduced.shrink(reduced.inner(x)) for x in own], full


def _fit(layer: nn.Module, inputs: Streams, wanted: Streams) -> None:
    """Solve for a linear layer, or for the best pair of its rank."""
    mean, scale = _mean_and_scale(inputs)
    scaled = [(x - mean) / scale for x in inputs]
    found = moments_of(scaled, wanted)
    gram, cross = found.gram, found.cross
    frames = gram[-1, -1]
    target = cross[-1] / frames
    gram, cross = gram[:-1, :-1], cross[:-1]
    solution = torch.linalg.solve(gram + frames * _PULL * torch.eye(len(gram), dtype=gram.dtype), cross)
    mean, scale = mean.double().cpu(), scale.double().cpu()
    if isinstance(layer, nn.Linear):
        weight = solution / scale[:, None]
        layer.weight.copy_(weight.T)
        layer.bias.copy_(target - mean @ weight)
        return
    assert isinstance(layer, nn.Sequential)
    first, second = layer
    assert isinstance(first, nn.Linear)
    assert isinstance(second, nn.Linear)
    outward = torch.linalg.eigh(solution.T @ gram @ solution).eigenvectors[:, -first.out_features :]
    inward = solution @ outward
    # What passes between the two has unit scale as well.
    between = ((inward * (gram @ inward)).sum(dim=0) / frames).sqrt().clamp(min=_FLOOR)
    inward, outward = inward / between / scale[:, None], outward * between
    size = inward.shape[1]  # smaller than asked where there are fewer outputs
    first.weight.zero_()[:size] = inward.T
    second.weight.zero_()[:, :size] = outward
    second.bias.copy_(target - mean @ inward @ outward.T)


def _keep_units(
    widen: nn.Linear, shrink: nn.Linear, wide: nn.Linear, units: Streams, wanted: Streams
) -> None:
    """Take over the units that explain most of what is wanted, and solve for the outer matrix."""
    found = moments_of(units, wanted)
    kept = torch.tensor(sorted(rank_units(found, 1, widen.out_features)[0]))
    found = found.of_units(kept, 1)
    gram, cross = found.gram, found.cross
    pull = _PULL * gram.diagonal()
    pull[-1] = 0.0  # the bias is free
    solution = torch.linalg.lstsq(gram + pull.diag(), cross, driver="gelsd").solution
    widen.weight.copy_(wide.weight[kept])
    widen.bias.copy_(wide.bias[kept])
    shrink.weight.copy_(solution[:-1].T)
    shrink.bias.copy_(solution[-1])


def _mean_and_scale(inputs: Streams) -> tuple[Tensor, Tensor]:
    frames = torch.cat([x[0] for x in inputs])
    return frames.mean(dim=0), frames.std(dim=0).clamp(min=_FLOOR)


def _rows(values: Streams) -> Streams:
    """Return one row for each utterance as if they were the frames of one: [1, utterances, D]."""
    return [torch.cat(values).transpose(0, 1)]
