"""Quantize a graph file, and see that it is what was planned."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx

from kdcompress.config.deploy import PRESETS, Calibration, Preset
from kdcompress.errors import ConfigError, ExportError
from kdcompress.files import writing_file
from kdcompress.quantize.blocks import make_blocks
from kdcompress.quantize.calibration import observe
from kdcompress.quantize.census import OpCensus, census, check_loaded
from kdcompress.quantize.fitting import fit
from kdcompress.quantize.half import to_half
from kdcompress.quantize.layers import LayerChoice, block_size, choose_layers, weight_matrices
from kdcompress.quantize.packing import pack_initializers
from kdcompress.quantize.rewrite import make_dynamic, make_static
from kdcompress.quantize.rounding import EIGHT, WIDTHS, IntegerWeights, round_int8
from kdcompress.quantize.smoothing import balance
from kdcompress.quantize.store import shorten_names, store_halves
from kdcompress.runtime.compare import Feed


def quantize(
    model_path: Path,
    preset: str,
    out: Path,
    *,
    feeds: Sequence[Feed] = (),
    calibration: Calibration = "percentile",
) -> OpCensus:
    """Write a quantized copy of a graph; metadata, names and interface stay.

    Args:
        model_path: the float graph.
        preset: any but `auto`, which is a search: see `kdcompress.quantize.auto.search`.
        out: the file to write.
        feeds: audio to calibrate on and to fit packed weights to; `int8-static` needs some.
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
    nodes = choose_layers(model.graph, how)
    if not nodes.quantized:
        raise ExportError(
            f"{model_path} has no {' or '.join(how.operators)} with constant weights: nothing to quantize"
        )
    return write_checked(_applied(model, how, nodes, feeds, calibration), nodes, out, preset)


def put_integers(
    model: onnx.ModelProto, weights: Mapping[str, IntegerWeights], *, compact: bool = True
) -> None:
    """Turn MatMuls into integer products, in place.

    Args:
        weights: by the names of the MatMuls.
        compact: store what stays in float as halves, and pack weights of less than 8 bits.
    """
    widths = make_dynamic(model.graph, weights)
    if not compact:
        return
    store_halves(model.graph)
    if narrow := {name: width for name, width in widths.items() if width != EIGHT}:
        pack_initializers(model.graph, narrow)
        shorten_names(model.graph)


def narrowest(fitted: Mapping[str, Sequence[IntegerWeights]], max_loss: float) -> dict[str, IntegerWeights]:
    """Take as few bits for each layer as one bound allows: the largest with which all lose little enough.

    Args:
        fitted: by layer, the narrowest first.
        max_loss: of all layers together, as a sum of shares of their outputs' power.
    """
    chosen = {name: rounded[0] for name, rounded in fitted.items()}
    for bound in sorted({each.loss for rounded in fitted.values() for each in rounded}, reverse=True):
        chosen = {
            name: next((each for each in rounded if each.loss <= bound), rounded[-1])
            for name, rounded in fitted.items()
        }
        if sum(each.loss for each in chosen.values()) <= max_loss:
            break
    return chosen


def write_checked(model: onnx.ModelProto, nodes: LayerChoice, out: Path, name: str) -> OpCensus:
    """Write a quantized graph if it is what was planned.

    Raises:
        ExportError: the number of nodes with smaller weights is not the planned one, in the file or once it
            is loaded.
    """
    del model.graph.value_info[:]  # shapes that every loader infers anew
    onnx.checker.check_model(model)
    with writing_file(out) as partial:
        onnx.save(model, str(partial))
        counted = census(partial)
        half = name == "fp16"
        found, what = (counted.half, "half-precision") if half else (counted.quantized, "integer")
        if found != len(nodes.quantized):
            raise ExportError(
                f"{name} of {out.name}: {found} nodes have {what} weights where {len(nodes.quantized)} were "
                "planned; a file that claims what it is not is not written"
            )
        if not half:
            check_loaded(partial, len(nodes.quantized))
    return OpCensus(counted.ops, counted.quantized, counted.half, nodes.kept)


def _applied(
    model: onnx.ModelProto, how: Preset, nodes: LayerChoice, feeds: Sequence[Feed], calibration: Calibration
) -> onnx.ModelProto:
    match how.method:
        case "dynamic":
            matrices = weight_matrices(model.graph, nodes.quantized)
            reduce = how.reduce_range
            put_integers(model, {name: round_int8(w, reduce_range=reduce) for name, w in matrices.items()})
        case "packed":
            balance(model, feeds)
            widths = [WIDTHS[how.width]] if how.max_loss is None else [WIDTHS[name] for name in "456"]
            fitted = dict(fit(model, dict.fromkeys(nodes.quantized, widths), feeds))
            put_integers(model, narrowest(fitted, how.max_loss or 0.0))
        case "static":
            if not feeds:
                raise ConfigError(f"{how.name} takes the ranges of activations from audio; give --audio")
            wanted = set(nodes.quantized)
            sources = list(dict.fromkeys(node.input[0] for node in model.graph.node if node.name in wanted))
            seen = observe(model, sources, feeds, histograms=calibration != "minmax")
            # Only names that are there: a choice with others fails the count.
            ranges = {name: seen[name].range(calibration) for name in seen}
            make_static(model.graph, ranges, nodes.quantized)
            store_halves(model.graph)
        case "weights":
            make_blocks(model, nodes.quantized, how.bits, lambda rows: block_size(rows, how))
            store_halves(model.graph)
        case "half":
            return to_half(model)
        case "search":
            raise ConfigError(f"{how.name} is a search for the best of the others, which needs audio")
    return model
