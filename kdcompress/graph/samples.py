"""Turn a graph of something else into one of samples, and what lies behind an utterance's end into blanks.

B batch, S samples, T' output frames, V vocabulary.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from kdcompress.errors import ExportError
from kdcompress.runtime.layout import FRONTEND, LAYOUTS

# The log-probability of all other tokens behind the end: finite, and nothing in float16's range either.
_NEVER = -100.0


class Nodes:
    """Nodes in order, and their constants.

    Attributes:
        place: begins their names.
    """

    def __init__(self, offset: int = 0, place: str = FRONTEND) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}
        self.place = place
        self._offset = offset

    def constant(self, name: str, value: Any, dtype: type = np.int64) -> str:
        name = f"{self.place}/{name}"
        self.constants.setdefault(name, numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def add(self, op: str, inputs: Sequence[str], output: str | None = None, **attributes: Any) -> str:
        """Append a node; returns the name of its output."""
        name = f"{self.place}/{op}_{self._offset + len(self.nodes)}"
        output = output or f"{name}_output"
        self.nodes.append(helper.make_node(op, inputs, [output], name, **attributes))
        return output


def take_samples(model: onnx.ModelProto, blank: int, front: Callable[[Nodes, str, str, str], None]) -> None:
    """Give a graph with the inputs and outputs of the layout `portable` those of `waveform`, in place.

    There is no input for lengths: zeros at the end of a row are padding, as in batches of transformers, and
    the frames that belong to them are certain blanks.

    Args:
        front: writes the nodes that lead from the samples float32 [B, S] to what the graph takes and to its
            lengths [B]; it is given these three names.

    Raises:
        ExportError: the result is not valid ONNX.
    """
    inside, outside = LAYOUTS["portable"], LAYOUTS["waveform"]
    graph = model.graph
    vocabulary_size = graph.output[0].type.tensor_type.shape.dim[2].dim_value
    # The old output gets another name, so that the new one may have any.
    raw = f"{FRONTEND}/raw_{inside.outputs[0]}"
    for node in graph.node:
        node.output[:] = [raw if name == inside.outputs[0] else name for name in node.output]
        node.input[:] = [raw if name == inside.outputs[0] else name for name in node.input]
    before = Nodes()
    front(before, outside.inputs[0], *inside.inputs)
    behind = Nodes(offset=len(before.nodes))
    _silence_padding(behind, raw, inside.outputs[1], outside.outputs[0], blank, vocabulary_size)

    nodes = [*before.nodes, *graph.node, *behind.nodes]
    del graph.node[:], graph.input[:], graph.output[:]
    graph.node.extend(nodes)
    graph.initializer.extend((before.constants | behind.constants).values())
    float_ = TensorProto.FLOAT
    graph.input.append(helper.make_tensor_value_info(outside.inputs[0], float_, ["batch", "samples"]))
    shape = ["batch", "encoded_frames", vocabulary_size]
    graph.output.append(helper.make_tensor_value_info(outside.outputs[0], float_, shape))
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ExportError(f"the front end and the student do not make valid ONNX: {reason}") from error


def find_ends(nodes: Nodes, signal: str) -> tuple[str, str, str]:
    """Return where the samples [B, S] end [B, 1], how many there are at most, and positions from 1 [S]."""
    zero, one = nodes.constant("zero", 0), nodes.constant("one", 1)
    samples = nodes.add("Shape", [signal], start=1, end=2)
    count = nodes.add("Squeeze", [samples])
    positions = nodes.add("Range", [one, nodes.add("Add", [count, one]), one])
    silent = nodes.constant("silent", 0.0, np.float32)
    sounding = nodes.add("Not", [nodes.add("Equal", [signal, silent])])
    sounding_at = nodes.add("Where", [sounding, positions, zero])
    ends = nodes.add("ReduceMax", [sounding_at, nodes.constant("time_of_waveform", [1])])
    return ends, samples, positions


def _silence_padding(
    nodes: Nodes, log_probs: str, lengths: str, output: str, blank: int, vocabulary_size: int
) -> None:
    """Make frames behind the end certain blanks: who reads the output has no lengths."""
    certain = np.full(vocabulary_size, _NEVER)
    certain[blank] = 0.0
    frames = nodes.add("Squeeze", [nodes.add("Shape", [log_probs], start=1, end=2)])
    start, step = nodes.constant("zero", 0), nodes.constant("one", 1)
    time = nodes.add("Range", [start, frames, step])
    valid = nodes.add("Less", [time, nodes.add("Unsqueeze", [lengths, nodes.constant("frames", [1])])])
    valid = nodes.add("Unsqueeze", [valid, nodes.constant("tokens", [2])])
    nodes.add("Where", [valid, log_probs, nodes.constant("certain_blank", certain, np.float32)], output)
