"""The pass over whole utterances teaches the one in chunks: two modes of one student.

House letters: B batch, T frames, V vocabulary, W views.
"""

from torch import Tensor

from kdcompress.distill.objective.divergences import kl_divergence
from kdcompress.distill.objective.losses import LossSum
from kdcompress.distill.objective.term import BatchTargets, LossTerm
from kdcompress.frontend.masks import valid_frames


class FullContextTerm(LossTerm):
    """KL from a streaming student's output with full context to that in chunks.

    In-place distillation of dual-mode recognisers (Yu et al. 2021, arXiv 2010.06030): the batch is run
    twice, and all other terms are means over both. The pass with full context is not pulled to the other.
    """

    name, views, full_context = "full_context", 2, True

    def count(self, targets: BatchTargets) -> int:
        return targets.student_frames

    def loss(self, log_probs_BTV: Tensor, lengths_B: Tensor, targets: BatchTargets) -> LossSum:
        raise NotImplementedError("the two passes are compared; see over_views")

    def over_views(self, views_WBTV: Tensor, lengths_B: Tensor, targets: BatchTargets) -> LossSum:
        valid = valid_frames(targets.frames_B, views_WBTV.shape[2]).nonzero(as_tuple=True)
        row, frame = (places.to(views_WBTV.device, non_blocking=True) for places in valid)
        chunked, full = views_WBTV[:, row, frame]
        return LossSum(kl_divergence(full.detach(), chunked), len(row))
