"""The teacher's transcripts as labels: against greedy decoding, one utterance at a time."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kdcompress.distill.objective.losses import ctc
from kdcompress.distill.objective.pseudo_labels import PseudoLabeller, best_paths
from kdcompress.errors import VocabularyError
from kdcompress.teachers.teacher import Posteriors
from kdcompress.text.decode import greedy
from kdcompress.text.tokenizer import LongestMatch
from kdcompress.text.vocabulary import Vocabulary

TEACHER = Vocabulary(("a", "<unk>", "<pad>", "|", "b"), 2, "|", frozenset({1}))
OTHER = Vocabulary(("<blk>", "▁a", "▁b", "a", "b", "▁"), 0, "▁")


def spoken(*paths: str, sure: float = 0.9) -> Posteriors:
    """Posteriors whose best path is a text, `-` for the blank; the padding says `b`."""
    rows = []
    longest = max(map(len, paths))
    for path in paths:
        at = [{"-": 2, "?": 1}.get(c, -1) if c in "-?" else TEACHER.tokens.index(c) for c in path]
        row = torch.full((longest, 5), (1 - sure) / 4)
        row[range(longest), at + [4] * (longest - len(at))] = sure
        rows.append(row.log())
    return Posteriors(torch.stack(rows), torch.tensor([len(path) for path in paths]), 0.04)


@given(seed=st.integers(0, 999), lengths=st.lists(st.integers(0, 9), min_size=1, max_size=4))
def test_paths_are_those_of_greedy_decoding(seed: int, lengths: list[int]) -> None:
    generator = torch.Generator().manual_seed(seed)
    log_probs = (3 * torch.randn(len(lengths), 9, 5, generator=generator)).log_softmax(-1)
    found = best_paths(Posteriors(log_probs, torch.tensor(lengths), 0.04), TEACHER)
    for row, length in enumerate(lengths):
        alone = greedy(log_probs[row, :length].numpy(), TEACHER)
        written = [i for i in alone.ids if i not in TEACHER.silent]
        assert found.labels[row] == written
        expected = math.exp(alone.log_prob / max(1, len(written)))
        assert float(found.confidence[row]) == pytest.approx(expected, rel=1e-4)


def test_confidence_is_per_label_not_per_frame() -> None:
    """A long certain pause does not make a doubtful word sure."""
    short, long = spoken("ab", sure=0.6), spoken("ab------", sure=0.6)
    long.log_probs[0, 2:] = torch.tensor([1e-9, 1e-9, 1.0, 1e-9, 1e-9]).log()
    confidences = [float(best_paths(p, TEACHER).confidence[0]) for p in (short, long)]
    assert confidences[0] == pytest.approx(0.6)
    assert confidences[1] == pytest.approx(0.6, rel=1e-5)


def test_doubtful_transcripts_are_left_out() -> None:
    posteriors = spoken("a-b|", "a-ab", "abab")
    posteriors.log_probs[1] = (0.5 * posteriors.log_probs[1]).log_softmax(-1)
    sure, doubtful, surest = best_paths(posteriors, TEACHER).confidence.tolist()
    assert doubtful < sure < surest
    frames = torch.tensor([4, 4, 4])
    found = PseudoLabeller(TEACHER, LongestMatch(TEACHER), (sure + doubtful) / 2)(posteriors, frames)
    assert (found.row.tolist(), found.offered) == ([0, 2], 3)
    assert [row[:n].tolist() for row, n in zip(found.labels, found.lengths, strict=True)] == [
        [0, 4, 3],
        [0, 4, 0, 4],
    ]
    assert PseudoLabeller(TEACHER, LongestMatch(TEACHER), 0.0)(posteriors, frames).row.tolist() == [0, 1, 2]


def test_silence_is_a_transcript_without_labels() -> None:
    """Nothing said where nobody speaks is worth learning: all blank is the only path."""
    found = PseudoLabeller(TEACHER, LongestMatch(TEACHER), 0.5)(spoken("----", sure=0.999), torch.tensor([4]))
    assert found.row.tolist() == [0]
    assert found.lengths.tolist() == [0]
    log_probs = torch.randn(1, 4, 5).log_softmax(-1)
    loss = ctc(log_probs, torch.tensor([4]), found.labels, found.lengths, 2)
    assert float(loss.total) == pytest.approx(-float(log_probs[0, :, 2].sum()), rel=1e-5)


@pytest.mark.parametrize(("path", "needed"), [("a-b", 2), ("a-a", 3), ("a?a", 3), ("-|-", 1)])
def test_labels_must_fit_into_the_students_frames(path: str, needed: int) -> None:
    """A repeat needs a blank between: U + repeats frames, or CTC has no path at all."""
    label = PseudoLabeller(TEACHER, LongestMatch(TEACHER), 0.0)
    fitting = label(spoken(path), torch.tensor([needed]))
    assert fitting.row.tolist() == [0]
    assert label(spoken(path), torch.tensor([needed - 1])).row.tolist() == []
    log_probs = torch.randn(1, needed, 5).log_softmax(-1)
    assert float(ctc(log_probs, torch.tensor([needed]), fitting.labels, fitting.lengths, 2).total) > 0


def test_other_units_are_written_by_their_own_tokenizer() -> None:
    found = PseudoLabeller(TEACHER, LongestMatch(OTHER), 0.0)(
        spoken("-ab|-b?a-", "b-------"), torch.tensor([9, 9])
    )
    assert found.labels[0].tolist() == OTHER.encode("ab ba")
    assert [OTHER.text(row[:n].tolist()) for row, n in zip(found.labels, found.lengths, strict=True)] == [
        "ab ba",
        "b",
    ]
    with pytest.raises(VocabularyError, match="no token for 'b'"):
        PseudoLabeller(TEACHER, LongestMatch(Vocabulary(("<blk>", "a"), 0)), 0.0)(
            spoken("ab"), torch.tensor([9])
        )


def test_none_kept_is_zero_with_a_graph() -> None:
    found = PseudoLabeller(TEACHER, LongestMatch(TEACHER), 1.0)(spoken("ab", "ba"), torch.tensor([2, 2]))
    student = torch.randn(2, 2, 5).log_softmax(-1).requires_grad_()
    loss = ctc(student[found.row], torch.tensor([2, 2])[found.row], found.labels, found.lengths, 2)
    loss.total.backward()
    assert (loss.total.item(), loss.count) == (0.0, 0)
    assert student.grad is not None
    assert not student.grad.any()
