"""Move outlier channels from activations, where rounding cannot bear them, into weights, where it can.

House letters: K channels of an activation, N outputs of a linear layer.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper

from kdcompress.quantize.rewrite import Rewriter

_STRENGTH = 0.5  # how much of the activation's range the weights take over
_SMALLEST = 1e-5


def smooth(graph: onnx.GraphProto, channels: Mapping[str, npt.NDArray[np.float64]]) -> int:
    """Divide activations by a constant per channel and multiply the weights by it; exact in real numbers.

    Where a LayerNormalization makes the activation and only linear layers read it, the division goes into
    its gain and bias and costs nothing; elsewhere it is one more multiplication. Returns how many of those.

    Source: Xiao et al., SmoothQuant, arXiv 2211.10438, with α = 0.5.

    Args:
        graph: changed in place.
        channels: largest magnitude of each channel [K] of the activations to smooth.
    """
    rewriter = Rewriter(graph)
    constants = {tensor.name for tensor in graph.initializer}
    makers = {output: node for node in graph.node for output in node.output}
    inserted: list[tuple[str, onnx.NodeProto]] = []
    for source, largest_K in channels.items():
        readers = [node for node in graph.node if source in node.input]
        layers = [
            node
            for node in readers
            if node.op_type == "MatMul" and node.input[0] == source and node.input[1] in constants
        ]
        if not layers:
            continue
        matrices = [rewriter.constant(node.input[1]) for node in layers]
        weights_K = np.max([np.abs(matrix).max(axis=1) for matrix in matrices], axis=0)
        divisor_K = np.maximum(largest_K, _SMALLEST) ** _STRENGTH
        divisor_K /= np.maximum(weights_K, _SMALLEST) ** (1 - _STRENGTH)
        # Only the ratio between channels matters; powers of two keep the products exact.
        divisor_K = 2.0 ** np.rint(np.log2(divisor_K / np.exp(np.log(divisor_K).mean())))
        for node, matrix in zip(layers, matrices, strict=True):
            value = (matrix * divisor_K[:, None]).astype(np.float32)
            node.input[1] = rewriter.add(f"{node.input[1]}_smooth", value)
        maker = makers.get(source)
        outputs = {value.name for value in graph.output}
        if (
            maker is not None
            and maker.op_type == "LayerNormalization"
            and len(layers) == len(readers)
            and source not in outputs
            and all(name in constants for name in maker.input[1:] if name)
        ):
            for position, name in enumerate(maker.input):
                if position and name:
                    value = (rewriter.constant(name) / divisor_K).astype(np.float32)
                    maker.input[position] = rewriter.add(f"{name}_smooth", value)
            continue
        factor = rewriter.add(f"{source}_smoother", (1 / divisor_K).astype(np.float32))
        smoothed = rewriter.fresh(f"{source}_smooth")
        for node in layers:
            node.input[0] = smoothed
        inserted.append(
            (layers[0].name, helper.make_node("Mul", [source, factor], [smoothed], name=smoothed))
        )
    before: dict[str, list[onnx.NodeProto]] = {}
    for name, multiplication in inserted:
        before.setdefault(name, []).append(multiplication)
    rewriter.replace(before, lambda node: [*before[node.name], node])
    return len(inserted)
