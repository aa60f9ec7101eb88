"""Frame selection against a loop over utterances and frames, and its identities."""

import math
from typing import Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor

from kdcompress.config.pattern import BlankPrior, Growth, LabelFrames, LabelPattern, Mask, Width
from kdcompress.config.selection import (
    SelectAll,
    SelectEliminate,
    Selection,
    SelectRandom,
    SelectSides,
    SelectSymmetric,
    SelectThreshold,
    SelectTrim,
)
from kdcompress.distill.objective.frame_targets import blank_occupancy, frame_targets
from kdcompress.distill.objective.selection import draw_keys, label_frames, select_frames
from kdcompress.distill.posteriors.cache_compatibility import serves

BLANK, SHIFT = 2, 0.04
IDS = ("a", "b", "c", "d")
TrainingData = tuple[Tensor, Tensor]


@st.composite
def posteriors(draw: st.DrawFn) -> TrainingData:
    """Return log-probabilities [B, T, 4] and lengths [B], some zero; many blanks, and three certainties."""
    batch, frames = draw(st.integers(1, 4)), draw(st.integers(1, 12))
    count = batch * frames
    best = draw(st.lists(st.sampled_from([0, 1, 2, 2, 2, 3]), min_size=count, max_size=count))
    sharp = draw(st.lists(st.sampled_from([1.0, 3.0, 6.0]), min_size=count, max_size=count))
    logits = torch.zeros(batch, frames, 4)
    shape = (batch, frames, 1)
    logits.scatter_(2, torch.tensor(best).reshape(shape), torch.tensor(sharp).reshape(shape))
    lengths = draw(st.lists(st.integers(0, frames), min_size=batch, max_size=batch))
    return logits.log_softmax(-1), torch.tensor(lengths)


widths = st.one_of(
    st.builds(Width, frames=st.integers(0, 5)), st.builds(Width, ms=st.sampled_from([0, 30, 80, 500]))
)
growths = st.none() | st.builds(Growth, by=widths, every=st.integers(1, 3), limit=widths)
starts = st.integers(0, 3)
patterns = st.one_of(
    st.just(SelectAll()),
    st.builds(SelectEliminate, start_epoch=starts),
    st.builds(SelectSymmetric, frames=st.integers(0, 14), grow=growths, start_epoch=starts),
    st.builds(SelectSymmetric, ms=st.sampled_from([0, 40, 200]), grow=growths, start_epoch=starts),
    st.builds(SelectSides, left=widths, right=widths, grow=growths, start_epoch=starts),
    st.builds(SelectTrim, start_epoch=starts),
    st.builds(SelectThreshold, mass=st.sampled_from([0.005, 0.05, 0.2, 0.6, 1.0]), start_epoch=starts),
    st.builds(SelectRandom, ratio=st.sampled_from([0, 0.5, 0.7, 1, 2.5, 50]), start_epoch=starts),
)


def chosen(selection: Selection, log_probs: Tensor, lengths: Tensor, epoch: int = 9) -> Tensor:
    nonblank = blank_occupancy(log_probs.flatten(0, 1), BLANK)[:, 1].reshape(log_probs.shape[:2])
    return select_frames(
        selection,
        label_frames(log_probs, lengths, BLANK),
        lengths,
        SHIFT,
        epoch=epoch,
        nonblank_BT=nonblank,
        keys_B=draw_keys(7, epoch, IDS[: len(lengths)]),
    )


def naive_n(start: Width, grow: Growth | None, epochs: int) -> int:
    def frames(width: Width) -> float:
        return width.frames if width.frames is not None else width.ms / 1000 / SHIFT  # type: ignore[operator]

    n = first = frames(start)
    if grow is not None:
        for epoch in range(1, epochs + 1):
            if epoch % grow.every == 0:
                n += frames(grow.by)
        n = max(first, min(n, frames(grow.limit)))
    return round(n)


def naive_number(key: int, frame: int) -> int:
    """Return SplitMix64 of a state, in Python's whole numbers."""
    mask = 2**64 - 1
    x = (key + (frame + 1) * 0x9E3779B97F4A7C15) & mask
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & mask
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & mask
    return (x ^ (x >> 31)) % 2**63


