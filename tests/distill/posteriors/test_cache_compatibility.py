"""The table of what serves what, against the frames that are really selected."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from kdcompress.config.pattern import WIDEST_EPOCH, Growth, Width
from kdcompress.config.selection import (
    SelectAll,
    SelectEliminate,
    Selection,
    SelectSides,
    SelectSymmetric,
    SelectThreshold,
    SelectTrim,
)
from kdcompress.distill.objective.selection import select_frames
from kdcompress.distill.posteriors.cache_compatibility import serves

SHIFT, FRAMES = 0.02, 40

widths = st.one_of(
    st.builds(Width, frames=st.integers(0, 6)), st.builds(Width, ms=st.integers(0, 120).map(float))
)
growths = st.none() | st.builds(Growth, by=widths, every=st.integers(1, 2), limit=widths)
kept_ones = st.one_of(
    st.just(SelectAll()),
    st.just(SelectEliminate()),
    st.builds(SelectSymmetric, frames=st.integers(0, 6), grow=growths),
    st.builds(SelectSymmetric, ms=st.integers(0, 120).map(float)),
    st.builds(SelectSides, left=widths, right=widths, grow=growths),
)
starts = st.sampled_from([0, 2])
wanted_ones = st.one_of(
    kept_ones,
    st.builds(SelectEliminate, start_epoch=starts),
    st.builds(SelectSides, left=widths, right=widths, grow=growths, start_epoch=starts),
)


def selected(selection: Selection, labels: torch.Tensor, *epochs: int) -> torch.Tensor:
    length = torch.tensor([FRAMES])
    found = [select_frames(selection, labels, length, SHIFT, epoch=epoch) for epoch in epochs]
    return torch.stack(found).any(dim=0)


@given(kept=kept_ones, wanted=wanted_ones, marks=st.sets(st.integers(0, FRAMES - 1)))
def test_what_covers_has_every_frame(kept: Selection, wanted: Selection, marks: set[int]) -> None:
    labels = torch.zeros(1, FRAMES, dtype=torch.bool)
    labels[0, list(marks)] = True
    if serves(kept, wanted, SHIFT):
        widest = selected(kept, labels, WIDEST_EPOCH)
        assert not (selected(wanted, labels, 0, 1, 3, WIDEST_EPOCH) & ~widest).any()


@given(kept=kept_ones, wanted=wanted_ones)
def test_what_does_not_cover_lacks_a_frame_somewhere(kept: Selection, wanted: Selection) -> None:
    labels = torch.zeros(1, FRAMES, dtype=torch.bool)
    labels[0, FRAMES // 2] = True
    lacks = bool((selected(wanted, labels, 0, WIDEST_EPOCH) & ~selected(kept, labels, WIDEST_EPOCH)).any())
    assert serves(kept, wanted, SHIFT) == (not lacks)


def test_what_the_table_does_not_know_needs_all_frames() -> None:
    for unknown in (SelectTrim(), SelectThreshold(mass=0.1)):
        assert serves(SelectAll(), unknown, SHIFT)
        assert not serves(SelectSymmetric(frames=9), unknown, SHIFT)
        assert not serves(unknown, unknown, SHIFT)
