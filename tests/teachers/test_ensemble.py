import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_transformers import audio, padded
from torch import Tensor

from kdcompress.config.student import ConformerConfig
from kdcompress.config.teacher import CheckpointTeacher, EnsembleTeacher
from kdcompress.errors import TeacherError
from kdcompress.students.conformer import ConformerStudent
from kdcompress.students.weights import LoadedStudent
from kdcompress.teachers.checkpoint import StudentTeacher
from kdcompress.teachers.ensemble import Ensemble
from kdcompress.teachers.open import open_teacher
from kdcompress.teachers.teacher import Posteriors
from kdcompress.text.vocabulary import Vocabulary

VOCABULARY = Vocabulary(("<pad>", "|", "a", "b", "</s>"), 0, "|", frozenset({4}))
BATCH = padded([audio(16000), audio(9000, 1), audio(3000, 2)])


def member(seed: int, vocabulary: Vocabulary = VOCABULARY, frame_shift_ms: int = 40) -> StudentTeacher:
    torch.manual_seed(seed)
    shape = ConformerConfig(
        width=16, layers=1, heads=2, stem_channels=4, frame_shift_ms=frame_shift_ms, dropout=0.5
    )
    model = ConformerStudent(shape, len(vocabulary))
    with torch.no_grad():
        model.head.weight.mul_(4)
    return StudentTeacher(LoadedStudent(model, vocabulary, {}, "", Path()), f"seed {seed}")


def valid(posteriors: Posteriors) -> list[Tensor]:
    return [row[:n].double() for row, n in zip(posteriors.log_probs, posteriors.lengths, strict=True)]


@pytest.mark.parametrize("weights", [None, (1.0, 3.0, 0.5)])
def test_it_is_the_weighted_mean_of_probabilities(weights: tuple[float, ...] | None) -> None:
    members = [member(seed) for seed in range(3)]
    ensemble = Ensemble(members, weights)
    shares = weights or (1.0, 1.0, 1.0)
    found = ensemble.posteriors(*BATCH)
    heard = [valid(m.posteriors(*BATCH)) for m in members]
    for row, answer in enumerate(valid(found)):
        mean = sum(w * rows[row].exp() for w, rows in zip(shares, heard, strict=True)) / sum(shares)
        torch.testing.assert_close(answer.exp(), mean, atol=1e-6, rtol=0.0)
        assert (heard[0][row].exp() - mean).abs().max() > 0.01
    assert not found.log_probs.requires_grad
    assert ensemble.vocabulary == VOCABULARY
    assert (ensemble.sample_rate, ensemble.frame_shift) == (16000, 0.04)
    assert ensemble.parameters == 3 * members[0].parameters
    assert ensemble.bytes == 3 * members[0].bytes


def test_neither_padding_nor_company_changes_an_utterance() -> None:
    ensemble = Ensemble([member(0), member(1)])
    together = ensemble.posteriors(*BATCH)
    torch.testing.assert_close(together.log_probs.exp().sum(-1), torch.ones(together.log_probs.shape[:2]))
    for row, samples in enumerate(BATCH[1].tolist()):
        alone = ensemble.posteriors(BATCH[0][row : row + 1, :samples], BATCH[1][row : row + 1])
        count = int(alone.lengths[0])
        assert count == int(together.lengths[row])
        torch.testing.assert_close(
            alone.log_probs[0, :count], together.log_probs[row, :count], atol=1e-4, rtol=0.0
        )
        padding = together.log_probs[row, count:]
        torch.testing.assert_close(padding, torch.full_like(padding, -math.log(len(VOCABULARY))))


def test_the_same_member_twice_is_that_member() -> None:
    one, two = member(0).posteriors(*BATCH), Ensemble([member(0), member(0)], (1, 5)).posteriors(*BATCH)
    torch.testing.assert_close(two.log_probs, one.log_probs, atol=1e-5, rtol=0.0)


def test_other_names_in_another_order_are_the_same_vocabulary() -> None:
    """The second member's outputs are the first's, permuted, as another toolkit would have them."""
    theirs = Vocabulary(("b", "▁", "</s>", "-", "a"), 3, "▁", frozenset({2}))
    first, second = member(0), member(0)
    weights = second._model.head
    where = [3, 1, 4, 0, 2]  # in theirs, each of ours
    with torch.no_grad():
        for parameter in (weights.weight, weights.bias):
            parameter[torch.tensor(where)] = parameter.clone()
    second.vocabulary = theirs
    found = Ensemble([first, second]).posteriors(*BATCH)
    torch.testing.assert_close(found.log_probs, first.posteriors(*BATCH).log_probs, atol=1e-5, rtol=0.0)


