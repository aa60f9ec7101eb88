"""Look into an ONNX file before a runtime does: is it whole, and does it keep to itself?

A tensor of an ONNX graph may name another file for its data, by any path: a stranger's graph could have a
runtime read whatever the user can read. Bundles hold everything in one file, so that none needs to. The walk
follows protobuf's wire format (protobuf.dev/programming-guides/encoding) and the field numbers of onnx.proto;
weights are stepped over, not read.
"""

import mmap
from collections.abc import Iterator
from pathlib import Path

from kdcompress.errors import BundleError

# message: field number → message inside. Fields that are not here hold no tensors.
_INSIDE: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14
_GRAPH_OF_MODEL = 7
_DEEPEST = 64  # graphs within graphs; more is an attack on the stack, here and in the runtime
_FIXED = {1: 8, 5: 4}  # [bytes] by wire type
_BROKEN = "{} cannot be loaded by onnxruntime: no whole ONNX graph ({}); copy or export it again"


def check_graph(path: Path) -> None:
    """Make sure that a graph is one whole ONNX file.

    Raises:
        BundleError: it cannot be read, is cut short or no ONNX, or names other files.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            has_graph = False
            for message, field in _fields(data, 0, len(data), "model", 0):
                has_graph |= (message, field) == ("model", _GRAPH_OF_MODEL)
                if message == "tensor" and field in {_EXTERNAL_DATA, _DATA_LOCATION}:
                    raise BundleError(
                        f"{path} keeps weights in other files, which bundles never do: it is not opened; "
                        "export the run again"
                    )
    except (OSError, ValueError) as error:
        raise BundleError(_BROKEN.format(path, error)) from error
    if not has_graph:
        raise BundleError(_BROKEN.format(path, "it holds none"))


def _fields(data: mmap.mmap, at: int, end: int, message: str, depth: int) -> Iterator[tuple[str, int]]:
    """Yield (message, field number) of all fields that say something, depth first."""
    if depth > _DEEPEST:
        raise ValueError("its graphs are nested too deep")
    while at < end:
        key, at = _varint(data, at, end)
        field, wire = key >> 3, key & 7
        value = None
        if wire == 0:
            value, at = _varint(data, at, end)
            size = 0
        elif wire == 2:
            size, at = _varint(data, at, end)
        elif wire in _FIXED:
            size = _FIXED[wire]
        else:
            raise ValueError(f"byte {at} has the wire type {wire}")
        if at + size > end:
            raise ValueError(f"byte {at} promises {size} more, and {end - at} are there")
        if value != 0:  # a number that is 0 says what nothing says
            yield message, field
        inner = _INSIDE[message].get(field)
        if wire == 2 and inner is not None:
            yield from _fields(data, at, at + size, inner, depth + 1)
        at += size


def _varint(data: mmap.mmap, at: int, end: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= end:
            raise ValueError("it ends within a number")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError(f"byte {at} is within a number that does not end")
