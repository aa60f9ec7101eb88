"""Integers whose layer answers untranscribed audio as the float layer did.

House letters: T frames; K inputs and N outputs of a linear layer.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

from kdcompress.aliases import DoubleArray, FloatArray
from kdcompress.quantize.calibration import activations, opened
from kdcompress.quantize.layers import weight_matrices
from kdcompress.quantize.rounding import (
    EIGHT,
    IntegerWeights,
    Width,
    best_scale,
    nearest,
    on_grid,
    round_int8,
)
from kdcompress.runtime.compare import Feed

_DAMPING = 0.01  # of the mean power of the inputs: what the audio does not excite costs something, too
_MEMORY = 256 << 20  # bytes of Gram matrices that are gathered in one pass over the audio


def fit(
    model: onnx.ModelProto, widths: Mapping[str, Sequence[Width]], feeds: Sequence[Feed]
) -> Iterator[tuple[str, list[IntegerWeights]]]:
    """Round the weights of MatMuls, each to some widths; yields node by node.

    Weights that were trained to be integers of a width are what they were trained to be.

    Args:
        model: the float graph.
        widths: by the names of the MatMuls.
        feeds: untranscribed audio; without any, weights are rounded to what is nearest.
    """
    matrices = weight_matrices(model.graph, widths)
    sources = {node.name: node.input[0] for node in model.graph.node if node.name in widths}
    for group in _groups({sources[name]: len(matrix) for name, matrix in matrices.items()}):
        grams = gram_matrices(model, group, feeds) if feeds else {}
        for name in (name for name in matrices if sources[name] in group):
            gram = grams.get(sources[name])
            rounded = [_rounded(matrices[name], width, gram) for width in widths[name]]
            yield name, rounded if gram is None else [_judged(matrices[name], r, gram) for r in rounded]


def gram_matrices(
    model: onnx.ModelProto, names: Sequence[str], feeds: Sequence[Feed]
) -> dict[str, DoubleArray]:
    """Return XᵀX / T [K, K] of activations [T, K] over some audio, by name."""
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    for name in names:
        watched.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    grams: dict[str, DoubleArray] = {}
    frames = dict.fromkeys(names, 0)
    with opened(watched) as session:
        for name, values in activations(session, names, feeds):
            rows = values.reshape(-1, values.shape[-1]).astype(np.float64)
            grams[name] = grams.get(name, 0.0) + rows.T @ rows
            frames[name] += len(rows)
    return {name: gram / frames[name] for name, gram in grams.items()}


def output_error(weights: FloatArray, integer: IntegerWeights, gram: DoubleArray) -> float:
    """Return the mean over frames of the squared error of a layer's outputs, all of them together."""
    return _power(weights - integer.values * integer.scale.astype(np.float64), gram)


def round_with_feedback(weights: DoubleArray, width: Width, gram: DoubleArray) -> IntegerWeights:
    """Round weights [K, N] input by input, the error of each carried by those not yet rounded.

    Scales are those of the smallest output error, before for plain rounding and afterwards in closed form.

    Source: Frantar et al., GPTQ, arXiv 2210.17323, with the inputs in the order of their power.

    Args:
        gram: XᵀX [K, K] of the layer's inputs.
    """
    power = gram.diagonal().mean() or 1.0
    damped = gram + _DAMPING * power * np.eye(len(gram))
    scale_N = best_scale(weights.astype(np.float32), width, damped).astype(np.float64)
    order = np.argsort(-damped.diagonal(), kind="stable")
    # Row k: how an error at input k is spread over itself and the inputs after it.
    spread = np.linalg.cholesky(np.linalg.inv(damped[np.ix_(order, order)])).T
    left = weights[order]
    integers = np.empty_like(left)
    for k in range(len(left)):
        integers[k] = nearest(left[k], scale_N, width)
        error_N = (left[k] - integers[k] * scale_N) / spread[k, k]
        left[k + 1 :] -= np.outer(spread[k, k + 1 :], error_N)
    integers = integers[np.argsort(order)]
    answers = damped @ integers
    found_N = (answers * weights).sum(axis=0) / (answers * integers).sum(axis=0).clip(np.finfo(float).tiny)
    scale_N = np.where(found_N > 0, found_N, scale_N)
    return IntegerWeights(integers.astype(np.int8), scale_N.astype(np.float32), width)


def _judged(weights: FloatArray, integer: IntegerWeights, gram: DoubleArray) -> IntegerWeights:
    error = output_error(weights, integer, gram)
    return replace(integer, error=error, loss=error / max(_power(weights, gram), np.finfo(float).tiny))


def _power(weights: npt.NDArray[Any], gram: DoubleArray) -> float:
    return float(((gram @ weights) * weights).sum())


def _rounded(weights: FloatArray, width: Width, gram: DoubleArray | None) -> IntegerWeights:
    if width == EIGHT:
        return round_int8(weights)
    if (trained := on_grid(weights, width)) is not None:
        return trained
    if gram is None:
        scale = best_scale(weights, width)
        return IntegerWeights(nearest(weights, scale, width).astype(np.int8), scale, width)
    return round_with_feedback(weights.astype(np.float64), width, gram)


def _groups(sizes: Mapping[str, int]) -> Iterator[list[str]]:
    """Divide activations of K values into groups whose Gram matrices fit into memory."""
    group: list[str] = []
    for name, size in sizes.items():
        if group and 8 * (size**2 + sum(sizes[other] ** 2 for other in group)) > _MEMORY:
            yield group
            group = []
        group.append(name)
    yield group
