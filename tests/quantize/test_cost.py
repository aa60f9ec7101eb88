import gzip
import sys
from pathlib import Path

import pytest

from kdcompress.quantize.cost import file_cost


def test_a_file_costs_bytes_time_and_memory(tiny_bundle: Path) -> None:
    found = file_cost(tiny_bundle / "model.onnx")
    whole = (tiny_bundle / "model.onnx").read_bytes()
    assert found["gzip_bytes"] == pytest.approx(len(gzip.compress(whole, 9)), abs=64)  # it stores a name, too
    assert found["load_ms"] is not None
    assert found["load_ms"] > 0
    if sys.platform == "linux":
        assert found["load_peak_bytes"] is not None
        assert found["loaded_bytes"] is not None
        assert found["load_peak_bytes"] >= found["loaded_bytes"] > 0


def test_a_file_that_does_not_load_has_its_bytes_only(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"no graph")
    assert set(file_cost(tmp_path / "broken.onnx")) == {"gzip_bytes"}
