"""The waist of distillation: teacher posteriors become frame targets, and losses read nothing else."""

from dataclasses import dataclass

import torch
from torch import Tensor

from kdcompress.config.objective import Selection
from kdcompress.distill.selection import label_frames, select_frames
from kdcompress.students.layers import valid_frames


@dataclass(frozen=True)
class FrameTargets:
    """What a teacher says of a batch, on the selected frames and, of the blank alone, on all valid ones.

    Attributes:
        row: int64 [N], the utterance in the batch of each selected frame.
        frame: int64 [N], its frame.
        log_probs: float32 [N, V], the teacher's, at τ = 1; [N, K] where `tokens` names the K.
        occupancy: float32 [M, 2], log mass of {blank, everything else} on the M valid frames.
        valid: bool [B, T], which frames these M are.
        tokens: int64 [N, K], the tokens that log_probs are of, the blank first; None: all V in order.
        rest: float32 [N], log of the mass of all other tokens; None as `tokens` is.
    """

    row: Tensor
    frame: Tensor
    log_probs: Tensor
    occupancy: Tensor
    valid: Tensor
    tokens: Tensor | None = None
    rest: Tensor | None = None

    def __post_init__(self) -> None:
        if self.row.shape != self.frame.shape or self.log_probs.shape[:1] != self.row.shape:
            raise ValueError(
                f"rows {self.row.shape}, frames {self.frame.shape}, targets {self.log_probs.shape}"
            )
        if self.occupancy.shape[1:] != (2,) or self.valid.ndim != 2:
            raise ValueError(f"occupancy {tuple(self.occupancy.shape)} is not [M, 2] or valid is not [B, T]")
        shapes = [None if x is None else x.shape for x in (self.tokens, self.rest)]
        if shapes not in ([None, None], [self.log_probs.shape, self.row.shape]):
            raise ValueError(f"tokens and rest are {shapes}: expected both None, or [N, K] and [N]")

    def __repr__(self) -> str:
        return f"FrameTargets({len(self.row)} of {len(self.occupancy)} frames, V={self.log_probs.shape[-1]})"


def frame_targets(
    log_probs_BTV: Tensor,
    lengths_B: Tensor,
    blank: int,
    selection: Selection,
    frame_shift: float,
    top_k: int | None = None,
) -> FrameTargets:
    """Select a teacher's frames by its untempered argmax.

    Args:
        log_probs_BTV: float32, the teacher's.
        lengths_B: valid frames (those that the student has too).
        frame_shift: of the teacher [s].
        top_k: keep the blank and the K - 1 best other tokens of a frame, and the mass of the rest; None keeps
            all tokens.
    """
    log_probs_BTV = log_probs_BTV[:, : int(lengths_B.max())]
    labels = label_frames(log_probs_BTV, lengths_B, blank)
    row, frame = select_frames(selection, labels, lengths_B, frame_shift).nonzero(as_tuple=True)
    valid = valid_frames(lengths_B, log_probs_BTV.shape[1])
    log_probs, occupancy = log_probs_BTV[row, frame], blank_occupancy(log_probs_BTV[valid], blank)
    if top_k is None or top_k >= log_probs.shape[1]:
        return FrameTargets(row, frame, log_probs, occupancy, valid)
    tokens, log_probs, rest = best_and_rest(log_probs, blank, top_k)
    return FrameTargets(row, frame, log_probs, occupancy, valid, tokens, rest)


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
    others = log_probs_MV.clone()
    others[:, blank] = -torch.inf
    return torch.stack((log_probs_MV[:, blank], others.logsumexp(dim=-1)), dim=-1)
