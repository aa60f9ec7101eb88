"""Make an utterance's posteriors independent of its batch: measured once, when the model is opened.

Whether masks really hide padding differs between families and even checkpoints: unmasked convolutions
(wav2vec2-conformer, data2vec-audio) and convolutional adapters depend on the padding beside an utterance,
group normalisation does where its statistics take padding in (see group_norm). Dynamically quantized graphs
depend even on other utterances of the same length, since one scale serves the batch. Such models are run in
groups of equal length without padding, or one by one: exact, but slower on a GPU.

b rows of one run, S samples, T frames, V vocabulary.
"""

import math
from collections.abc import Callable, Sequence
from enum import Enum
from typing import TypeAlias

import torch
from torch import Tensor

from kdcompress.audio.utterance import SAMPLE_RATE
from kdcompress.errors import TeacherError
from kdcompress.teachers.teacher import Posteriors

Run: TypeAlias = Callable[[Sequence[Tensor]], tuple[Tensor, list[int]]]
"""From inputs of one or several sizes to logits [b, T, V] and the valid frames of each."""

Prepare: TypeAlias = Callable[[Sequence[Tensor]], list[Tensor]]
"""From utterances [S] to inputs of the model."""

# Rounding is about 1e-6 of the spread, a leak at the edge of an utterance 1e-2 or more.
_TOLERANCE = 1e-3


class BatchPolicy(Enum):
    """Which inputs may share a run of the model."""

    PADDED = "any"
    EQUAL = "those of equal size"
    SINGLE = "none"


def probe_batch_policy(run: Run, prepare: Prepare) -> tuple[BatchPolicy, int]:
    """Find out by trial which inputs may share a run, and the size of V.

    Args:
        run: the model; called with inputs of two sizes at once, so it must mask.
        prepare: from utterances [S] to the model's inputs.
    """
    short, long = _noise(SAMPLE_RATE * 6 // 10), _noise(SAMPLE_RATE)
    with torch.no_grad():
        alone, counts = run(prepare([short]))
        size = alone.shape[2]
        if _same(alone, counts, *run(prepare([short, long]))):
            return BatchPolicy.PADDED, size
    return probe_batch_invariance(run, prepare), size


def probe_batch_invariance(run: Run, prepare: Prepare) -> BatchPolicy:
    """Find out by trial whether inputs of equal size may share a run."""
    one, other = _noise(SAMPLE_RATE * 6 // 10), _noise(SAMPLE_RATE).flip(0)[: SAMPLE_RATE * 6 // 10]
    with torch.no_grad():
        alone, counts = run(prepare([one]))
        together = run(prepare([one, other]))
    return BatchPolicy.EQUAL if _same(alone, counts, *together) else BatchPolicy.SINGLE


def batched_posteriors(
    name: str,
    run: Run,
    inputs: Sequence[Tensor],
    empty: Sequence[bool],
    policy: BatchPolicy,
    size: int,
    frame_shift: float,
) -> Posteriors:
    """Run the model on inputs of any sizes and lay its posteriors into one batch, in the order given.

    Args:
        name: of the teacher, for messages.
        empty: which utterances get no frame, whatever their input gives.
        size: V.

    Raises:
        TeacherError: an output is not finite.
    """
    groups = _groups([len(x) for x in inputs], policy)
    # no_grad, not inference_mode: the result enters losses that autograd runs through.
    with torch.no_grad():
        runs = [(rows, *run([inputs[row] for row in rows])) for rows in groups]
    longest = max((logits.shape[1] for _, logits, _ in runs), default=0)
    device = runs[0][1].device if runs else torch.device("cpu")
    # Padding is the uniform distribution: what padded the batch cannot reach a loss.
    log_probs = torch.full((len(inputs), longest, size), -math.log(size), device=device)
    frames = torch.zeros(len(inputs), dtype=torch.int64)
    for rows, logits, counts in runs:
        for row, logit, count in zip(rows, logits, counts, strict=True):
            if not empty[row]:
                # Of what are log-probabilities already, log_softmax is the identity.
                log_probs[row, :count] = logit[:count].float().log_softmax(dim=-1)
                frames[row] = count
    if not torch.isfinite(log_probs).all():
        raise TeacherError(f"teacher {name} gave NaN or infinity: its weights or the audio are damaged")
    return Posteriors(log_probs, frames.to(device), frame_shift)


def _noise(samples: int) -> Tensor:
    # Quiet first and loud later: what would move a scale that the batch shares.
    noise = 0.1 * torch.randn(samples, generator=torch.Generator().manual_seed(0))
    return noise * torch.linspace(0.5, 1.5, samples)


def _same(alone: Tensor, count: list[int], together: Tensor, counts: list[int]) -> bool:
    # Logits where the model gives them: a saturated blank would hide a leak among probabilities.
    frames = count[0]
    if counts[0] != frames:
        return False
    spread = alone.std().clamp_min(1e-6)
    return bool((alone[0, :frames] - together[0, :frames]).abs().max() <= _TOLERANCE * spread)


def _groups(sizes: Sequence[int], policy: BatchPolicy) -> list[list[int]]:
    if policy is BatchPolicy.PADDED:
        return [list(range(len(sizes)))] if sizes else []
    if policy is BatchPolicy.SINGLE:
        return [[row] for row in range(len(sizes))]
    groups: dict[int, list[int]] = {}
    for row, size in enumerate(sizes):
        groups.setdefault(size, []).append(row)
    return list(groups.values())
