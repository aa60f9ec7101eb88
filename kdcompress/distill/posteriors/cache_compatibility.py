"""Which selections a cache of selected frames can serve: set inclusion, in one table.

    kept                   serves
    all                    everything
    window (l, r)          windows (l', r') with l' ≤ l and r' ≤ r
    anything else          nothing but what is cached with all frames

A window keeps l frames before and r frames after each label frame: eliminate is (0, 0), symmetric(n) is
(n, n), and what grows counts at its widest.
"""

from kdcompress.config.selection import SelectAll, SelectEliminate, Selection, SelectSides, SelectSymmetric

WIDEST = 10**6  # an epoch at which every growing n has reached its limit


def covers(kept: Selection, wanted: Selection, frame_shift: float) -> bool:
    """Tell whether every frame that `wanted` selects was kept, whatever the posteriors.

    A selection that this table does not know is served by all frames only.

    Args:
        frame_shift: of the teacher [s], for an n given in milliseconds.
    """
    if isinstance(kept, SelectAll):
        return True
    have, need = _window(kept, frame_shift), _window(wanted, frame_shift)
    return have is not None and need is not None and need[0] <= have[0] and need[1] <= have[1]


def _window(selection: Selection, frame_shift: float) -> tuple[int, int] | None:
    match selection:
        # With a prior other frames are labels, and before its first epoch a pattern selects all.
        case SelectEliminate() | SelectSymmetric() | SelectSides() if (
            selection.prior is None and selection.start_epoch == 0
        ):
            return selection.reach(frame_shift, WIDEST)
        case _:
            return None
