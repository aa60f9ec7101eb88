"""The teacher's prior, for selections that correct the blank decision by it.

House letters: B batch, T frames, V vocabulary.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from kdcompress.aliases import Progress
from kdcompress.audio.utterance import Utterance
from kdcompress.config.pattern import BlankPrior
from kdcompress.config.recipe import Recipe
from kdcompress.digests import sealed, unsealed
from kdcompress.distill.data.audio_batch import Batch, audio_batches
from kdcompress.errors import AudioError, RunError
from kdcompress.files import write_file
from kdcompress.frontend.masks import valid_frames
from kdcompress.teachers.teacher import Posteriors


def resolve_prior(
    recipe: Recipe,
    utterances: Sequence[Utterance],
    source: Callable[[Batch], Posteriors] | None,
    path: Path,
    on_progress: Progress | None = None,
    *,
    resume: bool,
    write: bool,
) -> Tensor | None:
    """Return the prior that the recipe's selection asks for, or None: estimated once, read on resumption.

    Args:
        utterances: to train on.
        source: gives a batch's posteriors, aligned with the student's frames; None without teacher.
        path: where the run keeps it.
        resume: take what is there, if the run came as far as writing it.
        write: whether this process is the one that writes.

    Raises:
        AudioError: no utterance could be read.
        RunError: the file is damaged.
    """
    selection = recipe.objective.selection
    if source is None or selection.prior is None:
        return None
    if resume and path.is_file():
        return load_prior(path)
    log_prior = estimate_prior(selection.prior, utterances, source, recipe.data.batch_seconds, on_progress)
    if write:
        save_prior(path, log_prior)
    return log_prior


def estimate_prior(
    config: BlankPrior,
    utterances: Sequence[Utterance],
    source: Callable[[Batch], Posteriors],
    batch_seconds: float,
    on_progress: Progress | None = None,
) -> Tensor:
    """Return float32 [V]: log of the mean posterior over the valid frames of evenly spaced utterances.

    A token that never got any mass has the smallest positive float instead of none: its correction would be
    infinite.

    Args:
        source: gives a batch's posteriors, aligned with the student's frames.

    Raises:
        AudioError: none of these utterances could be read.
    """
    sample = utterances[:: max(1, len(utterances) // config.utterances)][: config.utterances]
    total: Tensor | float = 0.0
    frames = 0
    for batch in audio_batches(sample, batch_seconds, on_progress):
        posteriors = source(batch)
        valid = valid_frames(posteriors.lengths, posteriors.log_probs.shape[1])
        total = total + posteriors.log_probs[valid].double().exp().sum(dim=0)
        frames += int(valid.sum())
    if not isinstance(total, Tensor) or not frames:
        raise AudioError(f"none of {len(sample)} utterances gave a frame to estimate the prior from")
    return (total / frames).float().clamp(min=torch.finfo(torch.float32).tiny).log()


def save_prior(path: Path, log_prior_V: Tensor) -> None:
    """Write a prior as JSON, every digit of it, so that a resumed run decides as before."""
    write_file(path, json.dumps(sealed({"log_prior": log_prior_V.tolist()})) + "\n")


def load_prior(path: Path) -> Tensor:
    """Read what `save_prior` wrote.

    Raises:
        RunError: the file is damaged.
    """
    try:
        found = unsealed(json.loads(path.read_text(encoding="utf-8")))
        return torch.tensor(found["log_prior"], dtype=torch.float32)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, RecursionError) as error:
        raise RunError(f"cannot read the teacher's prior in {path} ({error}); begin the run anew") from error