def naive(selection: Selection, log_probs: Tensor, length: int, epoch: int, id_: str) -> list[bool]:
    """Return the frames that a pattern keeps of one utterance."""
    labels = [t for t in range(length) if int(log_probs[t].argmax()) != BLANK]
    blanks = [t for t in range(length) if t not in labels]
    kept: set[int] = set(labels)
    if isinstance(selection, SelectAll) or epoch < selection.start_epoch:
        kept = set(range(length))
    elif isinstance(selection, SelectSymmetric):
        width = Width(frames=selection.frames, ms=selection.ms)
        n = naive_n(width, selection.grow, epoch - selection.start_epoch)
        kept = {t for t in range(length) if any(abs(t - label) <= n for label in labels)}
    elif isinstance(selection, SelectSides):
        sides = []
        for side in (selection.left, selection.right):
            grow = selection.grow if side.frames or side.ms else None
            sides.append(naive_n(side, grow, epoch - selection.start_epoch))
        kept = {t for t in range(length) for label in labels if -sides[0] <= t - label <= sides[1]}
    elif isinstance(selection, SelectTrim):
        kept = set(range(labels[0], labels[-1] + 1)) if labels else set()
    elif isinstance(selection, SelectThreshold):
        kept |= {
            t for t in blanks if sum(log_probs[t].exp().tolist()[c] for c in (0, 1, 3)) >= selection.mass
        }
    elif isinstance(selection, SelectRandom):
        (key,) = draw_keys(7, epoch, [id_]).tolist()
        wanted = round(selection.ratio * len(labels))
        kept |= set(sorted(blanks, key=lambda t: naive_number(key, t))[:wanted])
    return [t in kept for t in range(len(log_probs))]


@settings(max_examples=300)
@given(posteriors(), patterns, st.integers(0, 7))
def test_every_pattern_equals_the_naive_loop(material: TrainingData, pattern: Selection, epoch: int) -> None:
    log_probs, lengths = material
    rows = zip(log_probs, lengths.tolist(), IDS, strict=False)
    expected = [naive(pattern, row, length, epoch, id_) for row, length, id_ in rows]
    assert chosen(pattern, log_probs, lengths, epoch).tolist() == expected


@given(posteriors())
def test_the_ends_are_eliminate_and_all(material: TrainingData) -> None:
    log_probs, lengths = material
    eliminate = chosen(SelectEliminate(), log_probs, lengths)
    everything = chosen(SelectAll(), log_probs, lengths)
    speaks = eliminate.any(dim=1, keepdim=True)
    for narrowest in (
        SelectSymmetric(frames=0),
        SelectSides(),
        SelectRandom(ratio=0),
        SelectThreshold(mass=1),
    ):
        assert torch.equal(chosen(narrowest, log_probs, lengths), eliminate)
    for widest in (SelectSymmetric(frames=99), SelectRandom(ratio=99)):
        assert torch.equal(chosen(widest, log_probs, lengths), everything & speaks)
    assert torch.equal(chosen(SelectThreshold(mass=1e-9), log_probs, lengths), everything)


@given(posteriors(), st.integers(0, 6), st.integers(0, 6))
def test_sides_add_up(material: TrainingData, n: int, m: int) -> None:
    log_probs, lengths = material
    left = chosen(SelectSides(left=Width(frames=n)), log_probs, lengths)
    right = chosen(SelectSides(right=Width(frames=m)), log_probs, lengths)
    both = SelectSides(left=Width(frames=n), right=Width(frames=m))
    assert torch.equal(left | right, chosen(both, log_probs, lengths))
    if n == m:
        assert torch.equal(left | right, chosen(SelectSymmetric(frames=n), log_probs, lengths))


@given(posteriors(), st.integers(0, 5))
def test_left_is_what_comes_before(material: TrainingData, n: int) -> None:
    """Reversed in time, left(n) is right(n)."""
    log_probs, _ = material
    whole = torch.full((len(log_probs),), log_probs.shape[1])
    left = chosen(SelectSides(left=Width(frames=n)), log_probs, whole)
    right = chosen(SelectSides(right=Width(frames=n)), log_probs.flip(1), whole)
    assert torch.equal(left, right.flip(1))


@given(posteriors(), patterns, st.integers(0, 7), st.integers(1, 9))
def test_padding_and_company_change_nothing(
    material: TrainingData, pattern: Selection, epoch: int, more: int
) -> None:
    """Fault 2: padding is never selected, whatever it holds, and no utterance sees another."""
    log_probs, lengths = material
    frames = log_probs.shape[1]
    padding = torch.zeros(len(log_probs), more, 4)
    padding[..., 0] = 5.0  # padding that looks like labels
    padded = torch.cat((log_probs, padding.log_softmax(-1)), dim=1)
    together = chosen(pattern, padded, lengths, epoch)
    assert not (together & (torch.arange(frames + more) >= lengths[:, None])).any()
    for row, id_ in enumerate(IDS[: len(log_probs)]):
        length = int(lengths[row])
        (alone,) = select_frames(
            pattern,
            label_frames(log_probs[row : row + 1, :length], lengths[row : row + 1], BLANK),
            lengths[row : row + 1],
            SHIFT,
            epoch=epoch,
            nonblank_BT=blank_occupancy(log_probs[row, :length], BLANK)[None, :, 1],
            keys_B=draw_keys(7, epoch, [id_]),
        )
        assert torch.equal(together[row, :length], alone)


