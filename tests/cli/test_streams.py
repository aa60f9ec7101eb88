"""Streams that are closed, or that nobody reads: lines are lost, work is not."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

pytestmark = pytest.mark.skipif(os.name == "nt", reason="written for a POSIX shell")

KDCOMPRESS = [sys.executable, "-m", "kdcompress"]
TRAINING = """
import sys
from pathlib import Path
from kdcompress.cli import start
from kdcompress.cli.progress import DistillProgress

def train(arguments):
    with DistillProgress() as progress:
        for step in range(1, 200):
            progress.step(step, 200, {"loss": 1.0})
            progress.say("a validation")
    sys.stderr.write("no end of line")
    Path(sys.argv[1]).write_text("trained")

start._run = train
start.main()
"""


def shell(redirections: str, *command: object) -> "subprocess.CompletedProcess[str]":
    """Run a command whose streams the shell redirects; {gone} is a pipe without a reader."""
    read, write = os.pipe()
    os.close(read)
    gone = " </dev/null" if "{gone}" in redirections else ""
    script = f'"$@" {redirections.format(gone=0)}{gone}'
    done = subprocess.run(
        ["sh", "-c", script, "sh", *map(str, command)],
        text=True,
        capture_output=True,
        timeout=120,
        stdin=write,
        check=False,
    )
    os.close(write)
    return done


LOST = ["2>&-", "2>&{gone}", ">&- 2>&-", "<&- >&- 2>&-"]
LOST += ["2>/dev/full"] if Path("/dev/full").exists() else []


@pytest.mark.parametrize("redirections", LOST)
def test_a_training_ends_as_ever_when_nobody_reads_its_lines(tmp_path: Path, redirections: str) -> None:
    done = shell(redirections, sys.executable, "-c", TRAINING, tmp_path / "result")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / "result").read_text() == "trained"


@pytest.mark.slow
@pytest.mark.parametrize("redirections", LOST)
def test_texts_of_other_files_are_not_lost_with_an_error_line(
    tone_bundle: Path, say: Callable[[str], npt.NDArray[np.float32]], tmp_path: Path, redirections: str
) -> None:
    (tmp_path / "a.wav").write_bytes(b"no sound")
    soundfile.write(tmp_path / "b.wav", say("ab c"), 16_000)
    command = [*KDCOMPRESS, "transcribe", tone_bundle, tmp_path / "a.wav", tmp_path / "b.wav"]
    done = shell(redirections, *command, "--out", tmp_path / "texts")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")
    assert (tmp_path / "texts" / "b.txt").read_text() == "ab c\n"
    if ">&-" not in redirections.replace("2>&-", ""):
        assert shell(redirections, *command).stdout == f"{tmp_path / 'b.wav'}\tab c\n"


@pytest.mark.slow
@pytest.mark.parametrize("redirections", [">&-", "<&-", ">&{gone}", ">&{gone} 2>&{gone}", "<&- >&-"])
def test_no_closed_stream_is_a_traceback(redirections: str) -> None:
    done = shell(redirections, *KDCOMPRESS, "recipes", "list")
    assert done.returncode == (1 if "{gone}" in redirections else 0)
    assert done.stderr == ""
    missing = shell(redirections, *KDCOMPRESS, "transcribe", "no-bundle", "-")
    assert missing.returncode in {1, 2}
    assert "Traceback" not in missing.stderr
