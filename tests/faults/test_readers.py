"""What is read while others replace it is the old or the new, and never an error."""

import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count, cycle
from pathlib import Path

import numpy as np
import pytest
import torch

from kdcompress.config.student import ConformerConfig
from kdcompress.distill.checkpoint import LoopState, checkpoint_files, prune, write_checkpoint
from kdcompress.files import write_file, writing_folder
from kdcompress.runtime.recognizer import Recognizer
from kdcompress.students.conformer import ConformerStudent
from kdcompress.students.weights import load_student
from kdcompress.text.vocabulary import Vocabulary

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the writer is a fork")
OFTEN = pytest.mark.parametrize("times", [40, pytest.param(1000, marks=pytest.mark.slow)])


@contextmanager
def busy(work: Callable[[], None]) -> Iterator[None]:
    """Let another process do something again and again, which must be changes to files alone."""
    number = os.fork()
    if not number:
        try:
            while True:
                work()
        finally:
            os._exit(1)
    try:
        yield
        assert os.waitpid(number, os.WNOHANG) == (0, 0), "the writer has ended"
    finally:
        os.kill(number, signal.SIGKILL)
        os.waitpid(number, 0)


@OFTEN
def test_a_bundle_that_is_replaced(
    tiny_bundle: Path, waveform_bundle: Path, tmp_path: Path, times: int
) -> None:
    sound = (0.3 * np.sin(np.arange(8000) / 5)).astype(np.float32)

    def read(place: Path) -> tuple[str, bytes]:
        recognizer = Recognizer(place, "fp32", threads=1)
        return recognizer.bundle.profile, recognizer.log_probs([recognizer.features(sound)])[0].tobytes()

    expected = {read(bundle) for bundle in (tiny_bundle, waveform_bundle)}
    assert len(expected) == 2
    place = Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
    turns = cycle((waveform_bundle, tiny_bundle))

    def replace() -> None:
        with writing_folder(place) as unfinished:
            shutil.copytree(next(turns), unfinished, dirs_exist_ok=True)
        time.sleep(0.1)

    with busy(replace):
        assert {read(place) for _ in range(times)} == expected


@OFTEN
def test_a_student_whose_run_goes_on(tmp_path: Path, times: int) -> None:
    vocabulary, shape = (
        Vocabulary(("<blk>", "a", "b"), 0),
        ConformerConfig(width=16, layers=1, heads=2, kernel=3, stem_channels=4, frame_shift_ms=40),
    )
    expected = {}
    for step in (0, 1):
        torch.manual_seed(step)
        student = ConformerStudent(shape, 3)
        optimizer = torch.optim.AdamW(student.parameters())
        files = checkpoint_files(student, vocabulary, optimizer, LoopState(step), {})
        write_checkpoint(tmp_path / str(step), step, files, best=True, keep=0)
        expected[step] = load_student(tmp_path / str(step)).fingerprint
    run, steps = Path(shutil.copytree(tmp_path / "0", tmp_path / "run")), count(2)

    def go_on() -> None:
        step = next(steps)
        name = f"step-{step:06d}"
        with writing_folder(run / "checkpoints" / name) as unfinished:
            made = tmp_path / str(step % 2) / "checkpoints" / f"step-{step % 2:06d}"
            shutil.copytree(made, unfinished, dirs_exist_ok=True)
        for pointer in ("best", "last"):
            write_file(run / pointer, name + "\n")
        prune(run, 0)

    found = set()
    with busy(go_on):
        for _ in range(times):
            student = load_student(run)
            found.add((student.record["step"], student.fingerprint))
    assert found == set(expected.items())
