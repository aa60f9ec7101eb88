from pathlib import Path

import numpy as np
import pytest

from kdcompress.bench.facts import INT8_ON_CUDA, graph_facts
from kdcompress.runtime.session import Session

FEATURES, LENGTHS = np.zeros((1, 100, 80), np.float32), np.array([100])


def test_options_are_those_that_the_session_has(tone_bundle: Path) -> None:
    session = Session(tone_bundle / "model.onnx", threads=3)
    facts = graph_facts(session, session.layout.feeds(FEATURES, LENGTHS), precision="fp32")
    assert (facts.provider, facts.threads, facts.precision, facts.runtime_name) == (
        "cpu",
        3,
        "fp32",
        "kdcompress",
    )
    assert facts.options["intra_op_num_threads"] == "3"
    assert facts.options["execution_mode"] == "ORT_SEQUENTIAL"
    assert facts.options["io_binding"] == "false"
    assert "session.disable_prepacking" not in facts.options  # not set, so not told
    assert (facts.notes, facts.fallback) == ((), {})
    assert facts.nodes == {"CPUExecutionProvider": 7}


def test_a_session_that_took_the_cpu_instead_of_cuda_is_told(
    tone_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = Session(tone_bundle / "model.onnx", threads=1)
    # What a GPU build does where nodes have no kernel: asked for CUDA, run by the CPU.
    monkeypatch.setattr(Session, "_asked", lambda self: ["CPUExecutionProvider"])
    session.provider, session.device = "CUDAExecutionProvider", "cuda"
    facts = graph_facts(session, session.layout.feeds(FEATURES, LENGTHS), precision="int8", int8=True)
    assert facts.provider == "cuda"
    assert facts.notes == ("7 of 7 nodes ran on the CPU, not on CUDA", INT8_ON_CUDA)
    assert facts.fallback["MatMul"] == 1
