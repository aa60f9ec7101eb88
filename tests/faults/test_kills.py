"""Commands that are killed at random moments end, given again, with what they would have ended with."""

import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="kills.py forks")
def test_kills_are_survived() -> None:
    command = [sys.executable, str(Path(__file__).with_name("kills.py")), "--kills", "12"]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "12 kills, 0 not survived" in done.stdout
