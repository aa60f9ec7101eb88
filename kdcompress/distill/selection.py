"""Which frames the student is asked to match: the blank patterns.

House letters: B batch, T frames, V vocabulary.
"""

from torch import Tensor
from torch.nn import functional

from kdcompress.config.objective import SelectAll, SelectEliminate, Selection
from kdcompress.students.layers import valid_frames


def label_frames(log_probs_BTV: Tensor, lengths_B: Tensor, blank: int) -> Tensor:
    """Return bool [B, T]: True where the most probable token of a valid frame is not the blank."""
    labels = log_probs_BTV.argmax(dim=-1) != blank
    return labels & valid_frames(lengths_B, labels.shape[1])


def select_frames(selection: Selection, labels_BT: Tensor, lengths_B: Tensor, frame_shift: float) -> Tensor:
    """Return bool [B, T]: the frames that a selection keeps; padding never is.

    Args:
        selection: all, eliminate or symmetric(n).
        labels_BT: what `label_frames` returned.
        lengths_B: valid frames per utterance.
        frame_shift: of the labels [s], for an n given in milliseconds.
    """
    valid = valid_frames(lengths_B, labels_BT.shape[1])
    match selection:
        case SelectAll():
            return valid
        case SelectEliminate():
            return labels_BT & valid
        case _:
            return dilate(labels_BT & valid, selection.n(frame_shift)) & valid


def dilate(labels_BT: Tensor, n: int) -> Tensor:
    """Return bool [B, T]: True within n frames of a label of the same utterance, on either side.

    The pooling window ends at the utterance's edges, where a rolled mask would wrap around.
    """
    n = min(n, labels_BT.shape[1])
    if n == 0:
        return labels_BT
    pooled = functional.max_pool1d(labels_BT[:, None].float(), kernel_size=2 * n + 1, stride=1, padding=n)
    return pooled[:, 0] > 0
