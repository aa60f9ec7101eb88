import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from kdcompress.cores import available_cores
from kdcompress.errors import BundleError, ConfigError
from kdcompress.runtime.session import Session

FEATURES = np.zeros((2, 9, 80), np.float32)
LENGTHS = np.array([9, 5])


def test_a_graph_runs_on_a_batch(tone_bundle: Path) -> None:
    session = Session(tone_bundle / "model.onnx", threads=1)
    log_probs, lengths = session.run(FEATURES, LENGTHS)
    assert log_probs.shape == (2, 3, 5)
    assert lengths.tolist() == [3, 2]
    np.testing.assert_allclose(np.exp(log_probs).sum(-1), 1, rtol=1e-5)


def test_the_provider_of_every_node_is_counted(tone_bundle: Path, tmp_path: Path) -> None:
    session = Session(tone_bundle / "model.onnx", threads=1)
    assert session.providers == ("CPUExecutionProvider",)
    assert session.node_providers(FEATURES, LENGTHS) == {"CPUExecutionProvider": 7}


@pytest.mark.skipif(
    "CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="this onnxruntime has CUDA"
)
def test_cuda_is_refused_where_onnxruntime_has_none(tone_bundle: Path) -> None:
    with pytest.raises(ConfigError, match=r"has no CUDAExecutionProvider.*onnxruntime-gpu"):
        Session(tone_bundle / "model.onnx", "cuda")


def test_a_silent_fallback_is_refused(tone_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The state of a GPU build whose CUDA libraries are missing: listed, but not there when it counts.
    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    )
    monkeypatch.setattr(Session, "_asked", lambda self: ["CPUExecutionProvider"])
    with pytest.raises(BundleError, match="fell back to CPUExecutionProvider"):
        Session(tone_bundle / "model.onnx", "cuda")


def test_threads_are_the_cores_that_may_be_used_unless_said(tone_bundle: Path) -> None:
    assert Session(tone_bundle / "model.onnx").threads == available_cores()
    with pytest.raises(ConfigError, match="threads must be 1 or more, found 0"):
        Session(tone_bundle / "model.onnx", threads=0)
    with pytest.raises(ConfigError, match="no provider 'tpu'; there are cpu, cuda"):
        Session(tone_bundle / "model.onnx", "tpu")  # type: ignore[arg-type]


def test_the_options_are_those_of_the_session(tone_bundle: Path) -> None:
    session = Session(tone_bundle / "model.onnx", threads=1)
    assert session.options == {
        "graph_optimization_level": "ORT_ENABLE_ALL",
        "execution_mode": "ORT_SEQUENTIAL",
        "intra_op_num_threads": "1",
        "inter_op_num_threads": "1",
        "enable_mem_pattern": "false",
        "enable_cpu_mem_arena": "true",
    }
    assert Session(tone_bundle / "model.onnx", threads=2).options["intra_op_num_threads"] == "2"


def test_what_is_no_graph_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_text("no graph")
    with pytest.raises(BundleError, match="cannot be loaded by onnxruntime") as caught:
        Session(tmp_path / "model.onnx")
    assert "\n" not in str(caught.value)


def test_a_graph_of_another_layout_is_refused(tone_bundle: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(tone_bundle / "model.onnx", tmp_path))
    model = onnx.load(path)
    model.graph.input[0].name = "x"
    model.graph.node[0].input[0] = "x"
    onnx.save(model, path)
    with pytest.raises(
        BundleError, match=r"maps x, length to .*the portable profile maps audio_signal, length"
    ):
        Session(path)


def test_a_graph_that_asks_for_more_memory_than_there_is_ends_in_one_line(
    tone_bundle: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = Path(shutil.copy(tone_bundle / "model.onnx", tmp_path))
    model = onnx.load(path)
    last = model.graph.output[0].name
    for node in model.graph.node:
        node.output[:] = ["inner" if name == last else name for name in node.output]
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([2**45]), "huge"))
    model.graph.node.extend(
        [
            onnx.helper.make_node("ConstantOfShape", ["huge"], ["many"]),
            onnx.helper.make_node("ReduceMax", ["many"], ["nothing"], keepdims=0),
            onnx.helper.make_node("Add", ["inner", "nothing"], [last]),
        ]
    )
    onnx.save(model, path)
    with pytest.raises(BundleError, match=r"cannot be run on .* asks for 140737\.5 GB") as caught:
        Session(path).run(FEATURES, LENGTHS)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""