@pytest.mark.parametrize(
    ("vocabulary", "match"),
    [
        (
            Vocabulary(("<pad>", "|", "a", "c", "</s>"), 0, "|", frozenset({4})),
            r"only one has \['b'\]; only two has \['c'\]",
        ),
        (Vocabulary(("<pad>", "|", "a", "b"), 0, "|"), r"only one has \['silent </s>'\]"),
        (Vocabulary(("<pad>", "|", "a", "b", "</s>"), 0, "|"), r"only one has .*only two has \['</s>'\]"),
        (Vocabulary(("<pad>", "|", "a", "b", "</s>"), 4, "|"), "the same tokens"),
    ],
)
def test_other_vocabularies_are_refused(vocabulary: Vocabulary, match: str) -> None:
    with pytest.raises(TeacherError, match=match) as caught:
        Ensemble([member(0), member(1, vocabulary)], names=("one", "two"))
    assert "\n" not in str(caught.value)


def test_other_frame_shifts_are_refused() -> None:
    with pytest.raises(TeacherError, match="member 2 has a frame every 20 ms and member 1 every 40 ms"):
        Ensemble([member(0), member(1, frame_shift_ms=20)])


class Clipped:
    """A member that hears some frames fewer."""

    def __init__(self, inner: StudentTeacher, fewer: int) -> None:
        self._inner, self._fewer = inner, fewer

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    def posteriors(self, waveforms: Tensor, lengths: Tensor) -> Posteriors:
        found = self._inner.posteriors(waveforms, lengths)
        frames = found.lengths - self._fewer
        return Posteriors(found.log_probs[:, : int(frames.max())], frames, found.frame_shift)


def test_a_frame_fewer_at_the_end_is_allowed_and_more_are_not() -> None:
    whole = Ensemble([member(0), member(1)]).posteriors(*BATCH)
    for members in ([member(0), Clipped(member(1), 1)], [Clipped(member(0), 1), member(1)]):
        found = Ensemble(members).posteriors(*BATCH)  # type: ignore[arg-type]
        assert torch.equal(found.lengths, whole.lengths - 1)
        for row, count in enumerate(found.lengths.tolist()):
            torch.testing.assert_close(found.log_probs[row, :count], whole.log_probs[row, :count])
    with pytest.raises(TeacherError, match="differ by 2 frames"):
        Ensemble([member(0), Clipped(member(1), 2)]).posteriors(*BATCH)  # type: ignore[list-item]


def test_fingerprint_follows_members_and_weights() -> None:
    found = [
        Ensemble(members, weights).fingerprint
        for members, weights in (
            ([member(0), member(1)], None),
            ([member(0), member(1)], (2.0, 2.0)),
            ([member(0), member(2)], None),
            ([member(0), member(1)], (1.0, 2.0)),
        )
    ]
    assert found[0] == found[1]
    assert len(set(found)) == 3


distributions = st.lists(st.lists(st.floats(-6, 6), min_size=4, max_size=4), min_size=2, max_size=4)


@given(distributions, st.lists(st.floats(-6, 6), min_size=4, max_size=4), st.data())
def test_imitating_the_mean_is_imitating_every_member(
    logits: list[list[float]], student: list[float], data: st.DataObject
) -> None:
    """The gradients are the same, and a threshold finds every frame at which a member emits (blank: id 0)."""
    sizes = st.lists(st.floats(0.1, 5), min_size=len(logits), max_size=len(logits))
    weights = torch.tensor(data.draw(sizes), dtype=torch.float64)
    weights /= weights.sum()
    teachers = torch.tensor(logits, dtype=torch.float64).softmax(-1)
    mean = weights @ teachers
    gradients = []
    for targets, shares in ((teachers, weights), (mean[None], torch.ones(1, dtype=torch.float64))):
        free = torch.tensor(student, dtype=torch.float64, requires_grad=True)
        kl = (targets * (targets.log() - free.log_softmax(-1))).sum(-1)
        (shares @ kl).backward()
        gradients.append(free.grad)
    torch.testing.assert_close(gradients[0], gradients[1])
    if (teachers.argmax(-1) != 0).any():
        assert 1 - mean[0] >= weights.min() / 2 - 1e-12


def test_it_is_opened_from_a_recipe(tiny_checkpoint: Path) -> None:
    one = CheckpointTeacher(path=tiny_checkpoint)
    ensemble = open_teacher(EnsembleTeacher(members=(one, one), weights=(1, 2)))
    expected = open_teacher(one).posteriors(*BATCH)
    torch.testing.assert_close(ensemble.posteriors(*BATCH).log_probs, expected.log_probs, atol=1e-5, rtol=0)
    assert ensemble.to("cpu") is ensemble
