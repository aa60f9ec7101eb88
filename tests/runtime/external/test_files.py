"""Which graph and which tokens belong together, and what is said where no file says it."""

import json
import shutil
from pathlib import Path

import pytest

from kdcompress.errors import BundleError
from kdcompress.runtime.external.files import find_files


@pytest.fixture
def optimum(tmp_path: Path) -> Path:
    """Graphs in onnx/, the rest one folder up."""
    (tmp_path / "onnx").mkdir()
    for name in ("model.onnx", "model_quantized.onnx"):
        (tmp_path / "onnx" / name).touch()
    (tmp_path / "vocab.json").write_text(json.dumps({"<pad>": 0, "a": 1}))
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"do_normalize": False}))
    return tmp_path


@pytest.mark.parametrize("named", ["", "onnx", "onnx/model.onnx"])
def test_the_vocabulary_of_optimum_lies_one_folder_up(optimum: Path, named: str) -> None:
    found = find_files(optimum / named)
    assert found.graph == optimum / "onnx" / "model.onnx"
    assert found.vocabulary.tokens == ("<pad>", "a")
    assert (found.normalizes, found.assumed) == (False, None)


def test_a_graph_that_is_named_is_taken(optimum: Path) -> None:
    graph = optimum / "onnx" / "model_quantized.onnx"
    assert find_files(graph).graph == graph


def test_tokens_beside_the_graph_go_first(optimum: Path) -> None:
    shutil.copy(optimum / "vocab.json", optimum / "onnx")
    (optimum / "vocab.json").unlink()
    assert find_files(optimum).vocabulary.tokens == ("<pad>", "a")


def test_what_is_assumed_of_a_waveform_is_said(optimum: Path) -> None:
    (optimum / "preprocessor_config.json").unlink()
    found = find_files(optimum)
    assert found.normalizes
    assert found.assumed is not None
    assert "assumed so" in found.assumed
    assert "teacher.normalize=false" in found.assumed
    for chosen in (True, False):
        found = find_files(optimum, normalize=chosen)
        assert (found.normalizes, found.assumed) == (chosen, None)


def test_another_rate_is_refused(optimum: Path) -> None:
    (optimum / "preprocessor_config.json").write_text(json.dumps({"sampling_rate": 8000}))
    with pytest.raises(BundleError, match="takes audio at 8000 Hz"):
        find_files(optimum)
