"""`kdcompress shrink`: a student that export takes, and what it refuses."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from kdcompress.cli.app import app
from kdcompress.errors import KdcompressError
from kdcompress.students.weights import load_student

pytestmark = pytest.mark.slow  # a graph or a search for each


def test_it_writes_a_student_and_prints_the_frontier(
    teacher_folder: Path, audio_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "half"
    asked = [
        "shrink",
        str(teacher_folder),
        "--audio",
        str(audio_folder),
        "--budget",
        "0.6x",
        "--out",
        str(out),
    ]
    done = CliRunner().invoke(app, asked, catch_exceptions=False)
    assert done.exit_code == 0
    header, *rows = done.stdout.splitlines()
    assert header.split() == ["MB", "of", "teacher", "time", "layers", "KL", "words", "changed"]
    assert rows[0].split()[:4] == ["teacher", rows[0].split()[1], "1.000×", "1.00×"]
    assert rows[-1].startswith("chosen")
    tried = json.loads((out / "frontier.json").read_text())["tried"]
    assert len(tried) == len(rows)
    assert load_student(out).model.parameter_count() * 4 == tried[-1]["bytes"]
    assert (out / "frontier.png").stat().st_size > 1000
    with pytest.raises(KdcompressError, match="exists already"):
        CliRunner().invoke(app, asked, catch_exceptions=False)
    bundle = tmp_path / "bundle"
    exported = CliRunner().invoke(app, ["export", str(out), "--out", str(bundle)], catch_exceptions=False)
    assert exported.exit_code == 0
    assert list(bundle.glob("*.onnx"))


def test_inspect_says_what_students_would_cost(teacher_folder: Path, audio_folder: Path) -> None:
    asked = ["inspect", str(teacher_folder), "--audio", str(audio_folder), "--students", "--json"]
    done = CliRunner().invoke(app, asked, catch_exceptions=False)
    students = json.loads(done.stdout)["students"]
    assert students[0]["share"] == 1
    assert students[-1]["share"] < 0.6
    assert {"bytes", "kl", "time", "disagreement"} <= set(students[-1])
