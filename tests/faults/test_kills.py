"""Commands that are killed at random moments end, given again, with what they would have ended with."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
# The first time the second process is killed; the second time it is late, so that the first one would find
# its old address (see `kdcompress.distill.distributed`).
KILLED_THEN_LATE = """
import os, signal, sys, time
from kdcompress.distill.distributed import processes

restarted = os.environ["TORCHELASTIC_RESTART_COUNT"] == "1"
if restarted and os.environ["RANK"] == "1":
    time.sleep(3)
processes().wait_for_everyone()
if not restarted and processes().process_index == 1:
    os.kill(os.getpid(), signal.SIGKILL)
processes().wait_for_everyone()
sys.stdout.write(f"{processes().process_index} of {processes().num_processes} after a restart\\n")
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="kills.py forks")
def test_kills_are_survived() -> None:
    command = [sys.executable, str(Path(__file__).with_name("kills.py")), "--kills", "12"]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "12 kills, 0 not survived" in done.stdout


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the loopback device has another name there")
def test_processes_that_torchrun_restarts_find_each_other(tmp_path: Path) -> None:
    """elastic.py, which takes minutes, does the same with commands and random moments."""
    program = tmp_path / "program.py"
    program.write_text(KILLED_THEN_LATE)
    launch = ["--standalone", "--local_addr=127.0.0.1", "--nproc_per_node=2", "--max_restarts=1"]
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", *launch, str(program)],
        env=os.environ | {"GLOO_SOCKET_IFNAME": "lo", "PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == [f"{rank} of 2 after a restart" for rank in (0, 1)]
