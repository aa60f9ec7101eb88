"""Keep a quantized graph's remaining float constants in half precision, to be widened when it is loaded.

With int8 weights the rest (biases, norms, depthwise kernels, scales, the output layer) is a tenth of a small
student's file. A `Cast` of a constant is folded by every runtime that optimises, so nothing is slower.
"""

from itertools import count

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from kdcompress.quantize.layers import in_frontend

SMALLEST = 64  # values; below, the Cast takes what the half saves
_PRECISION = 2.0**-11  # of float16, relative, where the value is a normal number
_SMALL = 2.0**-4  # of the largest value: what is smaller may lose as much as this does


def store_halves(graph: onnx.GraphProto) -> int:
    """Store float32 constants as float16 with a Cast, where only rounding is lost; return how many.

    They are computed with in float32, as before. What a front end inside the graph reads stays.
    """
    casts: list[onnx.NodeProto] = []
    exact = {name for node in graph.node if in_frontend(node) for name in node.input}
    for tensor in [t for t in graph.initializer if t.data_type == TensorProto.FLOAT and t.name not in exact]:
        values = numpy_helper.to_array(tensor)
        with np.errstate(over="ignore", under="ignore"):
            halves = values.astype(np.float16)
            error = np.abs(halves.astype(np.float32) - values)
        size = np.abs(values)
        # Not so beyond float16's range, and where all is below its normal numbers.
        if size.size < SMALLEST or not (error <= _PRECISION * np.maximum(size, _SMALL * size.max())).all():
            continue
        stored = f"half{len(casts)}"
        casts.append(helper.make_node("Cast", [stored], [tensor.name], to=TensorProto.FLOAT))
        graph.initializer.remove(tensor)
        graph.initializer.append(numpy_helper.from_array(halves, stored))
    nodes = list(graph.node)
    del graph.node[:]
    graph.node.extend([*casts, *nodes])
    return len(casts)


def shorten_names(graph: onnx.GraphProto) -> None:
    """Give values short names and nodes none, in place; inputs, outputs and front ends keep theirs.

    Of a small graph with 2-bit weights, names would be a third.
    """
    ends = {value.name for value in (*graph.input, *graph.output)}
    ends |= {name for node in graph.node if in_frontend(node) for name in (*node.input, *node.output)}
    found = dict.fromkeys(
        name for node in graph.node for name in (*node.input, *node.output) if name and name not in ends
    )
    free = (name for name in map(_letters, count()) if name not in ends)
    short = {name: next(free) for name in found}
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [short.get(name, name) for name in names]
        if not in_frontend(node):
            node.ClearField("name")
        node.ClearField("doc_string")
        del node.metadata_props[:]
    for tensor in graph.initializer:
        tensor.name = short.get(tensor.name, tensor.name)


def _letters(number: int) -> str:
    letters = ""
    while True:
        number, letter = divmod(number, 26)
        letters = chr(ord("a") + letter) + letters
        if not number:
            return letters
        number -= 1
