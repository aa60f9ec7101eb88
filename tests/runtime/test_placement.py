from pathlib import Path

import numpy as np
import pytest

from kdcompress.runtime.placement import NodeRun, fallen_back, node_runs
from kdcompress.runtime.session import Session

FEATURES, LENGTHS = np.zeros((1, 100, 80), np.float32), np.array([100])


def event(op: str, kind: str, shape: list[int], provider: str = "CPUExecutionProvider") -> dict[str, object]:
    told = {"op_name": op, "provider": provider, "output_type_shape": [{kind: shape}]}
    return {"cat": "Node", "name": f"{op}-{kind}-{shape}_kernel_time", "args": told}


@pytest.mark.parametrize(
    ("op", "kind", "shape", "works"),
    [
        ("FusedMatMul", "float", [1, 5], True),  # whatever its size
        ("DynamicQuantizeMatMul", "float", [1, 25, 144], True),
        ("MatMulInteger", "int32", [1, 25, 144], True),
        ("LayerNormalization", "float16", [1, 25, 144], True),
        ("Add", "float", [1, 25, 144], True),  # activations
        ("DynamicQuantizeLinear", "uint8", [1, 25, 144], True),
        ("Shape", "int64", [3], False),
        ("Range", "int64", [10_000], False),  # positions: indices, however many
        ("Less", "bool", [1, 10_000], False),
        ("Mul", "float", [25, 18], False),  # a table of positions
        ("Cast", "float", [], False),
    ],
)
def test_the_model_is_told_from_its_bookkeeping(op: str, kind: str, shape: list[int], works: bool) -> None:
    (node,) = node_runs([event(op, kind, shape)])
    assert (node.op, node.works) == (op, works)


def test_only_nodes_that_ran_count_and_each_once() -> None:
    events = [
        event("MatMul", "float", [1, 5]),
        event("MatMul", "float", [1, 5]),
        event("MatMul", "float", [1, 6], "CUDAExecutionProvider"),
        {"cat": "Session", "name": "model_run", "args": {}},
        {"cat": "Node", "name": "x_fence_before", "args": {"op_name": "MatMul"}},
    ]
    nodes = node_runs(events)
    assert [node.provider for node in nodes] == ["CPUExecutionProvider", "CUDAExecutionProvider"]
    assert fallen_back(nodes, "CUDAExecutionProvider") == {"MatMul": 1}


def test_a_model_on_the_cpu_fell_back_from_cuda(tone_bundle: Path) -> None:
    """The planted fault: a session that took the CPU though CUDA was asked for."""
    session = Session(tone_bundle / "model.onnx", threads=1)
    nodes = session.place(session.layout.feeds(FEATURES, LENGTHS))
    assert fallen_back(nodes, "CPUExecutionProvider") == {}
    fallback = fallen_back(nodes, "CUDAExecutionProvider")
    assert fallback["MatMul"] == 1
    assert "Div" not in fallback  # of the lengths
    assert NodeRun("x", "Div", "CPUExecutionProvider", False) not in nodes
    assert sum(fallback.values()) < len(nodes)
