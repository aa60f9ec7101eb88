from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto

from kdcompress.quantize.apply import quantize
from kdcompress.quantize.census import census
from kdcompress.runtime.session import Session


def test_long_audio_keeps_its_lengths_and_positions(tiny_bundle: Path, tmp_path: Path) -> None:
    quantize(tiny_bundle / "model.onnx", "fp16", tmp_path / "half.onnx")
    old, new = (Session(p, threads=1) for p in (tiny_bundle / "model.onnx", tmp_path / "half.onnx"))
    # Odd, and its last positions are no half-precision numbers.
    features = np.random.default_rng(0).standard_normal((2, 8711, 80)).astype(np.float32)
    lengths = np.array([8711, 4099])
    (wanted, frames), (found, half_frames) = old.run(features, lengths), new.run(features, lengths)
    np.testing.assert_array_equal(half_frames, frames)
    assert found.dtype == np.float32
    for row in range(2):
        difference = (np.exp(wanted) * (wanted - found))[row, : frames[row]].sum(axis=1)
        assert difference.mean() < 1e-4
        assert difference[-100:].mean() < 1e-4


def test_angles_and_log_probabilities_stay_float(tiny_bundle: Path, tmp_path: Path) -> None:
    counted = quantize(tiny_bundle / "model.onnx", "fp16", tmp_path / "half.onnx")
    model = onnx.load(str(tmp_path / "half.onnx"))
    assert counted.half > 5
    assert counted.foreign == ()
    assert census(tiny_bundle / "model.onnx").half == 0
    typed = onnx.shape_inference.infer_shapes(model)
    types = {value.name: value.type.tensor_type.elem_type for value in typed.graph.value_info}
    for node in model.graph.node:
        if node.op_type in {"Sin", "Cos", "LogSoftmax"}:
            assert types.get(node.input[0], TensorProto.FLOAT) == TensorProto.FLOAT
    assert (tmp_path / "half.onnx").stat().st_size < 0.75 * (tiny_bundle / "model.onnx").stat().st_size
