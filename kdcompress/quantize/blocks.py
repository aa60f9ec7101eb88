"""Weights in blocks of few bits with a scale each, which a float product unpacks (weight-only quantization).

House letters: K inputs and N outputs of a linear layer; D values in a block, C blocks in a column.
"""

from collections.abc import Callable, Collection
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper

from kdcompress.aliases import FloatArray
from kdcompress.quantize.rewrite import Rewriter

ByteArray: TypeAlias = npt.NDArray[np.uint8]

DOMAIN = "com.microsoft"
_INT8_PRODUCTS = 4  # of the operator's accuracy levels
# Shares of a block's largest value that its lowest level may stand for.
_RANGES = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75)


def make_blocks(
    model: onnx.ModelProto, nodes: Collection[str], bits: int, block_of: Callable[[int], int]
) -> None:
    """Turn MatMuls with constant weights into MatMulNBits, in place.

    MatMulNBits is an operator of onnxruntime (domain com.microsoft): nothing else loads the file.

    Args:
        model: declares the domain afterwards, if it did not before.
        nodes: names of the MatMuls.
        bits: of a weight, 4 or 8.
        block_of: from K to D, a power of two from 16 on; columns are filled up to whole blocks.
    """
    rewriter = Rewriter(model.graph)
    # Graphs with states run on chunks of a few frames: int8 inside speeds these up, and slows long ones down.
    chunked = len(model.graph.input) > 2
    accuracy: dict[str, Any] = {"accuracy_level": _INT8_PRODUCTS} if chunked else {}

    def product(node: onnx.NodeProto) -> list[onnx.NodeProto]:
        matrix = node.input[1]

        def weights() -> tuple[str, ...]:
            packed, scales = pack(rewriter.constant(matrix), bits, block_of(len(rewriter.constant(matrix))))
            return (
                rewriter.add(f"{matrix}_{bits}bits", packed),
                rewriter.add(f"{matrix}_{bits}scales", scales.reshape(-1)),
            )

        rows, columns = rewriter.constant(matrix).shape
        names = rewriter.once(f"{bits} bits", matrix, weights)
        return [
            helper.make_node(
                "MatMulNBits",
                [node.input[0], *names],
                node.output,
                name=node.name,
                domain=DOMAIN,
                K=rows,
                N=columns,
                bits=bits,
                block_size=block_of(rows),
                **accuracy,
            )
        ]

    rewriter.replace(nodes, product)
    if DOMAIN not in {opset.domain for opset in model.opset_import}:
        model.opset_import.append(helper.make_opsetid(DOMAIN, 1))


def pack(weights: FloatArray, bits: int, block: int) -> tuple[ByteArray, FloatArray]:
    """Round weights [K, N] to `bits` bits; returns bytes [N, C, D · bits / 8] and scales [N, C].

    A byte of 4-bit values holds the earlier one in its lower half; zero is the middle of the levels. The
    value of largest magnitude gets the lowest level, of which there is one more than above zero, or less of
    it where that rounds the rest of the block so much better that the squared error shrinks.
    """
    rows, columns = weights.shape
    count = -(-rows // block)
    padded = np.zeros((count * block, columns), np.float32)
    padded[:rows] = weights
    values_NCD = padded.T.reshape(columns, count, block)
    middle = 1 << (bits - 1)
    at = np.abs(values_NCD).argmax(axis=2)
    extreme_NC = np.take_along_axis(values_NCD, at[:, :, None], axis=2)[:, :, 0]
    best_NC = np.full(extreme_NC.shape, np.inf)
    scales_NC = np.ones(extreme_NC.shape, np.float32)
    levels_NCD = np.full(values_NCD.shape, middle, np.uint8)
    for share in _RANGES:
        tried_NC = np.where(extreme_NC != 0, -share * extreme_NC / middle, 1.0).astype(np.float32)
        rounded = np.rint(values_NCD / tried_NC[:, :, None]).clip(-middle, middle - 1)
        error_NC = ((rounded * tried_NC[:, :, None] - values_NCD) ** 2).sum(axis=2)
        better = error_NC < best_NC
        best_NC = np.where(better, error_NC, best_NC)
        scales_NC = np.where(better, tried_NC, scales_NC)
        levels_NCD = np.where(better[:, :, None], rounded + middle, levels_NCD).astype(np.uint8)
    if bits == 4:
        levels_NCD = (levels_NCD[:, :, 0::2] | (levels_NCD[:, :, 1::2] << 4)).astype(np.uint8)
    return levels_NCD, scales_NC
