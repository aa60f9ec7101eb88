"""Hold the teacher's frames against the student's, also where one has more of them.

House letters: B batch, T frames of the teacher, J frames of the student, K teacher frames per student frame,
V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from kdcompress.distill.objective.collisions import Collisions, greedy_tokens
from kdcompress.distill.objective.delay import delayed
from kdcompress.errors import ConfigError, TeacherError
from kdcompress.frontend.masks import valid_frames
from kdcompress.teachers.teacher import Posteriors

# Front ends round at the end of an utterance: centred frames against windows that must fit, for one.
SLACK = 2
# Of the held-out utterances: with more of them the frame shift is the wrong one.
INFEASIBLE_SHARE = 0.1


def student_frame_shift(asked_ms: float | None, teacher_shift: float) -> float:
    """Return the student's frame shift [ms]: the one asked for, else the teacher's.

    Raises:
        ConfigError: the one asked for is neither a multiple nor a whole part of the teacher's.
    """
    if asked_ms is None:
        shift = 1000 * teacher_shift
        return round(shift) if abs(shift - round(shift)) < 1e-3 else shift
    if _ratio(asked_ms / 1000, teacher_shift) is None:
        raise ConfigError(
            f"student.frame_shift_ms is {asked_ms:g}, the teacher's is {1000 * teacher_shift:g}: frames "
            "match only where one is a whole multiple of the other"
        )
    return asked_ms


def whole_frames(milliseconds: float, frame_shift: float, key: str) -> int:
    """Return how many frames of a shift [s] a time is.

    Raises:
        ConfigError: it is no whole number of them; names the key of the objective.
    """
    frames = round(milliseconds / 1000 / frame_shift)
    if abs(milliseconds / 1000 / frame_shift - frames) > 1e-3:
        raise ConfigError(
            f"objective.{key} is {milliseconds:g}, expected a multiple of the student's frame shift, "
            f"{1000 * frame_shift:g} ms"
        )
    return frames


def _ratio(student_shift: float, teacher_shift: float) -> tuple[int, int] | None:
    """Return (pool, repeat), one of them 1; None where neither shift is a multiple of the other."""
    for whole, by, pair in (
        (student_shift, teacher_shift, lambda n: (n, 1)),
        (teacher_shift, student_shift, lambda n: (1, n)),
    ):
        count = round(whole / by)
        if count >= 1 and abs(whole / by - count) < 1e-3:
            return pair(count)
    return None


@dataclass(frozen=True, repr=False)
class AlignedPosteriors(Posteriors):
    """A teacher's posteriors at the student's frame shift, as long as both have frames.

    Attributes:
        collisions: what got lost; None where each student frame has a teacher frame.
    """

    collisions: Collisions | None = None


@dataclass(frozen=True)
class FrameAlignment:
    """Give every student frame the distribution that it is to match.

    **Pooling** (a coarser student). The distribution of a student frame is the mean of the teacher's over
    those of its frames that have a label (whose best token is not the blank), or over all of them where none
    has. A mean over all frames would bury the spike: 1.0 in one of four frames makes .25, the blank wins, and
    the student learns blanks alone. So the greedy transcript survives wherever nothing collides: a student
    frame with frames of one token has that token's distribution, since it leads in each term of the mean, and
    a frame without label has the blank's, for the same reason. Where two tokens collide, both are in the
    mean. Nothing is truncated or rescaled: a mean of distributions is one.

    **Repeating** (a finer student). Each student frame gets the distribution of the teacher frame that covers
    it. CTC merges the repeats, a blank between two equal tokens is repeated with them, and so no transcript
    changes. To put the spike into one of the student frames would be to claim a time that the teacher never
    gave.

    Attributes:
        pool: teacher frames per student frame.
        repeat: student frames per teacher frame; one of the two is 1.
        blank: id of the blank.
        frame_shift: of the student [s].
        delay: frames that the student comes later.
    """

    pool: int
    repeat: int
    blank: int
    frame_shift: float
    delay: int = 0

    @classmethod
    def between(
        cls, teacher_shift: float, student_shift: float, blank: int, delay_ms: float = 0.0
    ) -> "FrameAlignment":
        """Align frames of one shift [s] with those of another.

        Raises:
            ConfigError: neither is a whole multiple of the other, or the delay no multiple of the student's.
        """
        ratio = _ratio(student_shift, teacher_shift)
        if ratio is None:
            raise ConfigError(
                f"frames of {1000 * teacher_shift:g} ms (teacher) and {1000 * student_shift:g} ms (student) "
                "cannot be matched: neither is a whole multiple of the other; see student.frame_shift_ms"
            )
        return cls(*ratio, blank, student_shift, whole_frames(delay_ms, student_shift, "delay_ms"))

    def __call__(self, posteriors: Posteriors, student_B: Tensor, ids: Sequence[str]) -> AlignedPosteriors:
        """Align a batch; an utterance without room for its transcript gets no frames, hence no targets.

        Args:
            student_B: the student's frames per utterance.
            ids: of the utterances, for messages.

        Raises:
            TeacherError: lengths differ by more than rounding at the end explains.
        """
        aligned = self._aligned(posteriors, student_B, ids)
        if not self.delay:
            return aligned
        lengths = torch.minimum(aligned.lengths + self.delay, student_B) * (aligned.lengths > 0)
        return replace(aligned, log_probs=delayed(aligned.log_probs, self.delay), lengths=lengths)

    def _aligned(self, posteriors: Posteriors, student_B: Tensor, ids: Sequence[str]) -> AlignedPosteriors:
        log_probs, lengths = posteriors.log_probs, posteriors.lengths
        if self.pool == 1:
            common = common_lengths(lengths * self.repeat, student_B, ids, SLACK * self.repeat)
            if self.repeat > 1:
                log_probs = log_probs.repeat_interleave(self.repeat, dim=1)
            return AlignedPosteriors(log_probs, common, self.frame_shift)
        common = common_lengths(-(-lengths // self.pool), student_B, ids)
        tokens = greedy_tokens(log_probs, lengths, self.blank)
        room = tokens.frames_needed <= common
        pooled = pool(log_probs, tokens.labels, lengths, self.pool)
        return AlignedPosteriors(
            pooled, common * room, self.frame_shift, tokens.collisions(self.pool, common)
        )


def pool(log_probs_BTV: Tensor, labels_BT: Tensor, lengths_B: Tensor, factor: int) -> Tensor:
    """Return float32 [B, ⌈T / factor⌉, V]: means of distributions over label frames, else over all.

    Padding takes no part in a mean; student frames of nothing but padding hold what padding holds.
    """
    missing = -log_probs_BTV.shape[1] % factor
    log_probs_BJKV = functional.pad(log_probs_BTV, (0, 0, 0, missing)).unflatten(1, (-1, factor))
    valid = valid_frames(lengths_B, log_probs_BTV.shape[1])
    valid_BJK, labels_BJK = (
        functional.pad(mask, (0, missing)).unflatten(1, (-1, factor)) for mask in (valid, labels_BT & valid)
    )
    taken = torch.where(labels_BJK.any(dim=-1, keepdim=True), labels_BJK, valid_BJK)
    taken = taken | ~valid_BJK.any(dim=-1, keepdim=True)
    total = log_probs_BJKV.masked_fill(~taken[..., None], -torch.inf).logsumexp(dim=2)
    return total - taken.sum(dim=-1, keepdim=True).log()


def common_lengths(teacher_B: Tensor, student_B: Tensor, ids: Sequence[str], slack: int = SLACK) -> Tensor:
    """Return the number of frames [B] that both have, compared by true lengths.

    Raises:
        TeacherError: they differ by more than rounding at the end explains.
    """
    apart = (teacher_B - student_B).abs()
    if int(apart.max()) > slack:
        worst = int(apart.argmax())
        raise TeacherError(
            f"{ids[worst]}: the teacher has {int(teacher_B[worst])} frames, "
            f"the student {int(student_B[worst])}; more than {slack} apart "
            "at one frame shift: the teacher misstates its frame shift or lengths"
        )
    return torch.minimum(teacher_B, student_B)


def check_ctc_feasible(found: Collisions, frame_shift: float) -> str:
    """Return a line on what a student with coarser frames of so many seconds will lose.

    Raises:
        ConfigError: too many utterances have no room for their transcripts.
    """
    if found.infeasible > INFEASIBLE_SHARE * found.utterances:
        raise ConfigError(
            f"at {1000 * frame_shift:g} ms the student has too few frames for the teacher's transcripts of "
            f"{found.infeasible} of {found.utterances} held-out utterances (tokens and repeats need one "
            "each): take a smaller student.frame_shift_ms"
        )
    return (
        f"at {1000 * frame_shift:g} ms {found.share:.1%} of the teacher's {found.tokens} held-out tokens "
        "share a student frame with the one before, or lack the blank between doubles; "
        f"{found.infeasible} of {found.utterances} utterances have no room for their transcript and are left "
        "out"
    )
