"""What a graph file holds, and what onnxruntime makes of it when it loads it."""

import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnxruntime
from onnx import TensorProto

from kdcompress.errors import ExportError

# What a node with int8 or smaller weights is called, whichever tool made it.
_INTEGER_OPS = (
    "MatMulInteger",
    "DynamicQuantizeMatMul",
    "MatMulIntegerToFloat",
    "MatMulNBits",
    "ConvInteger",
)
_INTEGER_PREFIX = "QLinear"
_PRODUCTS = ("MatMul", "Conv", "Gemm")


@dataclass(frozen=True)
class OpCensus:
    """How often each operator occurs in a graph file, and what quantization did.

    Attributes:
        ops: occurrences by operator type; those of another domain than ONNX's own carry its name
            (`com.microsoft.MatMulNBits`) and run in onnxruntime only.
        quantized: nodes that multiply with integer weights: by their own type, or as a product between two
            DequantizeLinear of which one dequantizes what a QuantizeLinear rounded. Weights alone behind a
            DequantizeLinear do not count: loading folds them back into floats.
        half: nodes that multiply with half-precision weights.
        kept: nodes with constant weights left in float on purpose.
    """

    ops: Mapping[str, int]
    quantized: int
    half: int = 0
    kept: tuple[str, ...] = ()

    @property
    def foreign(self) -> tuple[str, ...]:
        """Domains other than ONNX's own."""
        return tuple(sorted({op.rpartition(".")[0] for op in self.ops} - {""}))


def census(path: Path) -> OpCensus:
    """Count the operators of a graph file."""
    graph = onnx.load(str(path), load_external_data=False).graph
    makers = {output: node for node in graph.node for output in node.output}
    halves = {tensor.name for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT16}
    products = [node for node in graph.node if node.op_type in _PRODUCTS]
    integer = sum(map(_multiplies_integers, graph.node)) + sum(_between_bytes(n, makers) for n in products)
    return OpCensus(_ops(graph), integer, sum(node.input[1] in halves for node in products))


def loaded(path: Path) -> onnx.GraphProto:
    """Return the graph that onnxruntime runs when it has loaded a file with all of its optimizations."""
    with tempfile.TemporaryDirectory(prefix="kdcompress-") as folder:
        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath = str(Path(folder) / "loaded.onnx")
        options.log_severity_level = 3  # it warns that this file is for this machine only
        onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        return onnx.load(options.optimized_model_filepath).graph


def check_loaded(path: Path, quantized: int) -> None:
    """See that a graph file multiplies with integers once it is loaded, and unpacks nothing while it runs.

    Args:
        path: the file.
        quantized: how many products should have integer weights.

    Raises:
        ExportError: fewer have, or a node computes a constant at each run.
    """
    graph = loaded(path)
    found = sum(map(_multiplies_integers, graph.node))
    if found != quantized:
        raise ExportError(
            f"{path.name}: onnxruntime {onnxruntime.__version__} multiplies with integer weights in {found} "
            f"nodes when it has loaded the file, where {quantized} were planned; the rest would be computed "
            "in float: choose another preset"
        )
    constants = {tensor.name for tensor in graph.initializer}
    late = []
    for node in graph.node:  # in topological order
        if all(name in constants for name in node.input if name):
            constants.update(node.output)
            late.append(node.op_type)
    if late:
        raise ExportError(
            f"{path.name}: onnxruntime {onnxruntime.__version__} would unpack weights at each run "
            f"({', '.join(sorted(set(late)))}), not once when it loads the file: choose another preset"
        )


def _ops(graph: onnx.GraphProto) -> dict[str, int]:
    ops = Counter(f"{node.domain}.{node.op_type}".lstrip(".") for node in graph.node)
    return dict(sorted(ops.items()))


def _multiplies_integers(node: onnx.NodeProto) -> bool:
    return node.op_type in _INTEGER_OPS or node.op_type.startswith(_INTEGER_PREFIX)


def _between_bytes(node: onnx.NodeProto, makers: Mapping[str, onnx.NodeProto]) -> bool:
    sources = [makers.get(name) for name in node.input[:2]]
    rounded = [maker for maker in sources if maker is not None and maker.op_type == "DequantizeLinear"]
    return len(rounded) == 2 and any(
        maker.input[0] in makers and makers[maker.input[0]].op_type == "QuantizeLinear" for maker in rounded
    )
