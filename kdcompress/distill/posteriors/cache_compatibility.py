"""Which selections a cache of selected frames can serve: set inclusion.

    kept                   serves
    all                    everything
    window (l, r)          windows (l', r') with l' ≤ l and r' ≤ r
    anything else          nothing but what is cached with all frames

A window keeps l frames before and r frames after each label frame: eliminate is (0, 0), symmetric(n) is
(n, n), and what grows counts at its widest; see `LabelPattern.window`.
"""

from kdcompress.config.selection import SelectAll, Selection


def serves(kept: Selection, wanted: Selection, frame_shift: float) -> bool:
    """Tell whether every frame that `wanted` selects was kept, whatever the posteriors.

    Args:
        frame_shift: of the teacher [s], for an n given in milliseconds.
    """
    if isinstance(kept, SelectAll):
        return True
    have, need = kept.window(frame_shift), wanted.window(frame_shift)
    return have is not None and need is not None and need[0] <= have[0] and need[1] <= have[1]
