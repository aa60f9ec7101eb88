"""Scale the channels between two layers so that rounding can bear both: exact in real numbers.

House letters: K channels of an activation, N outputs of a linear layer.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from kdcompress.quantize.calibration import observe
from kdcompress.quantize.rewrite import Rewriter
from kdcompress.quantize.rounding import trained_integers
from kdcompress.runtime.compare import Feed

_STRENGTH = 0.5  # how much of the activation's range the weights take over
_SMALLEST = 1e-5


def smooth(graph: onnx.GraphProto, channels: Mapping[str, npt.NDArray[np.float64]]) -> int:
    """Divide activations by a constant per channel and multiply the weights by it; exact in real numbers.

    Where a norm, a product or a convolution makes the activation and only linear layers read it, the
    division goes into its weights and costs nothing; elsewhere it is one more multiplication. Returns how
    many of those.

    Source: Xiao et al., SmoothQuant, arXiv 2211.10438, with α = 0.5.

    Args:
        graph: changed in place.
        channels: largest magnitude of each channel [K] of the activations to smooth.
    """
    rewriter = Rewriter(graph)
    inserted: list[tuple[str, onnx.NodeProto]] = []
    for source, largest_K in channels.items():
        constants = {tensor.name for tensor in graph.initializer}
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
        if len(layers) == len(readers) and (maker := _maker(graph, source, constants)) is not None:
            for position, name in enumerate(maker.input):
                if position and name:
                    value = rewriter.constant(name)
                    # A convolution has its channels first.
                    value = (value.T / divisor_K).T if maker.op_type == "Conv" else value / divisor_K
                    maker.input[position] = rewriter.add(f"{name}_smooth", value.astype(np.float32))
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


def balance(model: onnx.ModelProto, feeds: Sequence[Feed]) -> list[str]:
    """Smooth what one layer makes for linear layers alone, as between the two thin halves of a matrix.

    Such a pair of matrices may share its scales between them in any way, and one that was found by rank has
    inputs of all sizes: where all have one rounding step, the small ones are lost. Matrices that were trained
    to be integers stay so. Returns the names of the activations.

    Source: Nagel et al., Data-Free Quantization, arXiv 1906.04721, with the ranges of audio.

    Args:
        model: changed in place.
        feeds: untranscribed audio; without any, nothing is done.
    """
    names = list(_between(model.graph)) if feeds else []
    if names:
        smooth(model.graph, {name: seen.channels for name, seen in observe(model, names, feeds).items()})
    return names


def _between(graph: onnx.GraphProto) -> Iterator[str]:
    """Return activations whose smoothing costs nothing, and that a product or a convolution makes."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for source in dict.fromkeys(node.input[0] for node in graph.node if node.op_type == "MatMul"):
        readers = [node for node in graph.node if source in node.input]
        maker = _maker(graph, source, constants)
        if maker is None or maker.op_type == "LayerNormalization":
            continue
        matrices = [node.input[1] for node in readers if node.op_type == "MatMul" and node.input[0] == source]
        if len(matrices) == len(readers) and all(
            name in constants and not trained_integers(numpy_helper.to_array(constants[name]))
            for name in matrices
        ):
            yield source


def _maker(graph: onnx.GraphProto, source: str, constants: Collection[str]) -> onnx.NodeProto | None:
    """Return the node, if there is one, whose constants alone scale each channel of an activation."""
    makers = {output: node for node in graph.node for output in node.output}
    ends = {value.name for value in graph.output}
    maker = makers.get(source)
    if source not in ends and maker is not None and maker.op_type == "Transpose":
        source = maker.input[0]
        convolved = makers.get(source)
        swapped = any(list(attribute.ints) == [0, 2, 1] for attribute in maker.attribute)
        alone = sum(source in node.input for node in graph.node) == 1
        maker = convolved if swapped and alone else None
        wanted: tuple[str, ...] = ("Conv",)
    else:
        wanted = ("LayerNormalization", "MatMul")
    if source in ends or maker is None or maker.op_type not in wanted:
        return None
    return maker if all(name in constants for name in maker.input[1:] if name) else None
