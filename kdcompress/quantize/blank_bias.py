"""One number that gives a shifted model its blanks back, folded into the graph's output layer.

Rounding the weights of a CTC model mostly moves its blank: a few frames of each word tip over, and words are
lost. Runtimes that decode greedily have no blank penalty, so the repair must be inside the graph.

House letters: T' output frames, V vocabulary.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from kdcompress.aliases import FloatArray
from kdcompress.errors import ConfigError, ExportError

# What may stand between the output layer's bias and the graph's output, and which of its inputs comes from
# there. A front end inside the graph ends in a Where: blanks behind the end of the audio.
_PASSED = {"LogSoftmax": 0, "Softmax": 0, "Log": 0, "Cast": 0, "Identity": 0, "Where": 1}


def blank_rate(log_probs: Sequence[FloatArray], blank: int) -> float:
    """Return the share of frames of log-probabilities [T', V] whose best token is the blank."""
    return float((np.concatenate(log_probs).argmax(axis=1) == blank).mean())


def fit_blank_bias(log_probs: Sequence[FloatArray], blank: int, rate: float) -> float:
    """Return what must be added to the blank's logit so that its share of best tokens becomes `rate` [nats].

    The blank wins a frame once the bias exceeds its margin there, so the answer is a quantile of the margins:
    no search, and the rate is met to one frame. Of all biases that do equally well the middle one is taken,
    and 0 where nothing needs repair.

    Args:
        log_probs: [T', V] of some utterances; transcripts are not needed.
        rate: within 0 and 1, neither of them: no finite bias does that for all audio.

    Raises:
        ConfigError: the rate is not a share, or there is no frame to fit on.
    """
    if not 0 < rate < 1:
        raise ConfigError(f"a blank rate must lie between 0 and 1, found {rate:g}")
    rows = np.concatenate(log_probs).astype(np.float64)
    if not len(rows):
        raise ConfigError("no output frame to fit the blank's bias on: give more audio")
    margins = np.sort(np.delete(rows, blank, axis=1).max(axis=1) - rows[:, blank])
    wanted = round(rate * len(margins))
    low = margins[wanted - 1] if wanted else margins[0] - 1.0
    high = margins[wanted] if wanted < len(margins) else margins[-1] + 1.0
    return 0.0 if low < 0 < high else float((low + high) / 2)


def fold_blank_bias(model: onnx.ModelProto, blank: int, value: float) -> None:
    """Add a constant to the blank's logit, in place; no node, name or size of the graph changes.

    Raises:
        ExportError: the graph does not end in a bias of as many values as it has tokens.
    """
    graph = model.graph
    makers = {output: node for node in graph.node for output in node.output}
    add = makers.get(graph.output[0].name)
    while add is not None and add.op_type in _PASSED:
        add = makers.get(add.input[_PASSED[add.op_type]])
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    for node, position in ((add, 1), (add, 0)):
        if node is None or node.op_type != "Add":
            break
        path = [node.input[position]]
        while path[-1] in makers and makers[path[-1]].op_type == "Cast":  # a bias stored in half precision
            path.append(makers[path[-1]].input[0])
        tensor = tensors.get(path[-1])
        if tensor is not None and len(tensor.dims) == 1:
            shifted = _shifted(tensor, blank, value)
            if all(_readers(graph, name) == 1 for name in path):
                tensor.CopyFrom(numpy_helper.from_array(shifted, tensor.name))
                return
            # The exporter merges equal tensors: the others keep theirs.
            own = f"{tensor.name}.blank"
            shifted = shifted.astype(np.float32) if len(path) > 1 else shifted
            graph.initializer.append(numpy_helper.from_array(shifted, own))
            node.input[position] = own
            return
    raise ExportError(
        f"the output {graph.output[0].name} does not come from a layer with a bias, so the blank's cannot be "
        "changed; give --blank-bias none"
    )


def _shifted(tensor: onnx.TensorProto, blank: int, value: float) -> npt.NDArray[Any]:
    bias: npt.NDArray[Any] = numpy_helper.to_array(tensor).copy()
    if not 0 <= blank < len(bias):
        raise ExportError(f"the output layer has {len(bias)} biases, no blank at {blank}")
    bias[blank] += value
    return bias


def _readers(graph: onnx.GraphProto, name: str) -> int:
    return sum(name == read for node in graph.node for read in node.input)
