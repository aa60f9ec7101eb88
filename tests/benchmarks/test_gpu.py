"""The benchmark of GPUs, in tiny sizes on a CPU."""

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_a_dry_run_measures_every_part(tmp_path: Path) -> None:
    script, out = Path(__file__).with_name("gpu.py"), tmp_path / "gpu.json"
    ended = subprocess.run(
        [sys.executable, str(script), "--dry-run", "--out", str(out)],
        check=False,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    report = json.loads(out.read_text(encoding="utf-8"))
    parts = {"peak_tflops", "training/0.2M", "teacher", "bench", "tests"}
    assert not {name: report[name] for name in parts if "error" in report[name]}
    trained = report["training/0.2M"]
    assert 0 < trained["share_of_peak"] < 1
    assert trained["tflop_per_step"] > 0
    assert trained["aten_calls_per_step"] > 1000
    assert 0 <= report["teacher"]["bf16_kl"] < 0.1
    assert report["tests"]["exit_code"] == 0
    assert len(report["bench"]["results"]) == 2
