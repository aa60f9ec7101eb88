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
        log_probs: float32, the teacher's, at τ = 1: [N, V] when dense, [N, K] of `tokens` when sparse.
        occupancy: float32 [M, 2], log mass of {blank, everything else} on the M valid frames.
        valid: bool [B, T], which frames these M are.
        tokens: int64 [N, K], K different tokens a frame, the most probable one among them; None: dense.
        rest: float32 [N], log of the teacher's mass outside the K, −∞ where there is none; with tokens only.

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

    def __repr__(self) -> str:
        letter = "V" if self.tokens is None else "K"
        size = self.log_probs.shape[-1]
        return f"FrameTargets({len(self.row)} of {len(self.occupancy)} frames, {letter}={size})"


def frame_targets(
    log_probs_BTV: Tensor, lengths_B: Tensor, blank: int, selection: Selection, frame_shift: float
) -> FrameTargets:
    """Select a teacher's frames by its untempered argmax.

    Args:
        log_probs_BTV: float32, the teacher's.
        lengths_B: valid frames (those that the student has too).
        frame_shift: of the teacher [s].
    """
    log_probs_BTV = log_probs_BTV[:, : int(lengths_B.max())]
    labels = label_frames(log_probs_BTV, lengths_B, blank)
    row, frame = select_frames(selection, labels, lengths_B, frame_shift).nonzero(as_tuple=True)
    valid = valid_frames(lengths_B, log_probs_BTV.shape[1])
    return FrameTargets(
        row, frame, log_probs_BTV[row, frame], blank_occupancy(log_probs_BTV[valid], blank), valid
    )


def blank_occupancy(log_probs_MV: Tensor, blank: int) -> Tensor:
    """Return float32 [M, 2]: log p(blank) and log of the mass of all other tokens.

    The mass is summed from its parts, since 1 - p(blank) loses all digits where the blank is certain.
    """
    others = log_probs_MV.clone()
    others[:, blank] = -torch.inf
    return torch.stack((log_probs_MV[:, blank], others.logsumexp(dim=-1)), dim=-1)
