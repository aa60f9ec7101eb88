"""Look into an ONNX file before a runtime does: is it whole, and does it keep to itself?

A tensor of an ONNX graph may name another file for its data, by any path: a stranger's graph could have a
runtime read whatever the user can read. Bundles hold everything in one file, so that none needs to. The walk
follows protobuf's wire format (protobuf.dev/programming-guides/encoding) and the field numbers of onnx.proto;
weights are stepped over, not read.
"""

import mmap
import zlib
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


def gzip_bytes(path: Path) -> int:
    """Return what a file weighs when it is sent with gzip [bytes], as to an app or a page."""
    packer, size = zlib.compressobj(9, wbits=31), 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            size += len(packer.compress(block))
    return size + len(packer.flush())


def check_graph(path: Path) -> None:
    """Make sure that a graph is one whole ONNX file.

    Raises:
        BundleError: it cannot be read, is cut short or no ONNX, or names other files.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            has_graph = _walk(data, path)
    except (OSError, ValueError) as error:
        raise BundleError(_BROKEN.format(path, error)) from error
    if not has_graph:
        raise BundleError(_BROKEN.format(path, "it holds none"))


def _walk(data: mmap.mmap, path: Path) -> bool:
    """Look at every field that may hold a tensor; returns whether one of them is the graph.

    Written out, for a graph has ten thousand fields and every start of the recogniser waits for this.
    """
    has_graph = False
    # The message that is read, and those around it: (where it ends, what it is).
    around: list[tuple[int, str]] = []
    at, end, message = 0, len(data), "model"
    inside = _INSIDE[message]
    while True:
        if at >= end:
            if not around:
                return has_graph
            end, message = around.pop()
            inside = _INSIDE[message]
            continue
        key = data[at]
        at += 1
        if key >= 0x80:
            key, at = _varint(data, at - 1, end)
        field, wire = key >> 3, key & 7
        value = None
        if wire == 2:
            if at < end and data[at] < 0x80:
                size = data[at]
                at += 1
            else:
                size, at = _varint(data, at, end)
        elif wire == 0:
            value, at = _varint(data, at, end)
            size = 0
        elif wire in _FIXED:
            size = _FIXED[wire]
        else:
            raise ValueError(f"byte {at} has the wire type {wire}")
        if at + size > end:
            raise ValueError(f"byte {at} promises {size} more, and {end - at} are there")
        if value != 0:  # a number that is 0 says what nothing says
            if message == "tensor":
                if field in {_EXTERNAL_DATA, _DATA_LOCATION}:
                    raise BundleError(
                        f"{path} keeps weights in other files, which bundles never do: it is not opened; "
                        "export the run again"
                    )
            elif message == "model" and field == _GRAPH_OF_MODEL:
                has_graph = True
        if wire == 2 and field in inside:
            around.append((end, message))
            if len(around) > _DEEPEST:
                raise ValueError("its graphs are nested too deep")
            end, message = at + size, inside[field]
            inside = _INSIDE[message]
        else:
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
