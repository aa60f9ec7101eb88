"""Time selection, gathering and the loss against a plain loop over utterances and frames, in one run.

    python tests/benchmarks/benchmark_selection.py

Prints for V = 32 and V = 1024, at B = 32 and T = 1500, how many times faster than the loop (forward and
backward, timed in turn), and the peak of extra memory, in copies of the student's output, its gradient
included.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

import torch
from torch import Tensor

from kdcompress.config.selection import SelectSymmetric
from kdcompress.distill.objective.frame_targets import frame_targets
from kdcompress.distill.objective.losses import frame_kd

SHIFT, N, BLANK = 0.04, 2, 0


def batch(utterances: int, frames: int, vocabulary: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return teacher and student log-probabilities [B, T, V], a third of them labels, and lengths [B]."""
    generator = torch.Generator().manual_seed(0)
    teacher = torch.randn(utterances, frames, vocabulary, generator=generator)
    label = torch.rand(utterances, frames, generator=generator) < 1 / 3
    teacher[..., BLANK] += torch.where(label, -20.0, 20.0)
    student = torch.randn(utterances, frames, vocabulary, generator=generator).log_softmax(-1)
    lengths = torch.randint(frames // 2, frames + 1, (utterances,), generator=generator)
    return teacher.log_softmax(-1), student.requires_grad_(), lengths


def ours(teacher: Tensor, student: Tensor, lengths: Tensor) -> Tensor:
    """Return the mean divergence over the selected frames, as training computes it."""
    targets = frame_targets(teacher, lengths, BLANK, SelectSymmetric(frames=N), SHIFT)
    loss = frame_kd(student, targets, 1.0)
    return loss.total / loss.count


def naive(teacher: Tensor, student: Tensor, lengths: Tensor) -> Tensor:
    """Return the same, frame by frame."""
    total, count = torch.zeros(()), 0
    for teacher_TV, student_TV, length in zip(teacher, student, lengths.tolist(), strict=True):
        # Unbound once: indexing frame by frame would give each frame a gradient of the whole batch.
        theirs, mine = teacher_TV.unbind(), student_TV.unbind()
        labels = [int(theirs[t].argmax()) != BLANK for t in range(length)]
        for t in range(length):
            if any(labels[max(0, t - N) : t + N + 1]):
                total = total + (theirs[t].exp() * (theirs[t] - mine[t])).sum()
                count += 1
    return total / count


def seconds(
    work: Callable[[Tensor, Tensor, Tensor], Tensor], *tensors: Tensor
) -> tuple[float, float, Tensor]:
    """Return the time of one forward and backward pass, the loss, and the student's gradient."""
    tensors[1].grad = None
    start = time.perf_counter()
    loss = work(*tensors)
    loss.backward()
    taken = time.perf_counter() - start
    gradient = tensors[1].grad
    assert gradient is not None
    return taken, float(loss.detach()), gradient


def peak_copies(frames: int, vocabulary: int) -> float:
    """Return by how much ours raises this process's resident memory at most (Linux), in student outputs."""
    ours(*batch(2, 50, vocabulary)).backward()  # what is set up once does not count
    teacher, student, lengths = batch(32, frames, vocabulary)
    Path("/proc/self/clear_refs").write_text("5")  # forget the highest resident size so far
    before = _status("VmRSS")
    ours(teacher, student, lengths).backward()
    return (_status("VmHWM") - before) / (student.numel() * 4)


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(field)).split()[1])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=1500)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    for vocabulary in (32, 1024):
        # A fresh process: memory that this one has freed would hide what is asked for.
        with get_context("spawn").Pool(1) as pool:
            copies = pool.apply(peak_copies, (options.frames, vocabulary))
        tensors = batch(32, options.frames, vocabulary)
        seconds(ours, *tensors)  # warm up
        ratios = []
        for _ in range(options.repeats):
            fast, value, gradient = seconds(ours, *tensors)
            slow, other, expected = seconds(naive, *tensors)
            torch.testing.assert_close(gradient, expected, atol=1e-7, rtol=1e-4)
            assert abs(value - other) < 1e-3 * abs(other)
            ratios.append(slow / fast)
        sys.stdout.write(
            f"V {vocabulary}: {statistics.median(ratios):.0f}× faster than a loop ({min(ratios):.0f} to "
            f"{max(ratios):.0f}); peak extra memory {copies:.2f} copies of the student's output\n"
        )


if __name__ == "__main__":
    main()
