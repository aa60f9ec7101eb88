"""Teacher posteriors become frame targets; losses read nothing else."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from kdcompress.config.selection import Selection
from kdcompress.distill.objective.selection import label_frames, select_frames
from kdcompress.frontend.masks import valid_frames

_FRAMES = 4096  # at a time, where all at once would copy the whole batch


@dataclass(frozen=True)
class FrameTargets:
    """A teacher's posteriors of a batch on the selected frames and, of the blank alone, on all valid ones.

    Attributes:
        row: int64 [N], the utterance in the batch of each selected frame.
        frame: int64 [N], its frame.
        log_probs: float32, the teacher's, at τ = 1: [N, V] when dense, [N, K] of `tokens` when sparse.
        occupancy: float32 [M, 2], log mass of {blank, everything else} on the M valid frames.
        valid: bool [B, T], which frames these M are.
        tokens: int64 [N, K], K different tokens a frame, the most probable one among them; None: dense.
        rest: float32 [N], log of the teacher's mass outside the K, −∞ where there is none; with tokens only.
        origin: the same where they were made, once they were moved to a device; None before.

    Raises:
        ValueError: shapes that do not belong together.
    """

    row: Tensor
    frame: Tensor
    log_probs: Tensor
    occupancy: Tensor
    valid: Tensor
    tokens: Tensor | None = None
    rest: Tensor | None = None
    origin: "FrameTargets | None" = None

    def __post_init__(self) -> None:
        if self.row.shape != self.frame.shape or self.log_probs.shape[:1] != self.row.shape:
            raise ValueError(
                f"rows {self.row.shape}, frames {self.frame.shape}, targets {self.log_probs.shape}"
            )
        if self.occupancy.shape[1:] != (2,) or self.valid.ndim != 2:
            raise ValueError(f"occupancy {tuple(self.occupancy.shape)} is not [M, 2] or valid is not [B, T]")
        if (self.tokens is None) != (self.rest is None):
            raise ValueError("sparse targets need both tokens [N, K] and rest [N]")
        if self.tokens is not None and self.rest is not None:
            shapes = tuple(self.tokens.shape), tuple(self.rest.shape)
            if shapes != (tuple(self.log_probs.shape), tuple(self.row.shape)):
                raise ValueError(f"tokens, rest {shapes} do not fit targets {tuple(self.log_probs.shape)}")

    def to(self, device: torch.device) -> "FrameTargets":
        """Return them on a device; those made in the host's memory can still be looked at without a wait."""
        if self.row.device == device:
            return self
        tensors = {name: getattr(self, name) for name in ("row", "frame", "log_probs", "occupancy", "valid")}
        tensors |= {} if self.tokens is None else {"tokens": self.tokens, "rest": self.rest}
        moved = {name: value.to(device, non_blocking=True) for name, value in tensors.items()}
        return FrameTargets(**moved, origin=self)

    def places(self, frames: Literal["all", "rest"]) -> tuple[Tensor, Tensor, Tensor]:
        """Return row and frame of the valid frames, or of those not selected, and their log mass [·, 2]."""
        made = self.origin or self
        taken = made.valid
        if frames == "rest":
            taken = taken.index_put((made.row, made.frame), torch.tensor(False, device=taken.device))
        row, frame = taken.nonzero(as_tuple=True)
        occupancy = self.occupancy
        if frames == "rest":
            within = taken[made.valid].nonzero()[:, 0]
            occupancy = occupancy[within.to(occupancy.device, non_blocking=True)]
        device = occupancy.device
        return row.to(device, non_blocking=True), frame.to(device, non_blocking=True), occupancy

    def __repr__(self) -> str:
        letter = "V" if self.tokens is None else "K"
        size = self.log_probs.shape[-1]
        return f"FrameTargets({len(self.row)} of {len(self.occupancy)} frames, {letter}={size})"


