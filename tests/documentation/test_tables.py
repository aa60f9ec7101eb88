import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "docs" / "tables.py"


def test_the_tables_are_what_the_results_say() -> None:
    done = subprocess.run([sys.executable, str(SCRIPT), "--check"], text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
