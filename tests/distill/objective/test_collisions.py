"""Collisions against a loop over the tokens of each utterance."""

from itertools import groupby, pairwise

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from kdcompress.distill.objective.collisions import Collisions, collisions, greedy_tokens

BLANK = 1


@st.composite
def spikes(draw: st.DrawFn, most_frames: int = 24) -> tuple[Tensor, Tensor]:
    """Return log-probabilities [B, T, 4] of random certainty whose argmax is often blank, and lengths [B]."""
    batch, frames = draw(st.integers(1, 3)), draw(st.integers(1, most_frames))
    blanks = draw(st.integers(0, 6))
    tokens = st.sampled_from([0, 2, 3, *[BLANK] * blanks])
    best = draw(st.lists(tokens, min_size=batch * frames, max_size=batch * frames))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    logits = torch.rand(batch, frames, 4, generator=generator)
    lead = 1 + 8 * torch.rand(batch, frames, 1, generator=generator)
    logits.scatter_(2, torch.tensor(best).reshape(batch, frames, 1), 0.01 + lead)
    lengths = draw(st.lists(st.integers(0, frames), min_size=batch, max_size=batch))
    return logits.log_softmax(-1), torch.tensor(lengths)


def runs(log_probs: Tensor, length: int) -> list[tuple[int, int, int]]:
    """Return (token, first frame, last frame) of each token of one utterance."""
    frames = list(enumerate(log_probs[:length].argmax(-1).tolist()))
    groups = [(token, list(group)) for token, group in groupby(frames, key=lambda pair: pair[1])]
    return [(token, group[0][0], group[-1][0]) for token, group in groups if token != BLANK]


def naive(log_probs: Tensor, length: int, factor: int) -> Collisions:
    tokens = runs(log_probs, length)
    shared = doubled = repeats = 0
    for (before, _, end), (token, start, _) in pairwise(tokens):
        repeats += before == token
        shared += before != token and end // factor == start // factor
        doubled += before == token and start // factor - end // factor <= 1
    infeasible = len(tokens) + repeats > (length + factor - 1) // factor
    return Collisions(len(tokens), shared, doubled, 1, int(infeasible))


@settings(max_examples=200)
@given(spikes(), st.sampled_from([1, 2, 4]))
def test_counts_are_those_of_the_naive_loop(material: tuple[Tensor, Tensor], factor: int) -> None:
    log_probs, lengths = material
    expected = Collisions()
    for row, length in zip(log_probs, lengths.tolist(), strict=True):
        expected += naive(row, length, factor)
    assert collisions(log_probs, lengths, BLANK, factor) == expected


def of(path: list[int], factor: int) -> Collisions:
    log_probs = torch.nn.functional.one_hot(torch.tensor([path]), 4).float().mul(9).log_softmax(-1)
    return collisions(log_probs, torch.tensor([len(path)]), BLANK, factor)


def test_what_collides_and_what_does_not() -> None:
    assert of([0, 2, 1, 1], 2) == Collisions(tokens=2, shared=1, utterances=1)
    assert of([1, 0, 2, 1], 2) == Collisions(tokens=2, utterances=1), "side by side in two student frames"
    assert of([0, 1, 0, 1], 2) == Collisions(tokens=2, doubled=1, utterances=1, infeasible=1), (
        "no blank between"
    )
    assert of([0, 1, 1, 1, 1, 0], 2) == Collisions(tokens=2, utterances=1)
    assert of([0, 0, 0, 0, 0, 0], 2) == Collisions(tokens=1, utterances=1), "one token over three frames"
    assert of([0, 2, 3, 0], 4) == Collisions(tokens=4, shared=3, utterances=1, infeasible=1)
    assert of([0, 2, 3, 0], 4).share == 0.75


@given(spikes())
def test_nothing_is_lost_at_one_rate(material: tuple[Tensor, Tensor]) -> None:
    found = collisions(*material, BLANK, 1)
    assert (found.shared, found.doubled, found.infeasible, found.share) == (0, 0, 0, 0.0)


@given(spikes())
def test_the_frames_needed_are_those_of_the_ctc_loss(material: tuple[Tensor, Tensor]) -> None:
    """With one frame fewer, the loss of the transcript is infinite."""
    log_probs, lengths = material
    needed = greedy_tokens(log_probs, lengths, BLANK).frames_needed.tolist()
    for row, length, frames in zip(log_probs, lengths.tolist(), needed, strict=True):
        labels = torch.tensor([[token for token, _, _ in runs(row, length)]])
        for room in {frames, frames - 1} - {0, -1}:
            loss = torch.nn.functional.ctc_loss(
                torch.zeros(room, 1, 4).log_softmax(-1), labels, [room], [labels.shape[1]], blank=BLANK
            )
            assert bool(torch.isfinite(loss)) == (room == frames)