def frame_targets(
    log_probs_BTV: Tensor,
    lengths_B: Tensor,
    blank: int,
    selection: Selection,
    frame_shift: float,
    *,
    epoch: int = 0,
    keys_B: Tensor | None = None,
    log_prior_V: Tensor | None = None,
    top_k: int | None = None,
) -> FrameTargets:
    """Select a teacher's frames by its untempered argmax.

    Args:
        log_probs_BTV: float32, the teacher's, aligned with the student's frames.
        lengths_B: valid frames (those that the student has too).
        frame_shift: of these frames [s].
        epoch: passes over the data so far, for schedules.
        keys_B: of `selection.draw_keys`, for random selection.
        log_prior_V: log of the teacher's mean posterior, for a selection that corrects by it.
        top_k: keep the blank and the K - 1 best other tokens of a frame, and the mass of the rest; None keeps
            all tokens.

    Raises:
        ValueError: the selection lacks what it needs.
    """
    log_probs_BTV = log_probs_BTV[:, : int(lengths_B.max())]
    valid = valid_frames(lengths_B, log_probs_BTV.shape[1])
    # Row by row: views, where indexing by `valid` would copy the batch.
    rows = [row[:length] for row, length in zip(log_probs_BTV, lengths_B.tolist(), strict=True)]
    occupancy = torch.cat([blank_occupancy(row, blank) for row in rows])
    nonblank = log_probs_BTV.new_full(valid.shape, -torch.inf)
    nonblank[valid] = occupancy[:, 1]
    labels = label_frames(_corrected(log_probs_BTV, selection, log_prior_V), lengths_B, blank)
    selected = select_frames(
        selection, labels, lengths_B, frame_shift, epoch=epoch, nonblank_BT=nonblank, keys_B=keys_B
    )
    row, frame = selected.nonzero(as_tuple=True)
    log_probs = log_probs_BTV[row, frame]
    if top_k is None or top_k >= log_probs.shape[1]:
        return FrameTargets(row, frame, log_probs, occupancy, valid)
    tokens, log_probs, rest = best_and_rest(log_probs, blank, top_k)
    return FrameTargets(row, frame, log_probs, occupancy, valid, tokens, rest)


def _corrected(log_probs_BTV: Tensor, selection: Selection, log_prior_V: Tensor | None) -> Tensor:
    """Return what the blank decision is the argmax of."""
    if selection.prior is None:
        return log_probs_BTV
    if log_prior_V is None:
        raise ValueError(
            "a selection that corrects by the prior needs one; see kdcompress.distill.objective.prior"
        )
    return log_probs_BTV - selection.prior.weight * log_prior_V.to(log_probs_BTV)


def best_and_rest(log_probs_NV: Tensor, blank: int, top_k: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the blank and the K - 1 best other tokens of each frame.

    Returns:
        Token ids int64 [N, K], their log-probabilities [N, K], and the log mass of all others [N].
    """
    ranked = log_probs_NV.clone()
    ranked[:, blank] = torch.inf
    tokens = ranked.topk(top_k, dim=-1).indices
    outside = log_probs_NV.scatter(1, tokens, -torch.inf)
    return tokens, log_probs_NV.gather(1, tokens), outside.logsumexp(dim=-1)


def blank_occupancy(log_probs_MV: Tensor, blank: int) -> Tensor:
    """Return float32 [M, 2]: log p(blank) and log of the mass of all other tokens.

    The mass is summed from its parts, since 1 - p(blank) loses all digits where the blank is certain.
    """
    others = []
    for part in log_probs_MV.split(_FRAMES):  # not all at once: logsumexp copies what it is given
        sides = [side.logsumexp(dim=-1) for side in (part[:, :blank], part[:, blank + 1 :]) if side.shape[1]]
        others.append(sides[0] if len(sides) == 1 else torch.logaddexp(*sides))
    return torch.stack((log_probs_MV[:, blank], torch.cat(others)), dim=-1)
