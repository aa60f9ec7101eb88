"""Let a student come later than its teacher: by a fixed delay, or by one that the student's output chooses.

A student that is not given the end of a sound cannot tell what it was. Held to the very frame of a teacher
that is given the whole utterance, it learns the blank there instead.

House letters: B batch, T frames, V vocabulary, K delays.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from kdcompress.aliases import BoolArray, FloatArray, IntArray
from kdcompress.frontend.masks import valid_frames

_FAR = 1e9  # the cost of what must not be [nats]


def delayed(log_probs_BTV: Tensor, frames: int) -> Tensor:
    """Return posteriors that begin with so many repetitions of the first frame."""
    return torch.cat((log_probs_BTV[:, :1].expand(-1, frames, -1), log_probs_BTV), dim=1)


def best_alignment(
    teacher_log_BTV: Tensor, student_log_BTV: Tensor, lengths_B: Tensor, blank: int, most: int
) -> Tensor:
    """Return the frame of the teacher that each frame of the student is held to, int64 [B, max length].

    Of all ways through an utterance in which the student is 0 to `most` frames late, the one with the
    smallest KL(teacher ‖ student), by dynamic programming. From one student frame to the next the teacher's
    goes on by one, stays (one frame later from then on), or leaves a blank out (one less late): every label
    is matched, in its order. At the end nothing but blanks may be left out.

    Args:
        teacher_log_BTV: at the student's frame shift.
        lengths_B: frames that both have.
    """
    frames = max(1, int(lengths_B.max()))
    most = min(most, frames - 1)
    teacher, student = teacher_log_BTV[:, :frames], student_log_BTV[:, :frames]
    likely = teacher.exp()
    entropy_BT = (likely * teacher.clamp(min=-1e30)).sum(-1)
    costs = []
    for late in range(most + 1):
        matched = likely[:, : frames - late]
        cost = entropy_BT[:, : frames - late] - (matched * student[:, late:]).sum(-1)
        costs.append(functional.pad(cost, (late, 0), value=_FAR))
    cost_BTK = torch.stack(costs, dim=-1)
    # On the host: a hundred small steps, each of which would wait for a device.
    blanks_BT = (teacher.argmax(-1) == blank) | ~valid_frames(lengths_B, frames)
    late_BT = _cheapest(cost_BTK.cpu().numpy(), blanks_BT.cpu().numpy(), lengths_B.cpu().numpy())
    at = torch.arange(frames)[None, :] - torch.from_numpy(late_BT)
    return at.clamp(min=0).to(student_log_BTV.device)


def _cheapest(cost_BTK: FloatArray, blanks_BT: BoolArray, lengths_B: IntArray) -> IntArray:
    batch, frames, delays = cost_BTK.shape
    total = np.full((batch, delays), _FAR)
    total[:, 0] = cost_BTK[:, 0, 0]
    came = np.zeros((batch, frames, delays), np.int64)  # from which delay
    rows, kept = np.arange(batch)[:, None], np.arange(delays)[None, :]
    totals = [total]
    for frame in range(1, frames):
        later = np.pad(total[:, :-1], ((0, 0), (1, 0)), constant_values=_FAR)
        # Delay k after k + 1: the teacher's frame before this one, frame − k − 1, was left out.
        skipped = np.maximum(frame - kept - 1, 0)
        sooner = np.pad(total[:, 1:], ((0, 0), (0, 1)), constant_values=_FAR)
        sooner = np.where(blanks_BT[rows, skipped], sooner, _FAR)
        choices = np.stack((total, later, sooner))  # the first of equals: no change of delay
        best = choices.argmin(axis=0)
        came[:, frame] = kept + np.array([0, -1, 1])[best]
        total = np.minimum(choices.min(axis=0) + cost_BTK[:, frame], _FAR)
        totals.append(total)
    late_BT = np.zeros((batch, frames), np.int64)
    for row, length in enumerate(lengths_B.tolist()):
        if not length:
            continue
        # A delay at the end costs the labels of the teacher's last frames.
        labels = ~blanks_BT[row, max(0, length - delays + 1) : length][::-1]
        lost = np.concatenate(([False], np.logical_or.accumulate(labels)))
        lost = np.pad(lost, (0, delays - len(lost)), constant_values=True)
        late = int(np.where(lost, _FAR, totals[length - 1][row]).argmin())
        for frame in range(length - 1, -1, -1):
            late_BT[row, frame] = late
            late = int(came[row, frame, late])
    return late_BT
