"""One utterance's posteriors as a cache keeps them, and back.

A kept frame is fp16 log-probabilities of all tokens, or of K with the mass of the rest beside them; a frame
that is not kept is that form with K = 1, the blank. What was left out comes back as the flattest distribution
that agrees with what was kept: the mass of the rest in equal parts. So labels, blank mass, the K tokens and
the rest are the teacher's own (fp16 apart), and every reader downstream sees ordinary posteriors.

House letters: T frames, V vocabulary, K tokens kept, N frames kept.
"""

import math
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kdcompress.distill.objective.frame_targets import best_and_rest, blank_occupancy

Arrays = dict[str, NDArray]

_LOWEST = -65_000.0  # fp16 ends at -65504


def pack(log_probs_TV: Tensor, kept_T: Tensor, blank: int, top_k: int | None) -> Arrays:
    """Turn float32 posteriors into what is stored.

    Returns:
        kept bool [T]; log_probs float16 [N, V], or [N, K] with tokens [N, K] and rest float16 [N]; occupancy
        float16 [T - N, 2]: log mass of {blank, everything else} on the other frames.
    """
    log_probs_TV, kept_T = log_probs_TV.cpu(), kept_T.cpu()
    rows, size = log_probs_TV[kept_T], log_probs_TV.shape[1]
    arrays: Arrays = {"kept": kept_T.numpy()}
    if top_k is None or top_k >= size:
        arrays["log_probs"] = _rounded(rows)
    else:
        tokens, log_probs, rest = best_and_rest(rows, blank, top_k)
        arrays["tokens"] = tokens.numpy().astype(token_type(size))
        arrays["log_probs"] = _rounded(log_probs)
        arrays["rest"] = _half(rest).numpy()
    arrays["occupancy"] = _half(blank_occupancy(log_probs_TV[~kept_T], blank)).numpy()
    return arrays


def unpack(arrays: Mapping[str, NDArray], size: int, blank: int) -> Tensor:
    """Return float32 posteriors [T, V], normalised, of what `pack` made."""
    kept = torch.from_numpy(arrays["kept"])
    whole = torch.empty(len(kept), size)
    log_probs = torch.from_numpy(arrays["log_probs"]).float()
    if "tokens" in arrays:
        tokens = torch.from_numpy(arrays["tokens"].astype(np.int64))
        whole[kept] = _complete(log_probs, tokens, torch.from_numpy(arrays["rest"]).float(), size)
    else:
        whole[kept] = log_probs.log_softmax(dim=-1)
    if len(arrays["occupancy"]):
        occupancy = torch.from_numpy(arrays["occupancy"]).float()
        blanks = torch.full((len(occupancy), 1), blank)
        whole[~kept] = _complete(occupancy[:, :1], blanks, occupancy[:, 1], size)
    return whole


def bytes_per_frame(size: int, top_k: int | None, kept_share: float) -> float:
    """Return the average bytes of a frame of V = `size` tokens when such a share of frames is kept."""
    row = 2.0 * size
    if top_k is not None and top_k < size:
        row = top_k * (2.0 + token_type(size).itemsize) + 2.0
    return kept_share * row + (1 - kept_share) * 4.0 + 1 / 8


def token_type(size: int) -> np.dtype:
    """Return the smallest type that holds a token of V = `size`."""
    return np.min_scalar_type(size - 1)


def _half(values: Tensor) -> Tensor:
    return values.clamp(_LOWEST, 0).half()


def _rounded(log_probs_NK: Tensor) -> NDArray:
    """Round to fp16 so that the best token stays the best: rivals made equal by it go one step down."""
    rounded = _half(log_probs_NK)
    if not len(rounded):
        return rounded.numpy()
    best = log_probs_NK.argmax(dim=-1, keepdim=True)
    rivals = (rounded >= rounded.gather(1, best)).scatter(1, best, value=False)
    # Of a negative number, the next integer pattern is the next number away from zero.
    lower = (rounded.view(torch.int16) + 1).view(torch.float16)
    return torch.where(rivals, lower, rounded).numpy()


def _complete(log_probs_NK: Tensor, tokens_NK: Tensor, rest_N: Tensor, size: int) -> Tensor:
    count = tokens_NK.shape[1]
    known = torch.cat((log_probs_NK, rest_N[:, None]), dim=-1).log_softmax(dim=-1)
    own, rest = known[:, :count], known[:, count:]
    # Rounding must not lift a share of the rest above the best token.
    below_best = torch.nextafter(own.amax(dim=-1, keepdim=True), torch.tensor(-torch.inf))
    shared = torch.minimum(rest - math.log(size - count), below_best)
    return shared.expand(-1, size).scatter(1, tokens_NK, own)
