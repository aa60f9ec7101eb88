"""A few of the odd and damaged files that tests/faults/audio.py makes by the thousand."""

import warnings
from collections import Counter
from pathlib import Path

import pytest

from audio import judge

pytest.importorskip("av", reason="PyAV (the extra av) is not installed")


def test_damaged_files_have_the_right_duration_or_a_line(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # FFmpeg's, of what it finds
        verdicts = [judge(number, [], tmp_path) for number in range(60)]
    assert [verdict for verdict in verdicts if verdict.is_fault] == []
    counts = Counter(verdict.outcome for verdict in verdicts)
    assert counts["right"] > 15
    assert counts["refused"] > 10
