"""Frame selection against a loop over utterances and frames, and its identities."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from kdcompress.config.objective import SelectAll, SelectEliminate, SelectSymmetric
from kdcompress.distill.selection import label_frames, select_frames

BLANK, SHIFT = 2, 0.04


@st.composite
def posteriors(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    """Return log-probabilities [B, T, 4] with many blanks, and lengths [B] (some zero)."""
    batch, frames = draw(st.integers(1, 4)), draw(st.integers(1, 12))
    best = draw(
        st.lists(st.sampled_from([0, 1, 2, 2, 2, 3]), min_size=batch * frames, max_size=batch * frames)
    )
    logits = torch.zeros(batch, frames, 4)
    logits.scatter_(2, torch.tensor(best).reshape(batch, frames, 1), 3.0)
    lengths = draw(st.lists(st.integers(0, frames), min_size=batch, max_size=batch))
    return logits.log_softmax(-1), torch.tensor(lengths)


def naive(log_probs: Tensor, length: int, n: int) -> list[bool]:
    """Return the frames that symmetric(n) keeps of one utterance."""
    labels = [t for t in range(length) if int(log_probs[t].argmax()) != BLANK]
    return [t < length and any(abs(t - label) <= n for label in labels) for t in range(len(log_probs))]


def chosen(kind: SelectAll | SelectEliminate | SelectSymmetric, log_probs: Tensor, lengths: Tensor) -> Tensor:
    return select_frames(kind, label_frames(log_probs, lengths, BLANK), lengths, SHIFT)


@given(posteriors(), st.integers(0, 14))
def test_symmetric_equals_the_naive_loop(material: tuple[Tensor, Tensor], n: int) -> None:
    log_probs, lengths = material
    expected = [naive(row, int(length), n) for row, length in zip(log_probs, lengths, strict=True)]
    assert chosen(SelectSymmetric(frames=n), log_probs, lengths).tolist() == expected


@given(posteriors())
def test_the_ends_are_eliminate_and_all(material: tuple[Tensor, Tensor]) -> None:
    log_probs, lengths = material
    eliminate = chosen(SelectEliminate(), log_probs, lengths)
    everything = chosen(SelectAll(), log_probs, lengths)
    assert torch.equal(chosen(SelectSymmetric(frames=0), log_probs, lengths), eliminate)
    speaks = eliminate.any(dim=1, keepdim=True)
    assert torch.equal(chosen(SelectSymmetric(frames=99), log_probs, lengths), everything & speaks)


@given(posteriors(), st.integers(0, 5), st.integers(1, 9))
def test_padding_and_company_change_nothing(material: tuple[Tensor, Tensor], n: int, more: int) -> None:
    log_probs, lengths = material
    frames = log_probs.shape[1]
    padding = torch.zeros(len(log_probs), more, 4)
    padding[..., 0] = 5.0  # padding that looks like labels
    padded = torch.cat((log_probs, padding.log_softmax(-1)), dim=1)
    together = chosen(SelectSymmetric(frames=n), padded, lengths)
    assert not together[:, frames:].any()
    for row in range(len(log_probs)):
        alone = chosen(SelectSymmetric(frames=n), log_probs[row : row + 1], lengths[row : row + 1])
        assert torch.equal(together[row : row + 1, :frames], alone)


@given(posteriors(), st.integers(0, 5))
def test_selection_grows_with_n(material: tuple[Tensor, Tensor], n: int) -> None:
    log_probs, lengths = material
    narrow = chosen(SelectSymmetric(frames=n), log_probs, lengths)
    assert not (narrow & ~chosen(SelectSymmetric(frames=n + 1), log_probs, lengths)).any()


def test_a_label_at_one_edge_does_not_reach_the_other() -> None:
    """The wrap-around of a rolled mask (method, fault 1)."""
    labels = torch.tensor([[True] + [False] * 9, [False] * 10])
    selected = select_frames(SelectSymmetric(frames=2), labels, torch.tensor([10, 10]), SHIFT)
    assert selected[0].nonzero().flatten().tolist() == [0, 1, 2]
    assert not selected[1].any()


def test_n_in_milliseconds_counts_teacher_frames() -> None:
    assert [SelectSymmetric(ms=80).n(shift) for shift in (0.02, 0.04, 0.08)] == [4, 2, 1]
