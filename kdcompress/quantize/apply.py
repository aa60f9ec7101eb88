"""Quantize a graph file, and count what came of it."""

import os
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import numpy_helper

from kdcompress.config.deploy import QuantizePreset
from kdcompress.errors import ConfigError, ExportError
from kdcompress.quantize.plan import PRESETS, Plan, Preset, plan
from kdcompress.quantize.store import store_halves

# What a node with int8 or smaller weights is called, whichever tool made it.
_INTEGER_OPS = (
    "MatMulInteger",
    "DynamicQuantizeMatMul",
    "MatMulIntegerToFloat",
    "MatMulNBits",
    "ConvInteger",
)
_INTEGER_PREFIX = "QLinear"

_PREPROCESSED = "onnx.quant.pre_process"


@dataclass(frozen=True)
class OpCensus:
    """How often each operator occurs in a graph, and what quantization did.

    Attributes:
        ops: occurrences by operator type.
        quantized: nodes that multiply with integer weights.
        kept: nodes with constant weights left in float on purpose.
    """

    ops: Mapping[str, int]
    quantized: int
    kept: tuple[str, ...] = ()


def census(path: Path) -> OpCensus:
    """Count the operators of a graph file."""
    model = onnx.load(str(path), load_external_data=False)
    ops = Counter(node.op_type for node in model.graph.node)
    integer = sum(n for op, n in ops.items() if op in _INTEGER_OPS or op.startswith(_INTEGER_PREFIX))
    return OpCensus(dict(sorted(ops.items())), integer)


def quantize(model_path: Path, preset: QuantizePreset, out: Path) -> OpCensus:
    """Write a quantized copy of a graph; metadata, names and interface stay.

    Raises:
        ConfigError: there is no such preset.
        ExportError: the graph has nothing to quantize, or the result has fewer integer nodes than planned: a
            file that says int8 and computes in float.
    """
    if preset not in PRESETS:
        raise ConfigError(f"no quantization preset {preset!r}; there are {', '.join(PRESETS)}")
    how = PRESETS[preset]
    model = onnx.load(str(model_path))
    nodes = plan(model.graph, how)
    if not nodes.quantized:
        raise ExportError(
            f"{model_path} has no {' or '.join(how.operators)} with constant weights: nothing to quantize"
        )
    partial = out.with_name(f".{out.name}.{os.getpid()}.partial")
    try:
        _quantize_dynamic(model, how, nodes, partial)
        counted = census(partial)
        if counted.quantized != len(nodes.quantized):
            raise ExportError(
                f"{preset} of {model_path.name}: {counted.quantized} nodes have integer weights where "
                f"{len(nodes.quantized)} were planned; a file that claims what it is not is not written"
            )
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(partial, out)
    finally:
        partial.unlink(missing_ok=True)
    return OpCensus(counted.ops, counted.quantized, nodes.kept)


def _quantize_dynamic(model: onnx.ModelProto, how: Preset, nodes: Plan, out: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    properties = {entry.key: entry.value for entry in model.metadata_props}
    # Without this mark onnxruntime logs a recommendation through the root logger. What it recommends, shape
    # inference and optimisation, has been done by the exporter.
    onnx.helper.set_model_props(model, {**properties, _PREPROCESSED: "onnxruntime.quant"})
    with tempfile.TemporaryDirectory(prefix="kdcompress-") as folder:
        result = Path(folder) / "model.onnx"
        quantize_dynamic(
            model,
            result,
            op_types_to_quantize=list(how.operators),
            nodes_to_quantize=list(nodes.quantized),
            per_channel=how.per_channel,
            reduce_range=how.reduce_range,
            weight_type=QuantType.QInt8,
            extra_options={"MatMulConstBOnly": True},
        )
        quantized = onnx.load(str(result))
    del quantized.graph.value_info[:]  # shapes that every loader infers anew
    _drop_zero_points(quantized.graph)
    store_halves(quantized.graph)
    onnx.helper.set_model_props(quantized, properties)
    onnx.checker.check_model(quantized)
    onnx.save(quantized, str(out))


def _drop_zero_points(graph: onnx.GraphProto) -> None:
    """Leave out zero points of weights that are zero: absent means the same, and they are a byte a column."""
    zero = {t.name for t in graph.initializer if not numpy_helper.to_array(t).any()}
    for node in graph.node:
        if node.op_type == "MatMulInteger" and len(node.input) == 4 and node.input[3] in zero:
            del node.input[3]
    read = {name for node in graph.node for name in node.input}
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in read]:
        graph.initializer.remove(tensor)
