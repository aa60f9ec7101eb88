"""Integers of few bits packed into bytes, which the graph itself unpacks with standard operators.

Each byte is looked up in a table of the integers that it holds (`Cast`, `Gather`, `Reshape`). All inputs are
constants, so onnxruntime computes the chain once, when it loads the file, and then fuses integer products as
if the weights had been stored as they are. Layers share one array of bytes per width: that is fewer nodes.
"""

from collections.abc import Iterator, Mapping
from math import lcm
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

from kdcompress.quantize.rewrite import Rewriter
from kdcompress.quantize.rounding import Int8Array, Width, digits_per_byte

ByteArray: TypeAlias = npt.NDArray[np.uint8]

_POOL = 1 << 19  # weights that are unpacked at once, which takes up to ten bytes each meanwhile


def pack(values: Int8Array, width: Width) -> list[ByteArray]:
    """Return integers [M] as bytes, an array per kind of digit; M is filled up to whole bytes.

    The earliest digit of a byte is its lowest.
    """
    levels = (values.astype(np.int32) + width.offset) // width.step
    levels = np.pad(levels, (0, -len(levels) % lcm(*map(digits_per_byte, width.radices))))
    packed = []
    for radix in width.radices:
        digits = (levels % radix).reshape(-1, digits_per_byte(radix))
        packed.append((digits * radix ** np.arange(digits.shape[1])).sum(axis=1).astype(np.uint8))
        levels = levels // radix
    return packed


def tables(width: Width) -> list[Int8Array]:
    """Return for each kind of digit what each byte stands for; the integers are the sum over kinds.

    Shapes: [values of a byte, digits in a byte].
    """
    found, unit = [], width.step
    for place, radix in enumerate(width.radices):
        count = digits_per_byte(radix)
        digits = np.arange(radix**count)[:, None] // radix ** np.arange(count) % radix
        offset = width.offset if place == len(width.radices) - 1 else 0
        found.append((digits * unit - offset).astype(np.int8))
        unit *= radix
    return found


def unpack(packed: list[ByteArray], width: Width, count: int) -> Int8Array:
    """Return the first `count` integers of what `pack` made."""
    parts = [table[part].reshape(-1) for part, table in zip(packed, tables(width), strict=True)]
    integers: Int8Array = np.stack(parts).sum(axis=0, dtype=np.int8)
    return integers[:count]


def pack_initializers(graph: onnx.GraphProto, widths: Mapping[str, Width]) -> None:
    """Replace int8 initializers by packed bytes and the nodes that unpack them, in place.

    Args:
        widths: of the integers in each initializer, by name.
    """
    rewriter = Rewriter(graph)
    nodes = []
    for number, (width, names) in enumerate(_pools(rewriter, widths)):
        nodes += _unpacking(rewriter, f"packed{number}", width, names)
    for tensor in [tensor for tensor in graph.initializer if tensor.name in widths]:
        graph.initializer.remove(tensor)
    nodes += graph.node
    del graph.node[:]
    graph.node.extend(nodes)


def _pools(rewriter: Rewriter, widths: Mapping[str, Width]) -> Iterator[tuple[Width, list[str]]]:
    for width in dict.fromkeys(widths.values()):
        pool: list[str] = []
        size = 0
        for name in (name for name in widths if widths[name] == width):
            if pool and size + rewriter.constant(name).size > _POOL:
                yield width, pool
                pool, size = [], 0
            pool.append(name)
            size += rewriter.constant(name).size
        yield width, pool


def _unpacking(rewriter: Rewriter, name: str, width: Width, names: list[str]) -> list[onnx.NodeProto]:
    matrices = [rewriter.constant(each) for each in names]
    packed = pack(np.concatenate([matrix.reshape(-1) for matrix in matrices]), width)
    flat = rewriter.shared("flat", np.array([-1], np.int64))
    nodes: list[onnx.NodeProto] = []

    def add(op: str, inputs: list[str], **attributes: Any) -> str:
        output = rewriter.fresh(f"{name}_{len(nodes)}")
        nodes.append(helper.make_node(op, inputs, [output], **attributes))
        return output

    parts = []
    for place, (part, table) in enumerate(zip(packed, tables(width), strict=True)):
        index = add("Cast", [rewriter.add(f"{name}_{place}", part)], to=TensorProto.INT32)
        rows = add("Gather", [rewriter.shared(f"digits{width.name}_{place}", table), index], axis=0)
        parts.append(add("Reshape", [rows, flat]))
    integers = parts[0]
    if len(parts) > 1:
        # Bytes are added as int32: older versions of onnxruntime add nothing smaller.
        wide = [add("Cast", [part], to=TensorProto.INT32) for part in parts]
        integers = add("Cast", [add("Add", wide)], to=TensorProto.INT8)
    sizes = [matrix.size for matrix in matrices]
    padding = len(packed[0]) * digits_per_byte(width.radices[0]) - sum(sizes)
    pieces = [rewriter.fresh(f"{name}_piece{index}") for index in range(len(sizes) + bool(padding))]
    split = rewriter.add(f"{name}_sizes", np.array([*sizes, *[padding] * bool(padding)], np.int64))
    nodes.append(helper.make_node("Split", [integers, split], pieces, axis=0))
    for each, piece, matrix in zip(names, pieces, matrices, strict=False):
        shape = rewriter.shared(f"shape{'x'.join(map(str, matrix.shape))}", np.array(matrix.shape, np.int64))
        nodes.append(helper.make_node("Reshape", [piece, shape], [each]))
    return nodes
