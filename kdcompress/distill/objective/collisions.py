"""Tokens of a teacher that coarser frames have no room for.

House letters: B batch, T teacher frames, V vocabulary.
"""

from dataclasses import astuple, dataclass

import torch
from torch import Tensor
from torch.nn import functional

from kdcompress.frontend.masks import valid_frames


@dataclass(frozen=True)
class Collisions:
    """Counts over utterances, at some number of teacher frames per student frame.

    Attributes:
        tokens: of the teacher's greedy transcripts.
        shared: tokens that fall into the student frame of the token before them, another one.
        doubled: tokens like the one before them, without a student frame in between to be blank.
        utterances: number of utterances.
        infeasible: utterances whose transcript needs more frames than there are: U tokens, and one blank for
            each token that repeats the one before it.
    """

    tokens: int = 0
    shared: int = 0
    doubled: int = 0
    utterances: int = 0
    infeasible: int = 0

    @property
    def share(self) -> float:
        """Share of the tokens that collide with the one before them."""
        return (self.shared + self.doubled) / max(1, self.tokens)

    def __add__(self, other: "Collisions") -> "Collisions":
        pairs = zip(astuple(self), astuple(other), strict=True)
        return Collisions(*(one + another for one, another in pairs))


@dataclass(frozen=True)
class GreedyTokens:
    """Where the tokens of a batch's greedy transcripts begin, and which label comes before each frame.

    Attributes:
        labels: bool [B, T], frames whose best token is not the blank; padding is none.
        begins: bool [B, T], first frames of tokens.
        previous: int64 [B, T], the last label frame before this one; -1 where there is none.
        repeats: bool [B, T], first frames of tokens that equal the token before.
    """

    labels: Tensor
    begins: Tensor
    previous: Tensor
    repeats: Tensor

    @property
    def frames_needed(self) -> Tensor:
        """The fewest frames in which CTC can give each transcript, int64 [B]: U + repeats."""
        return self.begins.sum(dim=1) + self.repeats.sum(dim=1)

    def collisions(self, factor: int, frames_B: Tensor) -> Collisions:
        """Count what gets lost with `factor` of these frames to each of so many student frames [B]."""
        frame = torch.arange(self.labels.shape[1], device=self.labels.device)
        apart = frame // factor - self.previous // factor
        others = self.begins & ~self.repeats & (self.previous >= 0)
        counts = torch.stack(
            [
                self.begins.sum(),
                (others & (apart == 0)).sum(),
                (self.repeats & (apart <= 1)).sum(),
                (self.frames_needed > frames_B).sum(),
            ]
        )
        tokens, shared, doubled, infeasible = counts.tolist()  # one wait for the device instead of four
        return Collisions(tokens, shared, doubled, len(frames_B), infeasible)


def greedy_tokens(log_probs_BTV: Tensor, lengths_B: Tensor, blank: int) -> GreedyTokens:
    """Find the tokens of each utterance's greedy transcript."""
    best = log_probs_BTV.argmax(dim=-1)
    labels = (best != blank) & valid_frames(lengths_B, best.shape[1])
    best = best.masked_fill(~labels, blank)
    begins = labels & (best != functional.pad(best, (1, 0), value=blank)[:, :-1])
    frame = torch.arange(best.shape[1], device=best.device).expand_as(best)
    latest = functional.pad(frame.masked_fill(~labels, -1), (1, 0), value=-1).cummax(dim=1).values
    previous = latest[:, :-1]
    same = best == best.gather(1, previous.clamp(min=0))
    return GreedyTokens(labels, begins, previous, begins & (previous >= 0) & same)


def collisions(log_probs_BTV: Tensor, lengths_B: Tensor, blank: int, factor: int) -> Collisions:
    """Count what a teacher's greedy transcripts lose with `factor` of its frames to one of the student's.

    Where nothing collides, pooled posteriors have the same greedy transcripts; see `FrameAlignment`.
    """
    return greedy_tokens(log_probs_BTV, lengths_B, blank).collisions(factor, -(-lengths_B // factor))
