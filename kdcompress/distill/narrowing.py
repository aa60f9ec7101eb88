"""Narrow a trained student's feed-forward modules: keep the inner units that matter on some audio.

A unit's share in the module's output is its activation times its column of the outer matrix. Units whose
share varies least are dropped, and their mean share goes into the bias, so that a unit that never changes is
dropped without loss (structured pruning with bias compensation, in the spirit of He et al. 2017, arXiv
1707.06168, who choose channels). House letters: N frames, I inner units, D width.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kdcompress.audio.utterance import Utterance
from kdcompress.distill.data import decode
from kdcompress.errors import AudioError
from kdcompress.students.layers import FeedForward
from kdcompress.students.student import CtcStudent

SECONDS = 180.0  # of audio to listen to: units are told apart well before
_WIDEN, _ACTIVATE, _SHRINK = 1, 2, 3  # places in `FeedForward`


class _Moments:
    """Mean and variance of each inner unit, over all frames that pass."""

    def __init__(self) -> None:
        self.sum: Tensor | float = 0.0
        self.squares: Tensor | float = 0.0
        self.frames = 0

    def __call__(self, module: nn.Module, inputs: object, output: Tensor) -> None:
        frames = output.detach().flatten(0, -2).double()
        self.sum = self.sum + frames.sum(dim=0)
        self.squares = self.squares + frames.square().sum(dim=0)
        self.frames += len(frames)

    def of(self) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation, float64 [I]."""
        mean = torch.as_tensor(self.sum / self.frames)
        return mean, (torch.as_tensor(self.squares / self.frames) - mean.square()).clamp(min=0).sqrt()


@torch.no_grad()
def narrow(student: CtcStudent, inner: int, utterances: Sequence[Utterance]) -> None:
    """Leave every feed-forward module `inner` units, in place; the configuration is the caller's to change.

    Args:
        student: in eval mode.
        utterances: to listen to; evenly spaced ones of about three minutes are taken.

    Raises:
        AudioError: none of them could be heard.
    """
    modules = [module for module in student.modules() if isinstance(module, FeedForward)]
    moments = [_Moments() for _ in modules]
    hooks = [
        module[_ACTIVATE].register_forward_hook(found) for module, found in zip(modules, moments, strict=True)
    ]
    total = sum(u.duration for u in utterances)
    for utterance in utterances[:: max(1, int(total / SECONDS))]:
        batch = decode([utterance])  # alone: padding is no speech
        if batch.ids:
            student(batch.waveforms, batch.lengths)
    for hook in hooks:
        hook.remove()
    if not moments or not moments[0].frames:
        raise AudioError("no audio could be read to choose feed-forward units by; see data.audio")
    for module, found in zip(modules, moments, strict=True):
        _narrow(module, inner, *found.of())


def _narrow(module: FeedForward, inner: int, mean_I: Tensor, deviation_I: Tensor) -> None:
    widen, shrink = module[_WIDEN], module[_SHRINK]
    assert isinstance(widen, nn.Linear)
    assert isinstance(shrink, nn.Linear)
    importance = deviation_I * shrink.weight.norm(dim=0)
    kept = importance.topk(inner).indices.sort().values
    dropped = torch.ones_like(importance, dtype=torch.bool).index_fill(0, kept, False)
    bias = shrink.bias + (shrink.weight[:, dropped].double() @ mean_I[dropped]).to(shrink.bias)
    first, second = nn.Linear(widen.in_features, inner), nn.Linear(inner, shrink.out_features)
    for new, weight, offset in (
        (first, widen.weight[kept], widen.bias[kept]),
        (second, shrink.weight[:, kept], bias),
    ):
        new.weight.copy_(weight)
        new.bias.copy_(offset)
    module[_WIDEN], module[_SHRINK] = first, second
