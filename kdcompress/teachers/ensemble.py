"""Several teachers as one: the weighted mean of their probabilities.

With the forward KL at τ = 1 the mean is what imitating all of them amounts to: Σ_m w_m KL(q_m ‖ p) is
KL(Σ_m w_m q_m ‖ p) plus a constant that no student p can change. That holds frame by frame, also where the
members place a label on different frames. So no rule switches between members there: taking only those that
emit (the union of their labels) would print a label twice where its spikes are two frames apart.

The mean may then be a blank where a member emits, and selection by its labels passes over the frame. Such
frames are not lost: a member that emits gives its label at least what it gives the blank, so ½ or more of its
mass is outside the blank, and w_m / 2 or more of the mean's. Selection by a threshold of half the smallest
weight on that mass contains the label frames of every member.

B batch, T frames, V vocabulary.
"""

import hashlib
import math
from collections.abc import Sequence

import torch
from torch import Tensor
from typing_extensions import Self

from kdcompress.config.teacher import EnsembleTeacher
from kdcompress.errors import TeacherError
from kdcompress.teachers.open import open_teacher
from kdcompress.teachers.teacher import Posteriors, Teacher
from kdcompress.text.vocabulary import Vocabulary


class Ensemble:
    """Teachers with one vocabulary and frame shift; see `Teacher` for the attributes.

    The vocabulary is the first member's; the others' outputs are put into its order.
    """

    def __init__(
        self, members: Sequence[Teacher], weights: Sequence[float] | None = None, names: Sequence[str] = ()
    ) -> None:
        """Check that the members fit together.

        Args:
            members: at least one.
            weights: one per member, above 0, in any unit; None weighs all the same.
            names: of the members, for messages.

        Raises:
            TeacherError: another vocabulary, sample rate or frame shift than the first member's.
        """
        self._members = list(members)
        names = [*names] or [f"member {number}" for number in range(1, len(self._members) + 1)]
        first = self._members[0]
        for member, name in zip(self._members[1:], names[1:], strict=True):
            if member.sample_rate != first.sample_rate:
                raise TeacherError(
                    f"{name} takes {member.sample_rate} Hz and {names[0]} {first.sample_rate} Hz"
                )
            if not math.isclose(member.frame_shift, first.frame_shift, rel_tol=1e-3):
                raise TeacherError(
                    f"{name} has a frame every {1000 * member.frame_shift:g} ms and {names[0]} every "
                    f"{1000 * first.frame_shift:g} ms; members of an ensemble need the same frame shift"
                )
        self._orders = [
            _order(first.vocabulary, member.vocabulary, names[0], name)
            for member, name in zip(self._members, names, strict=True)
        ]
        shares = [1.0] * len(self._members) if weights is None else list(weights)
        self._log_weights = [math.log(share / sum(shares)) for share in shares]
        self.vocabulary = first.vocabulary
        self.sample_rate = first.sample_rate
        self.frame_shift = first.frame_shift
        self.parameters = sum(member.parameters for member in self._members)
        self.bytes = sum(member.bytes for member in self._members)
        parts = [f"{m.fingerprint} {w:.6f}" for m, w in zip(self._members, self._log_weights, strict=True)]
        self.fingerprint = hashlib.sha256(" ".join(parts).encode()).hexdigest()[:12]

    @classmethod
    def open(cls, config: EnsembleTeacher, device: torch.device | str = "cpu") -> Self:
        """Open every member.

        Raises:
            TeacherError: one cannot be opened, or they do not fit together.
            MissingExtra: one needs a library that is not installed.
        """
        names = [f"{m.kind} {getattr(m, 'path', None) or getattr(m, 'name', '')}" for m in config.members]
        return cls([open_teacher(member, device) for member in config.members], config.weights, names)

    def posteriors(self, waveforms: Tensor, lengths: Tensor) -> Posteriors:
        """Run the model on a batch; see `Teacher.posteriors`.

        Members' lengths may differ by a frame at the end; the shortest counts.

        Raises:
            TeacherError: they differ by more, or an output is not finite.
        """
        total: Tensor | None = None
        frames: Tensor | None = None
        for member, order, weight in zip(self._members, self._orders, self._log_weights, strict=True):
            found = member.posteriors(waveforms, lengths)
            ordered = found.log_probs + weight
            if order is not None:
                ordered = ordered[..., torch.tensor(order, device=ordered.device)]
            if total is None or frames is None:
                total, frames = ordered, found.lengths
                continue
            counts = found.lengths.to(frames.device)
            if (apart := int((counts - frames).abs().max())) > 1:
                raise TeacherError(f"the ensemble's members differ by {apart} frames on one utterance")
            shared = min(total.shape[1], ordered.shape[1])
            total = torch.logaddexp(total[:, :shared], ordered[:, :shared].to(total.device))
            frames = torch.minimum(frames, counts)
        if total is None or frames is None:
            raise TeacherError("an ensemble needs members")
        # As with every teacher, padding is the uniform distribution.
        padding = torch.arange(total.shape[1], device=total.device) >= frames[:, None]
        log_probs = total.masked_fill(padding[:, :, None], -math.log(total.shape[2]))
        return Posteriors(log_probs, frames, self.frame_shift)

    def to(self, device: torch.device | str) -> Self:
        """Move every member; returns itself."""
        for member in self._members:
            member.to(device)
        return self


def _order(first: Vocabulary, other: Vocabulary, first_name: str, name: str) -> list[int] | None:
    """Return which of the other's outputs belongs at each of the first's ids; None if they are the same."""
    ours, theirs = _units(first), _units(other)
    if ours == theirs:
        return None
    if set(ours) != set(theirs):
        more = [str(unit) for unit in ours if unit not in theirs]
        less = [str(unit) for unit in theirs if unit not in ours]
        parts = [f"only {who} has {units[:5]}" for who, units in ((first_name, more), (name, less)) if units]
        raise TeacherError(
            f"members of an ensemble need the same tokens: {'; '.join(parts)}; choose models of one "
            "vocabulary"
        )
    where = {unit: index for index, unit in enumerate(theirs)}
    return [where[unit] for unit in ours]


def _units(vocabulary: Vocabulary) -> list[str]:
    """Name outputs by what they mean: blanks and word boundaries go by several names."""
    boundary = vocabulary.word_boundary
    units = [token.replace(boundary, " ") if boundary else token for token in vocabulary.tokens]
    for index in vocabulary.silent:
        units[index] = f"silent {vocabulary.tokens[index]}"
    units[vocabulary.blank] = "the blank"
    return units
