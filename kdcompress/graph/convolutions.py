"""Put convolutions over samples before a graph: the encoder of wav2vec2 and its relatives.

The nodes are written by hand: through seven convolutions torch's exporter carries the number of samples as a
tower of floors, which takes it minutes, and it knows no group normalisation over the valid frames alone.

B batch, S samples, C channels, T frames.
"""

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto

from kdcompress.graph.samples import Nodes, find_ends, take_samples
from kdcompress.runtime.layout import FRONTEND
from kdcompress.students.view import Convolution, SampleEncoder

# Of the variance, as Wav2Vec2FeatureExtractor has it.
_VARIANCE_GUARD = 1e-7


def with_convolutions(model: onnx.ModelProto, encoder: SampleEncoder, blank: int) -> None:
    """Turn a graph of the encoder's output into one of samples, in place; see `take_samples`.

    Input float32 [B, S], output [B, (S − window) // stride + 1, V], one frame where S is less.
    Samples are normalised over what lies before the zeros at the end of their row, where the student wants
    that: so it does not matter whether a runtime has done it.

    Raises:
        ExportError: the result is not valid ONNX.
    """

    def front(nodes: Nodes, signal: str, features: str, lengths: str) -> None:
        ends, samples, positions = find_ends(nodes, signal)
        if encoder.normalize:
            signal = _normalised(nodes, signal, ends, positions)
        window = nodes.constant("window", encoder.window)
        missing = nodes.add("Max", [nodes.add("Sub", [window, samples]), nodes.constant("none", [0])])
        pads = nodes.add("Concat", [nodes.constant("no_pads", [0, 0, 0]), missing], axis=0)
        signal = nodes.add("Pad", [signal, pads])
        heard = nodes.add("Squeeze", [ends, nodes.constant("time_of_waveform", [1])])
        heard = nodes.add("Max", [heard, window])
        frames = nodes.add(
            "Div", [nodes.add("Sub", [heard, window]), nodes.constant("stride", encoder.stride)]
        )
        nodes.add("Add", [frames, nodes.constant("one", 1)], lengths)
        x = nodes.add("Unsqueeze", [signal, nodes.constant("channel", [1])])
        for index, convolution in enumerate(encoder.convolutions):
            # Sums over all frames of a recording are beyond half precision: they are the front end's.
            nodes.place = FRONTEND if convolution.norm == "group" else "encoder"
            x = _convolution(nodes, x, convolution, index, heard)
        nodes.place = "encoder"
        nodes.add("Transpose", [x], features, perm=[0, 2, 1])

    take_samples(model, blank, front)


def _normalised(nodes: Nodes, signal: str, ends: str, positions: str) -> str:
    """Bring what lies before the ends to zero mean and unit variance; what is behind stays zero."""
    time = nodes.constant("time_of_waveform", [1])
    number = nodes.add("Cast", [nodes.add("Max", [ends, nodes.constant("one", 1)])], to=TensorProto.FLOAT)
    mean = nodes.add("Div", [nodes.add("ReduceSum", [signal, time]), number])
    behind = nodes.add("Greater", [positions, ends])
    centred = nodes.add("Sub", [signal, mean])
    centred = nodes.add("Where", [behind, nodes.constant("silent", 0.0, np.float32), centred])
    variance = nodes.add("Div", [nodes.add("ReduceSumSquare", [centred, time]), number])
    guard = nodes.constant("variance_guard", _VARIANCE_GUARD, np.float32)
    return nodes.add("Div", [centred, nodes.add("Sqrt", [nodes.add("Add", [variance, guard])])])


def _convolution(nodes: Nodes, x: str, layer: Convolution, index: int, heard: str) -> str:
    """Convolve [B, C, T], normalise and activate."""

    def weights(name: str, values: object) -> str:
        return nodes.constant(f"{index}/{name}", values, np.float32)

    inputs = [x, weights("weight", layer.weight)]
    if layer.bias is not None:
        inputs.append(weights("bias", layer.bias))
    x = nodes.add("Conv", inputs, strides=[layer.stride])
    if layer.norm == "layer":
        x = nodes.add("Transpose", [x], perm=[0, 2, 1])
        norm = [x, weights("gain", layer.gain), weights("shift", layer.shift)]
        x = nodes.add("LayerNormalization", norm, axis=-1, epsilon=layer.epsilon)
        x = nodes.add("Transpose", [x], perm=[0, 2, 1])
    elif layer.norm == "group":
        norm = [
            weights("gain", np.asarray(layer.gain)[:, None]),
            weights("shift", np.asarray(layer.shift)[:, None]),
        ]
        x = _over_valid_frames(nodes, x, norm, layer, heard)
    return nodes.add(layer.activation, [x])


def _over_valid_frames(nodes: Nodes, x: str, affine: Sequence[str], layer: Convolution, heard: str) -> str:
    """Normalise each channel of [B, C, T] over the frames that lie before the end."""
    start, step = nodes.constant("zero", 0), nodes.constant("one", 1)
    kernel, stride = nodes.constant("kernel", layer.weight.shape[2]), nodes.constant("hop", layer.stride)
    frames = nodes.add("Add", [nodes.add("Div", [nodes.add("Sub", [heard, kernel]), stride]), step])
    frames = nodes.add("Unsqueeze", [frames, nodes.constant("behind_batch", [1, 2])])
    there = nodes.add("Squeeze", [nodes.add("Shape", [x], start=2, end=3)])
    valid = nodes.add("Less", [nodes.add("Range", [start, there, step]), frames])
    masked = nodes.add("Mul", [x, nodes.add("Cast", [valid], to=TensorProto.FLOAT)])
    number, time = nodes.add("Cast", [frames], to=TensorProto.FLOAT), nodes.constant("time_of_channels", [2])
    mean = nodes.add("Div", [nodes.add("ReduceSum", [masked, time]), number])
    square = nodes.add("Div", [nodes.add("ReduceSumSquare", [masked, time]), number])
    # One pass: means are next to nothing, and of what rounding leaves of a variance the guard is far above.
    variance = nodes.add("Sub", [square, nodes.add("Mul", [mean, mean])])
    variance = nodes.add("Max", [variance, nodes.constant("no_variance", 0.0, np.float32)])
    guarded = nodes.add("Add", [variance, nodes.constant("epsilon", layer.epsilon, np.float32)])
    scale = nodes.add("Div", [affine[0], nodes.add("Sqrt", [guarded])])
    shift = nodes.add("Sub", [affine[1], nodes.add("Mul", [mean, scale])])
    return nodes.add("Add", [nodes.add("Mul", [x, scale]), shift])
