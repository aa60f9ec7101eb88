"""Forward KL in pieces is forward KL."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kdcompress.distill.objective import selected_kl
from kdcompress.distill.objective.divergences import kl_divergence
from kdcompress.distill.objective.selected_kl import forward_kl_at


@given(seed=st.integers(0, 100), share=st.floats(0, 1), piece=st.sampled_from([1, 3, 2048]))
def test_value_and_gradient_are_those_of_the_selected_kl_frames(seed: int, share: float, piece: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    student = torch.randn(3, 7, 5, generator=generator, dtype=torch.float64).log_softmax(-1).requires_grad_()
    teacher = torch.randn(3, 7, 5, generator=generator, dtype=torch.float64).log_softmax(-1)
    teacher[0, 0] = torch.tensor([0.0] + [-torch.inf] * 4)  # certain: 0 · log 0 is 0
    row, frame = (torch.rand(3, 7, generator=generator) < share).nonzero(as_tuple=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(selected_kl, "_FRAMES", piece)
        loss = forward_kl_at(student, row, frame, teacher[row, frame])
        (3 * loss).backward()
    mine, student.grad = student.grad, None
    expected = kl_divergence(teacher[row, frame], student[row, frame])
    (3 * expected).backward()
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(mine, student.grad)
