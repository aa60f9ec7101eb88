"""Teacher frames beside student frames: what survives a change of rate, and what is refused."""

import math

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from kdcompress.config.selection import SelectAll, SelectEliminate, SelectSymmetric
from kdcompress.config.student import ConformerConfig
from kdcompress.distill.objective.alignment import (
    AlignedPosteriors,
    FrameAlignment,
    check_ctc_feasible,
    common_lengths,
    pool,
    student_frame_shift,
)
from kdcompress.distill.objective.collisions import Collisions, collisions
from kdcompress.distill.objective.frame_targets import frame_targets
from kdcompress.distill.objective.losses import frame_kd, occupancy_kd
from kdcompress.distill.objective.selection import label_frames
from kdcompress.errors import ConfigError, TeacherError
from kdcompress.students.student import with_frame_shift
from kdcompress.teachers.teacher import Posteriors
from kdcompress.text.decode import collapse

BLANK, IDS = 1, ("a", "b", "c", "d")
TrainingData = tuple[Tensor, Tensor]


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


def aligned(
    log_probs: Tensor, lengths: Tensor, student_ms: int, teacher_ms: int = 20, student: Tensor | None = None
) -> AlignedPosteriors:
    alignment = FrameAlignment.between(teacher_ms / 1000, student_ms / 1000, BLANK)
    frames = -(-lengths * teacher_ms // student_ms) if student is None else student
    return alignment(Posteriors(log_probs, lengths, teacher_ms / 1000), frames, IDS[: len(lengths)])


def transcripts(log_probs: Tensor, lengths: Tensor) -> list[list[int]]:
    rows = zip(log_probs.argmax(-1).tolist(), lengths.tolist(), strict=True)
    return [collapse(row[:length], BLANK) for row, length in rows]


@settings(max_examples=300)
@given(spikes(), st.sampled_from([40, 80]))
def test_without_collisions_the_transcript_survives_pooling(material: TrainingData, student_ms: int) -> None:
    log_probs, lengths = material
    found = aligned(log_probs, lengths, student_ms)
    pooled = pool(log_probs, label_frames(log_probs, lengths, BLANK), lengths, student_ms // 20)
    frames = -(-lengths // (student_ms // 20))
    before, after = transcripts(log_probs, lengths), transcripts(pooled, frames)
    for row in range(len(lengths)):
        alone = collisions(log_probs[row : row + 1], lengths[row : row + 1], BLANK, student_ms // 20)
        if alone.shared + alone.doubled == 0:
            assert after[row] == before[row]
            assert int(found.lengths[row]) == int(frames[row])
        if alone.infeasible:
            assert after[row] != before[row], "nothing can say it in so few frames"
            assert int(found.lengths[row]) == 0


@given(st.integers(0, 9999), st.sampled_from([2, 4]))
def test_long_spiky_speech_survives_pooling(seed: int, factor: int) -> None:
    """One-frame spikes far enough apart, as trained teachers have them."""
    generator = torch.Generator().manual_seed(seed)
    gaps = torch.randint(2 * factor + 1, 5 * factor, (20,), generator=generator)
    logits = torch.rand(1, int(gaps.sum()) + 5, 6, generator=generator)
    logits[..., BLANK] += 6
    spoken = torch.tensor([0, 2, 3, 4, 5])[torch.randint(0, 5, (20,), generator=generator)]
    logits[0, gaps.cumsum(0), spoken] += 12
    log_probs, lengths = logits.log_softmax(-1), torch.tensor([logits.shape[1]])
    found = aligned(log_probs, lengths, 20 * factor)
    assert found.collisions == Collisions(tokens=20, utterances=1)
    assert transcripts(found.log_probs, found.lengths) == [spoken.tolist()]
    averaged = log_probs.exp()[:, : log_probs.shape[1] // factor * factor].unflatten(1, (-1, factor)).mean(2)
    if factor == 4:
        assert transcripts(averaged, lengths // 4) == [[]], "the mean over all frames buries every spike"


@given(spikes(), st.sampled_from([(40, 20), (80, 40), (80, 20)]))
def test_repeating_changes_no_transcript(material: TrainingData, shifts: tuple[int, int]) -> None:
    log_probs, lengths = material
    teacher_ms, student_ms = shifts
    found = aligned(log_probs, lengths, student_ms, teacher_ms)
    assert found.collisions is None
    assert found.lengths.tolist() == (lengths * (teacher_ms // student_ms)).tolist()
    assert transcripts(found.log_probs, found.lengths) == transcripts(log_probs, lengths)
    assert torch.equal(found.log_probs[:, :: teacher_ms // student_ms], log_probs)


def naive_pool(log_probs: Tensor, length: int, factor: int) -> list[list[float]]:
    frames = []
    for start in range(0, length, factor):
        window = log_probs[start : min(start + factor, length)].double()
        spoken = [frame for frame in window if int(frame.argmax()) != BLANK] or list(window)
        mean = [sum(math.exp(float(frame[c])) for frame in spoken) / len(spoken) for c in range(4)]
        frames.append([math.log(p) for p in mean])
    return frames


@given(spikes(), st.sampled_from([2, 4]))
def test_pooling_is_the_mean_of_its_definition(material: TrainingData, factor: int) -> None:
    log_probs, lengths = material
    pooled = pool(log_probs, label_frames(log_probs, lengths, BLANK), lengths, factor)
    assert pooled.shape[1] == -(-log_probs.shape[1] // factor)
    assert torch.isfinite(pooled).all(), "padding too"
    for row, length in enumerate(lengths.tolist()):
        expected = torch.tensor(naive_pool(log_probs[row], length, factor)).reshape(-1, 4)
        assert torch.allclose(pooled[row, : len(expected)], expected, atol=1e-5)
        assert torch.allclose(
            pooled[row, : len(expected)].logsumexp(-1), torch.zeros(len(expected)), atol=1e-5
        )


@given(spikes(), st.sampled_from([20, 40, 80]), st.integers(1, 9))
def test_padding_and_company_change_nothing(material: TrainingData, student_ms: int, more: int) -> None:
    """Fault 2 across rates: a student frame that is partly padding is pooled over its true part."""
    log_probs, lengths = material
    together = aligned(torch.nn.functional.pad(log_probs, (0, 0, 0, more), value=3.0), lengths, student_ms)
    for row in range(len(lengths)):
        length = int(lengths[row])
        alone = aligned(log_probs[row : row + 1, :length], lengths[row : row + 1], student_ms)
        assert int(alone.lengths[0]) == int(together.lengths[row])
        frames = int(alone.lengths[0])
        assert torch.equal(alone.log_probs[0, :frames], together.log_probs[row, :frames])


@given(spikes())
def test_one_rate_is_left_alone(material: TrainingData) -> None:
    log_probs, lengths = material
    found = aligned(log_probs, lengths, 20)
    assert found.log_probs is log_probs
    assert found.collisions is None


def test_certainty_survives_pooling() -> None:
    """Fault 6: probabilities far below what float32 holds outside the logarithm."""
    log_probs = torch.tensor([[[-200.0, 0.0, -300.0, -torch.inf], [-210.0, 0.0, -290.0, -torch.inf]]])
    found = aligned(log_probs, torch.tensor([2]), 40)
    expected = [-200 - math.log(2), 0.0, -290 - math.log(2), -math.inf]
    assert found.log_probs[0, 0].tolist() == pytest.approx(expected, abs=1e-4)


@given(spikes(), st.sampled_from([40, 80]))
def test_selection_comes_after_alignment(material: TrainingData, student_ms: int) -> None:
    """The student frames with a teacher's label are those selected, and n counts student frames."""
    log_probs, lengths = material
    found = aligned(log_probs, lengths, student_ms)
    assume(int(found.lengths.max()) > 0)
    narrow = frame_targets(found.log_probs, found.lengths, BLANK, SelectEliminate(), found.frame_shift)
    expected = [
        (row, frame)
        for row, room in enumerate(found.lengths.tolist())
        for frame in range(room)
        if label_frames(log_probs, lengths, BLANK)[row][frame * student_ms // 20 :][: student_ms // 20].any()
    ]
    assert list(zip(narrow.row.tolist(), narrow.frame.tolist(), strict=True)) == expected
    wide = frame_targets(found.log_probs, found.lengths, BLANK, SelectSymmetric(ms=80), found.frame_shift)
    n = 80 // student_ms
    near = {(row, t) for row, frame in expected for t in range(frame - n, frame + n + 1)}
    inside = {(row, t) for row, t in near if 0 <= t < int(found.lengths[row])}
    assert set(zip(wide.row.tolist(), wide.frame.tolist(), strict=True)) == inside


def test_an_utterance_without_room_gets_no_targets() -> None:
    """It costs nothing, and what it costs has a gradient graph; the one beside it learns."""
    path = torch.tensor([[0, 2, 3, 0, 2, 3, 0, 2], [0, 1, 1, 1, 2, 2, 1, 1]])
    log_probs = torch.nn.functional.one_hot(path, 4).float().mul(9).log_softmax(-1)
    found = aligned(log_probs, torch.tensor([8, 8]), 40)
    assert found.lengths.tolist() == [0, 4]
    assert found.collisions == Collisions(tokens=10, shared=4, utterances=2, infeasible=1)
    targets = frame_targets(found.log_probs, found.lengths, BLANK, SelectAll(), found.frame_shift)
    student = torch.zeros(2, 4, 4).log_softmax(-1).requires_grad_()
    (frame_kd(student, targets, 1.0).total + occupancy_kd(student, targets, BLANK).total).backward()
    assert student.grad is not None
    assert not student.grad[0].any()
    assert student.grad[1].any()


def test_a_batch_without_room_is_zero_with_a_graph() -> None:
    log_probs = torch.nn.functional.one_hot(torch.tensor([[0, 2, 3, 0]]), 4).float().mul(9).log_softmax(-1)
    found = aligned(log_probs, torch.tensor([4]), 80)
    targets = frame_targets(found.log_probs, found.lengths, BLANK, SelectSymmetric(frames=1), 0.08)
    student = torch.zeros(1, 1, 4).log_softmax(-1).requires_grad_()
    loss = frame_kd(student, targets, 2.0)
    loss.total.backward()
    assert (loss.total.item(), loss.count) == (0.0, 0)


def test_a_student_with_a_frame_less_has_less_room() -> None:
    log_probs = (
        torch.nn.functional.one_hot(torch.tensor([[0, 1, 2, 1, 3, 1]]), 4).float().mul(9).log_softmax(-1)
    )
    assert aligned(log_probs, torch.tensor([6]), 40, student=torch.tensor([4])).lengths.tolist() == [3]
    found = aligned(log_probs, torch.tensor([6]), 40, student=torch.tensor([2]))
    assert found.lengths.tolist() == [0]
    assert found.collisions is not None
    assert found.collisions.infeasible == 1


@pytest.mark.parametrize(("teacher_ms", "student_ms", "per_frame"), [(20, 40, 2), (20, 20, 1), (40, 20, 0.5)])
def test_lengths_may_differ_by_rounding_and_no_more(
    teacher_ms: int, student_ms: int, per_frame: float
) -> None:
    """Fault 7: compared by true lengths, whatever the padding; an error beyond what rounding explains."""
    frames = int(40 * per_frame)
    log_probs = torch.zeros(2, frames + 7, 4).log_softmax(-1)
    log_probs[..., BLANK] += 1
    lengths = torch.tensor([frames, frames])
    slack = 2 if student_ms >= teacher_ms else 4
    student = torch.tensor([40, 40 - slack])
    found = aligned(log_probs, lengths, student_ms, teacher_ms, student)
    assert found.lengths.tolist() == [40, 40 - slack]
    with pytest.raises(TeacherError, match=rf"b: the teacher has 40 frames, the student {39 - slack};"):
        aligned(log_probs, lengths, student_ms, teacher_ms, student - torch.tensor([0, 1]))


def test_the_shorter_side_counts() -> None:
    assert common_lengths(torch.tensor([5, 7]), torch.tensor([6, 5]), IDS).tolist() == [5, 5]


@pytest.mark.parametrize("teacher_ms", [20, 40, 80])
def test_the_student_takes_the_teachers_shift_or_its_own(teacher_ms: int) -> None:
    assert student_frame_shift(None, teacher_ms / 1000) == teacher_ms
    for asked in (20, 40, 80):
        assert student_frame_shift(asked, teacher_ms / 1000) == asked


@pytest.mark.parametrize(("asked", "teacher_shift"), [(20, 0.03), (40, 0.0125), (80, 0.05), (40, 0.032)])
def test_rates_that_do_not_divide_are_refused(asked: int, teacher_shift: float) -> None:
    shown = f"{1000 * teacher_shift:g}"
    with pytest.raises(ConfigError, match=f"frame_shift_ms is {asked}, the teacher's is {shown}: ") as caught:
        student_frame_shift(asked, teacher_shift)
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match=f"the teacher's frame shift is {shown} ms"):
        with_frame_shift(ConformerConfig(), student_frame_shift(None, teacher_shift))
    with pytest.raises(ConfigError, match="cannot be matched"):
        FrameAlignment.between(teacher_shift, asked / 1000, BLANK)


def test_a_foreign_rate_that_divides_is_allowed() -> None:
    assert student_frame_shift(40, 0.01) == 40
    assert (
        FrameAlignment.between(0.01, 0.04, BLANK).pool,
        FrameAlignment.between(0.06, 0.02, BLANK).repeat,
    ) == (4, 3)


def test_too_many_utterances_without_room_are_refused() -> None:
    line = check_ctc_feasible(Collisions(tokens=200, shared=5, doubled=1, utterances=20, infeasible=2), 0.08)
    assert line.startswith("at 80 ms 3.0% of the teacher's 200 held-out tokens")
    with pytest.raises(ConfigError, match=r"3 of 20 held-out utterances.*smaller student\.frame_shift_ms"):
        check_ctc_feasible(Collisions(tokens=200, utterances=20, infeasible=3), 0.08)
