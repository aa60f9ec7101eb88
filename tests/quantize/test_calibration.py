from collections.abc import Callable

import numpy as np
import onnx
import pytest

from kdcompress.aliases import FloatArray
from kdcompress.errors import ExportError
from kdcompress.quantize.calibration import Activation, observe

Answer = Callable[[onnx.ModelProto, dict[str, FloatArray]], FloatArray]


def heard(
    model: onnx.ModelProto, name: str, sounds: list[dict[str, FloatArray]], answer: Answer
) -> FloatArray:
    """Return all values of an activation [frames, K], by a graph that answers with it."""
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    del watched.graph.output[:]
    watched.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    return np.concatenate([answer(watched, feed)[0] for feed in sounds])


def test_extremes_channels_and_counts_are_those_of_all_values(
    gated: onnx.ModelProto, sounds: list[dict[str, FloatArray]], answer: Answer
) -> None:
    found = observe(gated, ["normed", "gate"], sounds, histograms=True)
    for name, activation in found.items():
        values = heard(gated, name, sounds, answer)
        assert activation.low == min(0.0, values.min())
        assert activation.high == pytest.approx(values.max())
        np.testing.assert_allclose(activation.channels, np.abs(values).max(axis=0))
        assert activation.histogram.sum() == values.size
        assert activation.range("minmax") == (activation.low, activation.high)
    assert found["gate"].low == 0.0  # a sigmoid has no values below; bytes must hold zero all the same
    assert len(gated.graph.output) == 1


def of_values(values: FloatArray) -> Activation:
    low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
    counts = np.histogram(values, bins=2048, range=(low, high))[0].astype(np.float64)
    return Activation(low, high, np.abs(values)[None], counts)


def test_percentile_drops_a_rare_outlier_on_either_side() -> None:
    values = np.random.default_rng(0).normal(0, 1, 100_000)
    whole = of_values(np.append(values, [60.0, -50.0])).range("percentile")
    low, high = np.quantile(values, [5e-5, 1 - 5e-5])
    assert whole[0] == pytest.approx(low, abs=0.15)
    assert whole[1] == pytest.approx(high, abs=0.15)


def test_entropy_clips_what_is_rare_and_keeps_what_is_common() -> None:
    values = np.random.default_rng(0).normal(0, 1, 100_000)
    clipped = of_values(np.append(values, [60.0, -60.0])).range("entropy")
    assert 2.5 < clipped[1] < 10
    even = np.random.default_rng(0).uniform(-1, 1, 100_000)
    low, high = of_values(even).range("entropy")
    assert low < -0.9
    assert high > 0.9


def test_an_activation_that_is_always_zero_has_a_range() -> None:
    silent = Activation(0.0, 0.0, np.zeros(4), np.zeros(2048))
    assert {silent.range(method) for method in ("minmax", "percentile", "entropy")} == {(0.0, 0.0)}


def test_what_is_no_number_is_refused(gated: onnx.ModelProto) -> None:
    broken = [{"x": np.full((1, 5, 40), np.nan, np.float32)}]
    with pytest.raises(ExportError, match="NaN"):
        observe(gated, ["normed"], broken)
