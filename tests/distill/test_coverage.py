"""The table of what serves what, against the frames that are really selected."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from kdcompress.config.objective import SelectAll, SelectEliminate, Selection, SelectSymmetric
from kdcompress.distill.coverage import covers
from kdcompress.distill.selection import select_frames

SHIFT, FRAMES = 0.02, 30

selections = st.one_of(
    st.just(SelectAll()),
    st.just(SelectEliminate()),
    st.builds(SelectSymmetric, frames=st.integers(0, 6)),
    st.builds(SelectSymmetric, ms=st.integers(0, 120)),
)


def selected(selection: Selection, labels: torch.Tensor) -> torch.Tensor:
    return select_frames(selection, labels, torch.tensor([FRAMES]), SHIFT)


@given(kept=selections, wanted=selections, marks=st.sets(st.integers(0, FRAMES - 1)))
def test_what_covers_has_every_frame(kept: Selection, wanted: Selection, marks: set[int]) -> None:
    labels = torch.zeros(1, FRAMES, dtype=torch.bool)
    labels[0, list(marks)] = True
    if covers(kept, wanted, SHIFT):
        assert not (selected(wanted, labels) & ~selected(kept, labels)).any()


@given(kept=selections, wanted=selections)
def test_what_does_not_cover_lacks_a_frame_somewhere(kept: Selection, wanted: Selection) -> None:
    labels = torch.zeros(1, FRAMES, dtype=torch.bool)
    labels[0, FRAMES // 2] = True
    lacks = bool((selected(wanted, labels) & ~selected(kept, labels)).any())
    assert covers(kept, wanted, SHIFT) == (not lacks)