@given(posteriors(), patterns.filter(lambda p: not isinstance(p, SelectAll | SelectThreshold)))
def test_without_a_label_nothing_is_selected(material: TrainingData, pattern: LabelPattern) -> None:
    """Fault 4's other half is in test_losses: the loss of nothing is zero, with a graph."""
    log_probs, lengths = material
    silent = torch.zeros_like(log_probs)
    silent[..., BLANK] = 4.0
    assert not chosen(pattern, silent.log_softmax(-1), lengths, pattern.start_epoch).any()


@given(posteriors(), st.integers(0, 5))
def test_selection_grows_with_n(material: TrainingData, n: int) -> None:
    log_probs, lengths = material
    narrow = chosen(SelectSymmetric(frames=n), log_probs, lengths)
    assert not (narrow & ~chosen(SelectSymmetric(frames=n + 1), log_probs, lengths)).any()


@pytest.mark.parametrize(
    ("selection", "kept"),
    [
        (SelectSymmetric(frames=2), [0, 1, 2]),
        (SelectSides(left=Width(frames=3)), [0]),
        (SelectSides(right=Width(frames=1)), [0, 1]),
        (SelectTrim(), [0]),
    ],
)
def test_a_label_at_one_edge_does_not_reach_the_other(selection: Selection, kept: list[int]) -> None:
    """Fault 1: neither the wrap-around of a rolled mask, nor one that reaches the next utterance."""
    labels = torch.tensor([[True] + [False] * 9, [False] * 10])
    selected = select_frames(selection, labels, torch.tensor([10, 10]), SHIFT)
    assert selected[0].nonzero().flatten().tolist() == kept
    assert not selected[1].any()
    mirrored = select_frames(selection, labels.flip(0, 1), torch.tensor([10, 10]), SHIFT)
    assert not mirrored[0].any()
    assert bool(mirrored[1, 9])
    assert not mirrored[1, :5].any()


def test_n_in_milliseconds_counts_frames() -> None:
    assert [SelectSymmetric(ms=80).n(shift) for shift in (0.02, 0.04, 0.08)] == [4, 2, 1]
    sides = SelectSides(left=Width(ms=40), right=Width(frames=3))
    assert [sides.reach(shift) for shift in (0.02, 0.04, 0.08)] == [(2, 3), (1, 3), (0, 3)]


def test_n_grows_from_the_start_epoch_up_to_its_limit() -> None:
    grow = Growth(by=Width(ms=30), every=2, limit=Width(frames=4))
    selection = SelectSymmetric(ms=40, grow=grow, start_epoch=3)
    found = [selection.n(0.02, epoch) for epoch in range(12)]
    assert found == [2, 2, 2, 2, 2, 4, 4, 4, 4, 4, 4, 4]  # 40, then 70 and 100 ms, of which 80 are allowed
    sides = SelectSides(right=Width(frames=1), grow=Growth(by=Width(frames=1), limit=Width(frames=3)))
    assert [sides.reach(SHIFT, epoch) for epoch in range(4)] == [(0, 1), (0, 2), (0, 3), (0, 3)]


def test_random_frames_change_with_epoch_seed_and_utterance_only() -> None:
    labels = torch.zeros(2, 400, dtype=torch.bool)
    labels[:, :50] = True
    lengths = torch.tensor([400, 400])

    def drawn(seed: int, epoch: int, *ids: str) -> Tensor:
        keys = draw_keys(seed, epoch, ids)
        selected = select_frames(
            SelectRandom(ratio=2), labels[: len(ids)], lengths[: len(ids)], SHIFT, keys_B=keys
        )
        assert selected.sum(dim=1).tolist() == [150] * len(ids)
        return selected

    first = drawn(0, 0, "x", "y")
    assert torch.equal(first, drawn(0, 0, "x", "y"))
    assert torch.equal(first[1:], drawn(0, 0, "y"))
    others = [first[1], drawn(0, 1, "x")[0], drawn(1, 0, "x")[0]]
    for other in others:
        # Of 100 out of 350, two independent draws share about 29.
        assert 50 + 10 < int((first[0] & other).sum()) < 50 + 48
    # Even along the utterance: early and late blank frames are as likely.
    many = [drawn(0, epoch, "x")[0, 50:] for epoch in range(40)]
    share = torch.stack(many).float().mean(dim=0)
    assert abs(float(share[:175].mean()) - 2 / 7) < 0.02
    assert float(share.max()) < 0.7


