import json
import shutil
from pathlib import Path

import onnx
import pytest
import torch

from kdcompress.errors import ConfigError, ExportError, KdcompressError, NumericsError, RunError
from kdcompress.graph import write
from kdcompress.graph.write import check_target, export_run
from kdcompress.runtime.bundle import open_bundle
from kdcompress.students.weights import load_student, save_student


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch, tiny_bundle: Path) -> None:
    """Let export find the graph of `tiny_bundle` already traced, which saves seconds per export."""
    monkeypatch.setattr(write, "trace", lambda *_: onnx.load(str(tiny_bundle / "model.onnx")))


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


COMPLETE = {
    "README.md",
    "bundle.json",
    "config.json",
    "model.int8.onnx",
    "model.onnx",
    "selftest.json",
    "selftest.wav",
    "tokens.txt",
    "vocab.txt",
}


def test_the_directory_is_complete_and_true(tiny_bundle: Path, tiny_checkpoint: Path) -> None:
    assert names(tiny_bundle) == COMPLETE
    bundle = open_bundle(tiny_bundle, verify=True)
    student = load_student(tiny_checkpoint)
    assert bundle.vocabulary == student.vocabulary
    assert (bundle.frame_shift, bundle.subsampling_factor) == (0.04, 4)
    assert bundle.provenance["student"] == student.fingerprint
    assert bundle.parameters == student.model.parameter_count()
    assert bundle.variants["int8-dynamic"].ops["MatMulInteger"] > 0
    assert bundle.variants["int8-dynamic"].bytes < bundle.variants["fp32"].bytes
    assert bundle.parity["fp32"]["agreement"] == 1.0
    assert bundle.parity["int8-dynamic"]["kl"] < 0.05
    assert (tiny_bundle / "tokens.txt").read_text("utf-8") == "▁ 0\na 1\n<blk> 2\nb 3\nc 4\n</s> 5\n"
    assert (tiny_bundle / "vocab.txt").read_bytes() == (tiny_bundle / "tokens.txt").read_bytes()
    config = json.loads((tiny_bundle / "config.json").read_text())
    assert config == {"model_type": "nemo-conformer-ctc", "features_size": 80, "subsampling_factor": 4}


def test_no_path_of_this_machine_travels_with_it(tiny_bundle: Path, tiny_checkpoint: Path) -> None:
    for path in tiny_bundle.iterdir():
        assert str(tiny_checkpoint.parent).encode() not in path.read_bytes()


@pytest.mark.usefixtures("traced")
def test_progress_is_told_to_the_end(tiny_checkpoint: Path, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    (tmp_path / "out").mkdir()  # empty: may be taken
    bundle = export_run(
        tiny_checkpoint, tmp_path / "out", quantize=(), on_progress=lambda *step: told.append(step)
    )
    assert [done for _, done, _ in told] == list(range(5))
    assert {total for _, _, total in told} == {4}
    assert list(bundle.variants) == ["fp32"]
    assert names(tmp_path / "out") == COMPLETE - {"model.int8.onnx"}
    assert names(tmp_path) == {"out"}


@pytest.mark.usefixtures("traced")
def test_overwriting_replaces_the_whole_bundle(
    tiny_bundle: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(tiny_bundle, out)
    (out / "old.txt").write_text("left over")
    with pytest.raises(ExportError, match="already holds a bundle"):
        export_run(tiny_checkpoint, out, quantize=())
    assert names(out) == COMPLETE | {"old.txt"}
    export_run(tiny_checkpoint, out, quantize=(), overwrite=True)
    assert names(out) == COMPLETE - {"model.int8.onnx"}
    assert names(tmp_path) == {"out"}
    open_bundle(out, verify=True)


def test_what_is_no_bundle_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.tex").write_text("precious")
    for name, complaint in (("file", "not a directory"), ("folder", "no bundle")):
        with pytest.raises(ExportError, match=complaint):
            check_target(tmp_path / name, overwrite=True)


@pytest.mark.usefixtures("traced")
def test_a_failed_export_leaves_nothing_and_loses_nothing(
    tiny_bundle: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    student = load_student(tiny_checkpoint)
    with torch.no_grad():
        student.model.head.bias[0] += 1.0  # the graph is that of another student
    save_student(tmp_path / "run", student.model, student.vocabulary, {})
    shutil.copytree(tiny_bundle, tmp_path / "out")
    before = (tmp_path / "out" / "bundle.json").read_bytes()
    with pytest.raises(ExportError, match="differ from torch's"):
        export_run(tmp_path / "run", tmp_path / "out", overwrite=True)
    assert names(tmp_path) == {"run", "out"}
    assert (tmp_path / "out" / "bundle.json").read_bytes() == before


@pytest.mark.usefixtures("traced")
def test_weights_that_are_not_numbers_are_refused(tiny_checkpoint: Path, tmp_path: Path) -> None:
    student = load_student(tiny_checkpoint)
    with torch.no_grad():
        student.model.head.bias[0] = float("nan")
    save_student(tmp_path / "run", student.model, student.vocabulary, {})
    with pytest.raises(NumericsError):
        export_run(tmp_path / "run", tmp_path / "out")
    assert names(tmp_path) == {"run"}


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"run": "nowhere"}, RunError),
        ({"profile": "web"}, ConfigError),
        ({"profile": "kaldi"}, ConfigError),  # the student heard NeMo's features
        ({"quantize": ("int7",)}, ConfigError),
        ({"audio": "nowhere"}, KdcompressError),
    ],
)
def test_wrong_wishes_are_refused_before_the_work(
    tiny_checkpoint: Path, tmp_path: Path, changes: dict[str, str], error: type[KdcompressError]
) -> None:
    wishes: dict[str, object] = {"run": tiny_checkpoint, "out": tmp_path / "out"}
    wishes |= {name: tmp_path / value if value == "nowhere" else value for name, value in changes.items()}
    with pytest.raises(error):
        export_run(**wishes)  # type: ignore[arg-type]  # wrong on purpose
    assert not names(tmp_path)


@pytest.mark.usefixtures("traced")
def test_a_student_of_raw_features_is_kept_from_onnx_asr(tiny_checkpoint: Path, tmp_path: Path) -> None:
    student = load_student(tiny_checkpoint)
    model = student.model
    model.config = model.config.model_copy(update={"normalize": "none"})
    save_student(tmp_path / "run", model, student.vocabulary, {})
    bundle = export_run(tmp_path / "run", tmp_path / "out", quantize=())
    # It would feed what the student was not trained on: better that it finds no model.
    assert names(tmp_path / "out") == COMPLETE - {"model.int8.onnx", "config.json", "vocab.txt"}
    assert bundle.frontend.normalize == "none"
    assert "Cannot run this student" in (tmp_path / "out" / "README.md").read_text("utf-8")
