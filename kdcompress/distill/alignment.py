"""Hold the teacher's frames against the student's."""

from collections.abc import Sequence

import torch
from torch import Tensor

from kdcompress.errors import ConfigError, TeacherError

# Front ends round at the end of an utterance: centred frames against windows that must fit, for one.
SLACK = 2
_SHIFTS_MS = (20, 40, 80)


def student_frame_shift(asked_ms: int | None, teacher_shift: float) -> int:
    """Return the student's frame shift [ms], which must be the teacher's.

    Raises:
        ConfigError: the teacher's is none that students have, or another one was asked for.
    """
    teacher_ms = round(teacher_shift * 1000)
    if teacher_ms not in _SHIFTS_MS:
        raise ConfigError(f"the teacher's frame shift is {teacher_ms} ms; students have 20, 40 or 80 ms")
    if asked_ms not in {None, teacher_ms}:
        raise ConfigError(
            f"student.frame_shift_ms is {asked_ms}, the teacher's is {teacher_ms}: "
            "leave it out, so that frames match one to one"
        )
    return teacher_ms


def common_lengths(teacher_B: Tensor, student_B: Tensor, ids: Sequence[str]) -> Tensor:
    """Return the number of frames [B] that both have, compared by true lengths.

    Raises:
        TeacherError: they differ by more than rounding at the end explains.
    """
    apart = (teacher_B - student_B).abs()
    if int(apart.max()) > SLACK:
        worst = int(apart.argmax())
        raise TeacherError(
            f"{ids[worst]}: the teacher has {int(teacher_B[worst])} frames, "
            f"the student {int(student_B[worst])}; more than {SLACK} apart "
            "at one frame shift: the teacher misstates its frame shift or lengths"
        )
    return torch.minimum(teacher_B, student_B)
