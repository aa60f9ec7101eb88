"""Integers that were fitted on audio answer it better than those that are nearest."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdcompress.aliases import FloatArray
from kdcompress.quantize import fitting
from kdcompress.quantize.fitting import fit, gram_matrices, output_error, round_with_feedback
from kdcompress.quantize.layers import weight_matrices
from kdcompress.quantize.rounding import WIDTHS, IntegerWeights, Width, best_scale, nearest, on_grid

NARROW = [WIDTHS[name] for name in ("6", "4", "3", "2", "ternary")]
LAYERS = ("first layer", "second layer", "output layer")


def correlated(rows: int, seed: int) -> npt.NDArray[np.float64]:
    generator = np.random.default_rng(seed)
    return generator.normal(0, 1, (4 * rows, rows)) @ generator.normal(0, 1, (rows, rows)) ** 3


def plain(weights: FloatArray, width: Width) -> IntegerWeights:
    scale = (np.abs(weights).max(axis=0) / width.limit).astype(np.float32)
    return IntegerWeights(nearest(weights, scale, width).astype(np.int8), scale, width)


@given(st.sampled_from(NARROW), st.integers(0, 30))
def test_feedback_costs_less_than_the_nearest_integers(width: Width, seed: int) -> None:
    inputs = correlated(24, seed)
    weights = np.random.default_rng(seed + 1).normal(0, 1, (24, 7)).astype(np.float32)
    gram = inputs.T @ inputs / len(inputs)
    found = round_with_feedback(weights.astype(np.float64), width, gram)
    assert np.abs(found.values).max() <= width.limit
    assert not ((found.values.astype(int) + width.offset) % width.step).any()
    assert output_error(weights, found, gram) < output_error(weights, plain(weights, width), gram)
    # What is said of the error is what the layer does.
    off = inputs @ (weights - found.values * found.scale.astype(np.float64))
    assert output_error(weights, found, gram) == pytest.approx((off**2).sum(axis=1).mean(), rel=1e-6)


@given(st.sampled_from(NARROW), st.integers(0, 99))
def test_the_best_scale_is_no_worse_than_the_largest_magnitude(width: Width, seed: int) -> None:
    weights = np.random.default_rng(seed).standard_t(3, (31, 5)).astype(np.float32)
    scale = best_scale(weights, width)
    error = np.square(nearest(weights, scale, width) * scale - weights).sum(axis=0)
    usual = plain(weights, width)
    assert (error <= np.square(usual.values * usual.scale - weights).sum(axis=0) * (1 + 1e-5)).all()


@given(st.sampled_from(NARROW), st.integers(0, 99))
def test_trained_integers_are_found_to_the_bit(width: Width, seed: int) -> None:
    generator = np.random.default_rng(seed)
    levels = generator.integers(0, width.levels, (17, 6))
    integers = levels * width.step - width.offset
    scale = np.exp(generator.normal(-4, 1, 6)).astype(np.float32)
    found = on_grid(integers.astype(np.float32) * scale, width)
    assert found is not None
    np.testing.assert_allclose(found.values * found.scale, integers * scale, rtol=1e-5)
    assert on_grid(generator.normal(0, 1, (50, 6)).astype(np.float32), width) is None


def test_gram_matrices_are_those_of_the_activations(
    gated: onnx.ModelProto,
    sounds: list[dict[str, FloatArray]],
    answer: Callable[[onnx.ModelProto, dict[str, FloatArray]], FloatArray],
) -> None:
    grams = gram_matrices(gated, ["normed", "h"], sounds)
    watched = onnx.ModelProto()
    watched.CopyFrom(gated)
    watched.graph.output[0].name = "h"
    rows = np.concatenate([answer(watched, feed)[0] for feed in sounds]).astype(np.float64)
    np.testing.assert_allclose(grams["h"], rows.T @ rows / len(rows), rtol=1e-6, atol=1e-9)
    assert grams["normed"].shape == (40, 40)


def test_memory_bounds_what_is_gathered_at_once_and_nothing_else(
    gated: onnx.ModelProto, sounds: list[dict[str, FloatArray]], monkeypatch: pytest.MonkeyPatch
) -> None:
    widths = dict.fromkeys(LAYERS, (WIDTHS["2"], WIDTHS["8"]))
    together = dict(fit(gated, widths, sounds))
    monkeypatch.setattr(fitting, "_MEMORY", 1)
    alone = dict(fit(gated, widths, sounds))
    assert sorted(together) == sorted(alone) == sorted(LAYERS)
    for name, fitted in together.items():
        assert [one.width.name for one in fitted] == ["2", "8"]
        assert fitted[0].error > fitted[1].error > 0
        for one, other in zip(fitted, alone[name], strict=True):
            np.testing.assert_array_equal(one.values, other.values)


def test_without_audio_weights_are_rounded_to_what_is_nearest(gated: onnx.ModelProto) -> None:
    matrices = weight_matrices(gated.graph, LAYERS)
    for name, (found,) in fit(gated, dict.fromkeys(LAYERS, (WIDTHS["4"],)), []):
        off = np.abs(found.values * found.scale - matrices[name])
        inside = np.abs(matrices[name]) <= WIDTHS["4"].limit * found.scale
        assert (off <= 1.001 * found.scale)[inside].all()
        assert found.error == 0
