"""Quantize a graph file, and count what came of it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import TensorProto

from kdcompress.config.deploy import Calibration, QuantizePreset
from kdcompress.errors import ConfigError, ExportError
from kdcompress.files import writing_file
from kdcompress.quantize.blocks import make_blocks
from kdcompress.quantize.calibration import observe
from kdcompress.quantize.half import to_half
from kdcompress.quantize.plan import PRESETS, Plan, Preset, block_size, plan
from kdcompress.quantize.rewrite import make_dynamic, make_static
from kdcompress.quantize.store import store_halves
from kdcompress.runtime.compare import Feed

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
    """How often each operator occurs in a graph, and what quantization did.

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
    ops = Counter(f"{node.domain}.{node.op_type}".lstrip(".") for node in graph.node)
    makers = {output: node for node in graph.node for output in node.output}
    halves = {tensor.name for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT16}
    integer = half = 0
    for node in graph.node:
        if node.op_type in _INTEGER_OPS or node.op_type.startswith(_INTEGER_PREFIX):
            integer += 1
        elif node.op_type in _PRODUCTS:
            integer += _between_bytes(node, makers)
            half += node.input[1] in halves
    return OpCensus(dict(sorted(ops.items())), integer, half)


def quantize(
    model_path: Path,
    preset: QuantizePreset,
    out: Path,
    *,
    feeds: Sequence[Feed] = (),
    calibration: Calibration = "percentile",
) -> OpCensus:
    """Write a quantized copy of a graph; metadata, names and interface stay.

    Args:
        model_path: the float graph.
        preset: any but `auto`, which is a search: see `kdcompress.quantize.search`.
        out: the file to write.
        feeds: audio to calibrate on; `int8-static` needs some.
        calibration: how `int8-static` finds ranges.

    Raises:
        ConfigError: there is no such preset, or it needs audio and there is none.
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
    applied = _applied(model, how, nodes, feeds, calibration)
    if how.method != "half":
        store_halves(applied.graph)
    return write_checked(applied, nodes, out, preset)


def write_checked(model: onnx.ModelProto, nodes: Plan, out: Path, name: str) -> OpCensus:
    """Write a quantized graph if it is what was planned.

    Raises:
        ExportError: the number of nodes with smaller weights is not the planned one.
    """
    del model.graph.value_info[:]  # shapes that every loader infers anew
    onnx.checker.check_model(model)
    with writing_file(out) as partial:
        onnx.save(model, str(partial))
        counted = census(partial)
        found, what = (counted.half, "half-precision") if name == "fp16" else (counted.quantized, "integer")
        if found != len(nodes.quantized):
            raise ExportError(
                f"{name} of {out.name}: {found} nodes have {what} weights where {len(nodes.quantized)} were "
                "planned; a file that claims what it is not is not written"
            )
    return OpCensus(counted.ops, counted.quantized, counted.half, nodes.kept)


def _applied(
    model: onnx.ModelProto, how: Preset, nodes: Plan, feeds: Sequence[Feed], calibration: Calibration
) -> onnx.ModelProto:
    if how.method == "weights":
        make_blocks(model, nodes.quantized, how.bits, lambda rows: block_size(rows, how))
        return model
    if how.method == "half":
        return to_half(model)
    if how.method == "static":
        if not feeds:
            raise ConfigError(f"{how.name} takes the ranges of activations from audio; give --audio")
        wanted = set(nodes.quantized)
        sources = list(dict.fromkeys(node.input[0] for node in model.graph.node if node.name in wanted))
        seen = observe(model, sources, feeds, histograms=calibration != "minmax")
        # Only names that are there: a plan with others fails the count.
        make_static(model.graph, {name: seen[name].range(calibration) for name in seen}, nodes.quantized)
        return model
    if how.method == "dynamic":
        make_dynamic(model.graph, nodes.quantized, per_channel=how.per_channel, reduce_range=how.reduce_range)
        return model
    raise ConfigError(f"{how.name} is a search for the best of the others, which listens to audio")


def _between_bytes(node: onnx.NodeProto, makers: Mapping[str, onnx.NodeProto]) -> bool:
    sources = [makers.get(name) for name in node.input[:2]]
    rounded = [maker for maker in sources if maker is not None and maker.op_type == "DequantizeLinear"]
    return len(rounded) == 2 and any(
        maker.input[0] in makers and makers[maker.input[0]].op_type == "QuantizeLinear" for maker in rounded
    )