def test_the_prior_moves_the_decision_and_not_the_targets() -> None:
    log_probs = torch.tensor([[[0.3, 0.1, 0.5, 0.1], [0.05, 0.05, 0.85, 0.05]]]).log()
    lengths = torch.tensor([2])
    log_prior = torch.tensor([0.1, 0.1, 0.7, 0.1]).log()

    def frames(weight: float | None) -> list[int]:
        prior = None if weight is None else BlankPrior(weight=weight)
        selection = SelectEliminate(prior=prior)
        targets = frame_targets(log_probs, lengths, BLANK, selection, SHIFT, log_prior_V=log_prior)
        assert torch.equal(targets.log_probs, log_probs[0, targets.frame])
        return targets.frame.tolist()

    # 0.3 / 0.1^0.5 = .95 against 0.5 / 0.7^0.5 = .60: a label; in the second frame .16 against 1.02.
    assert (frames(None), frames(0.0), frames(0.5)) == ([], [], [0])
    assert frames(1.5) == [0, 1]


def test_what_a_pattern_lacks_is_said() -> None:
    labels, lengths = torch.zeros(1, 3, dtype=torch.bool), torch.tensor([3])
    with pytest.raises(ValueError, match="mass of the tokens"):
        select_frames(SelectThreshold(), labels, lengths, SHIFT)
    with pytest.raises(ValueError, match="key for each utterance"):
        select_frames(SelectRandom(), labels, lengths, SHIFT)
    with pytest.raises(ValueError, match="needs one"):
        frame_targets(torch.zeros(1, 3, 4), lengths, BLANK, SelectTrim(prior=BlankPrior()), SHIFT)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Width(),
        lambda: Width(frames=1, ms=20),
        lambda: Width(ms=-1),
        lambda: SelectThreshold(mass=0),
        lambda: SelectRandom(ratio=-1),
        lambda: SelectSymmetric(frames=1, start_epoch=-1),
        lambda: SelectTrim(grow=Growth(by=Width(frames=1), limit=Width(frames=2))),
    ],
)
def test_senseless_patterns_are_refused(wrong: object) -> None:
    with pytest.raises(ValidationError):
        wrong()  # type: ignore[operator]


class SelectRuns(LabelPattern):
    """A pattern as another engineer would add one: labels whose neighbour is a label, too."""

    kind: Literal["runs"] = "runs"

    def select(self, frames: LabelFrames) -> Mask:
        labels = frames.labels
        return labels & (labels.roll(1, 1) | labels.roll(-1, 1))


def test_a_further_pattern_is_a_class() -> None:
    labels = torch.tensor([[False, True, False, True, True, False, True]])
    found = select_frames(SelectRuns(start_epoch=1), labels, torch.tensor([6]), SHIFT, epoch=1)  # type: ignore[arg-type]
    assert found.tolist() == [[False, False, False, True, True, False, False]]
    before = select_frames(SelectRuns(start_epoch=1), labels, torch.tensor([6]), SHIFT)  # type: ignore[arg-type]
    assert before.tolist() == [[True] * 6 + [False]]
    assert not serves(SelectSymmetric(frames=99), SelectRuns(), SHIFT)  # type: ignore[arg-type]


@given(posteriors(), st.sampled_from([0.005, 0.05, 0.2]))
def test_a_higher_threshold_selects_less(material: TrainingData, mass: float) -> None:
    log_probs, lengths = material
    low, high = (chosen(SelectThreshold(mass=m), log_probs, lengths) for m in (mass, math.sqrt(mass)))
    assert not (high & ~low).any()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@given(posteriors(), patterns, st.integers(0, 7))
def test_every_device_selects_the_same(material: TrainingData, pattern: Selection, epoch: int) -> None:
    log_probs, lengths = material
    here, there = (
        frame_targets(
            log_probs.to(device),
            lengths.to(device),
            BLANK,
            pattern,
            SHIFT,
            epoch=epoch,
            keys_B=draw_keys(7, epoch, IDS[: len(lengths)]).to(device),
        )
        for device in ("cpu", "cuda")
    )
    assert torch.equal(here.row, there.row.cpu())
    assert torch.equal(here.frame, there.frame.cpu())
