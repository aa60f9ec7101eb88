"""Put the front end inside a graph: waveforms in, and what lies behind an utterance's end out as blanks.

The nodes are written by hand. torch's exporter would trace them too, but it carries S // 160 through the
shapes of the whole model, which takes minutes; and the Fourier transform is a convolution with windowed sines
and cosines, since few runtimes have the operators STFT or DFT.

House letters: B batch, S samples, T feature frames, F mel bands, T' output frames, V vocabulary.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from kdcompress.errors import ExportError
from kdcompress.frontend.logmel_numpy import (
    HOP,
    LOG_GUARD,
    N_FFT,
    PREEMPHASIS,
    STD_GUARD,
    WINDOW,
    hann_window,
    mel_filterbank,
)
from kdcompress.runtime.bundle import Frontend
from kdcompress.runtime.layout import FRONTEND, LAYOUTS

# The log-probability of all other tokens behind the end: finite, and nothing in float16's range either.
_NEVER = -100.0

# Samples within ±1 have a mean square of 0.5 at most, unless they are clipped to a square wave. What is above
# this has been normalised, as sherpa-onnx and many a processor of transformers do; silence in it would come
# far above the guard of the logarithm. With this rule 7 of 130 transcripts of AN4 test differ between raw and
# normalised samples, without it 19.
_LOUD = 0.8
_LEVEL = 0.03  # root mean square of speech as it is recorded: the median of AN4 test

_BINS = N_FFT // 2 + 1
_END = 2**31 - 1


def with_frontend(model: onnx.ModelProto, frontend: Frontend, blank: int) -> None:
    """Turn a graph of the layout `portable` into one of the layout `waveform`, in place.

    Input float32 [B, S], output [B, max(S // 160, 1) / factor rounded up, V]. There is no input for lengths:
    zeros at the end of a row are padding, as in batches of transformers; they change no output, they do not
    count in the normalisation, and the frames that belong to them are certain blanks. A row of zeros only is
    taken for one frame of silence. Samples are within ±1; waveforms of unit variance are understood as well.

    Raises:
        ExportError: the graph takes other features than log-mel, or the result is not valid ONNX.
    """
    if frontend.kind != "logmel":
        raise ExportError(f"a graph can compute logmel features, this student takes {frontend.kind}")
    inside, outside = LAYOUTS["portable"], LAYOUTS["waveform"]
    graph = model.graph
    vocabulary_size = graph.output[0].type.tensor_type.shape.dim[2].dim_value
    # The old output gets another name, so that the new one may have any.
    raw = f"{FRONTEND}/raw_{inside.outputs[0]}"
    for node in graph.node:
        node.output[:] = [raw if name == inside.outputs[0] else name for name in node.output]
        node.input[:] = [raw if name == inside.outputs[0] else name for name in node.input]
    signal, (features, lengths) = outside.inputs[0], inside.inputs
    front = _Nodes()
    power, frames, count = _spectrum(front, signal)
    _features(front, power, frames, count, frontend.normalize, features)
    front.add("Identity", [frames], lengths)
    back = _Nodes(offset=len(front.nodes))
    _silence_padding(back, raw, inside.outputs[1], outside.outputs[0], blank, vocabulary_size)

    nodes = [*front.nodes, *graph.node, *back.nodes]
    del graph.node[:], graph.input[:], graph.output[:]
    graph.node.extend(nodes)
    graph.initializer.extend([*front.constants.values(), *back.constants.values()])
    float_ = TensorProto.FLOAT
    graph.input.append(helper.make_tensor_value_info(signal, float_, ["batch", "samples"]))
    shape = ["batch", "encoded_frames", vocabulary_size]
    graph.output.append(helper.make_tensor_value_info(outside.outputs[0], float_, shape))
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ExportError(f"the front end and the student do not make valid ONNX: {reason}") from error


class _Nodes:
    """Nodes in order, and their constants."""

    def __init__(self, offset: int = 0) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}
        self._offset = offset

    def constant(self, name: str, value: Any, dtype: type = np.int64) -> str:
        name = f"{FRONTEND}/{name}"
        self.constants.setdefault(name, numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def add(self, op: str, inputs: Sequence[str], output: str | None = None, **attributes: Any) -> str:
        """Append a node; returns the name of its output."""
        name = f"{FRONTEND}/{op}_{self._offset + len(self.nodes)}"
        output = output or f"{name}_output"
        self.nodes.append(helper.make_node(op, inputs, [output], name, **attributes))
        return output


def _spectrum(nodes: _Nodes, signal: str) -> tuple[str, str, str]:
    """Return the power spectrum [B, 257, T], the valid frames [B] and T."""
    zero, one, last = (nodes.constant(n, v) for n, v in (("zero", 0), ("one", 1), ("last", [-1])))
    first_axis = nodes.constant("time_of_waveform", [1])
    silent = nodes.constant("silent", 0.0, np.float32)
    samples = nodes.add("Shape", [signal], start=1, end=2)
    count = nodes.add("Squeeze", [samples])
    positions = nodes.add("Range", [one, nodes.add("Add", [count, one]), one])
    sounding = nodes.add("Not", [nodes.add("Equal", [signal, silent])])
    sounding_at = nodes.add("Where", [sounding, positions, zero])
    ends = nodes.add("ReduceMax", [sounding_at, first_axis])  # [B, 1] samples
    hop = nodes.constant("hop", HOP)
    frames = nodes.add("Max", [nodes.add("Div", [nodes.add("Squeeze", [ends, first_axis]), hop]), one])

    signal = _at_recording_level(nodes, signal, ends)
    before = nodes.add("Pad", [signal, nodes.constant("one_before", [0, 1, 0, 0])])
    before = nodes.add("Slice", [before, nodes.constant("from_start", [0]), last, first_axis])
    emphasis = nodes.constant("preemphasis", PREEMPHASIS, np.float32)
    emphasised = nodes.add("Sub", [signal, nodes.add("Mul", [before, emphasis])])
    behind = nodes.add("Greater", [positions, ends])
    emphasised = nodes.add("Where", [behind, silent, emphasised])

    # One hop more than is needed behind the end: a waveform shorter than a hop has a frame, too.
    margins = nodes.constant("margins", [0, 0, WINDOW // 2, 0, 0, WINDOW // 2 + HOP])
    channel = nodes.add("Unsqueeze", [emphasised, first_axis])
    kernels = _fourier_kernels(nodes)
    spectrum = nodes.add("Conv", [nodes.add("Pad", [channel, margins]), kernels], strides=[HOP])
    total = nodes.add("Max", [nodes.add("Div", [samples, hop]), nodes.constant("at_least", [1])])
    last_axis = nodes.constant("time_of_spectrum", [2])
    spectrum = nodes.add("Slice", [spectrum, nodes.constant("from_start", [0]), total, last_axis])
    squares = nodes.add("Mul", [spectrum, spectrum])
    axis, middle, end = (nodes.constant(n, [v]) for n, v in (("bins", 1), ("middle", _BINS), ("end", _END)))
    real = nodes.add("Slice", [squares, nodes.constant("from_start", [0]), middle, axis])
    imaginary = nodes.add("Slice", [squares, middle, end, axis])
    return nodes.add("Add", [real, imaginary]), frames, nodes.add("Squeeze", [total])


def _at_recording_level(nodes: _Nodes, signal: str, ends: str) -> str:
    """Turn waveforms down that a runtime has brought to unit variance; others stay, to the bit."""
    time = nodes.constant("time_of_waveform", [1])
    energy = nodes.add("ReduceSum", [nodes.add("Mul", [signal, signal]), time])
    number = nodes.add("Cast", [nodes.add("Max", [ends, nodes.constant("one", 1)])], to=TensorProto.FLOAT)
    loud = nodes.add(
        "Greater", [nodes.add("Div", [energy, number]), nodes.constant("loud", _LOUD, np.float32)]
    )
    levels = (nodes.constant(n, v, np.float32) for n, v in (("level", _LEVEL), ("single", 1.0)))
    return nodes.add("Mul", [signal, nodes.add("Where", [loud, *levels])])


def _features(nodes: _Nodes, power: str, frames: str, count: str, normalize: str, output: str) -> None:
    """Compute log-mel features [B, F, T], zero behind the valid frames; see `logmel_numpy`."""
    zero, one = nodes.constant("zero", 0), nodes.constant("one", 1)
    time = nodes.constant("time_of_spectrum", [2])
    # A convolution and not a MatMul: what quantizes products must not find it.
    bands = nodes.constant("mel", mel_filterbank().T[:, :, None], np.float32)
    guarded = nodes.add(
        "Add", [nodes.add("Conv", [power, bands]), nodes.constant("guard", LOG_GUARD, np.float32)]
    )
    features = nodes.add("Log", [guarded])
    axes = nodes.constant("behind_batch", [1, 2])
    per_row = nodes.add("Unsqueeze", [frames, axes])  # [B, 1, 1]
    valid = nodes.add("Less", [nodes.add("Range", [zero, count, one]), per_row])
    valid = nodes.add("Cast", [valid], to=TensorProto.FLOAT)
    if normalize == "none":
        nodes.add("Mul", [features, valid], output)
        return
    single = nodes.constant("single", 1.0, np.float32)
    number = nodes.add("Cast", [per_row], to=TensorProto.FLOAT)
    first = nodes.add(
        "Slice", [features, nodes.constant("from_start", [0]), nodes.constant("at_one", [1]), time]
    )
    centred = nodes.add("Mul", [nodes.add("Sub", [features, first]), valid])
    mean = nodes.add("Div", [nodes.add("ReduceSum", [centred, time]), number])
    centred = nodes.add("Mul", [nodes.add("Sub", [centred, mean]), valid])
    squares = nodes.add("ReduceSum", [nodes.add("Mul", [centred, centred]), time])
    freedom = nodes.add("Max", [nodes.add("Sub", [number, single]), single])
    deviation = nodes.add("Sqrt", [nodes.add("Div", [squares, freedom])])
    guard = nodes.constant("deviation_guard", STD_GUARD, np.float32)
    nodes.add("Div", [centred, nodes.add("Add", [deviation, guard])], output)


def _silence_padding(
    nodes: _Nodes, log_probs: str, lengths: str, output: str, blank: int, vocabulary_size: int
) -> None:
    """Make frames behind the end certain blanks: who reads the output has no lengths."""
    certain = np.full(vocabulary_size, _NEVER)
    certain[blank] = 0.0
    frames = nodes.add("Squeeze", [nodes.add("Shape", [log_probs], start=1, end=2)])
    # Own constants of the same names would clash with those of the front.
    start, step = nodes.constant("first_frame", 0), nodes.constant("next_frame", 1)
    time = nodes.add("Range", [start, frames, step])
    valid = nodes.add("Less", [time, nodes.add("Unsqueeze", [lengths, nodes.constant("frames", [1])])])
    valid = nodes.add("Unsqueeze", [valid, nodes.constant("tokens", [2])])
    nodes.add("Where", [valid, log_probs, nodes.constant("certain_blank", certain, np.float32)], output)


def _fourier_kernels(nodes: _Nodes) -> str:
    """Return windowed cosines and sines [2 · 257, 1, 400]: frame by kernel gives real and imaginary parts.

    They are looked up in one period, whose 512 values are exact and 4 kB: the kernels themselves would be as
    large as a small student. onnxruntime looks them up once, when it loads the graph.
    """
    period = 2 * np.pi * np.arange(N_FFT) / N_FFT
    bins = nodes.constant("bin", np.arange(_BINS)[:, None])
    turns = nodes.add("Mul", [bins, nodes.constant("sample", np.arange(WINDOW)[None])])
    phases = nodes.add("Mod", [turns, nodes.constant("period", N_FFT)])
    waves = [
        nodes.add("Gather", [nodes.constant(name, values, np.float32), phases])
        for name, values in (("cosine", np.cos(period)), ("sine", np.sin(period)))
    ]
    stacked = nodes.add("Concat", waves, axis=0)
    windowed = nodes.add("Mul", [stacked, nodes.constant("window", hann_window(), np.float32)])
    return nodes.add("Unsqueeze", [windowed, nodes.constant("channel", [1])])
