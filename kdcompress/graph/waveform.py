"""Put the front end inside a graph: waveforms in, and what lies behind an utterance's end out as blanks.

The nodes are written by hand. torch's exporter would trace them too, but it carries S // 160 through the
shapes of the whole model, which takes minutes; and the Fourier transform is a convolution with windowed sines
and cosines, since few runtimes have the operators STFT or DFT.

House letters: B batch, S samples, T feature frames, F mel bands, T' output frames, V vocabulary.
"""

import numpy as np
import onnx
from onnx import TensorProto

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
from kdcompress.graph.samples import Nodes, find_ends, take_samples
from kdcompress.runtime.bundle import Frontend

# Samples within ±1 have a mean square of 0.5 at most, unless they are clipped to a square wave. What is above
# this has been normalised, as sherpa-onnx and many a processor of transformers do; silence in it would come
# far above the guard of the logarithm. With this rule 7 of 130 transcripts of AN4 test differ between raw and
# normalised samples, without it 19.
_LOUD = 0.8
_LEVEL = 0.03  # root mean square of speech as it is recorded: the median of AN4 test

_BINS = N_FFT // 2 + 1
_END = 2**31 - 1


def with_frontend(model: onnx.ModelProto, frontend: Frontend, blank: int) -> None:
    """Turn a graph of the layout `portable` into one of the layout `waveform`, in place; see `take_samples`.

    Input float32 [B, S], output [B, max(S // 160, 1) / factor rounded up, V]. Zeros at the end of a row
    change no output and do not count in the normalisation. A row of zeros only is taken for one frame of
    silence. Samples are within ±1; waveforms of unit variance are understood as well.

    Raises:
        ExportError: the graph takes other features than log-mel, or the result is not valid ONNX.
    """
    if frontend.kind != "logmel":
        raise ExportError(f"a graph can compute logmel features, this student takes {frontend.kind}")

    def front(nodes: Nodes, signal: str, features: str, lengths: str) -> None:
        power, frames, count = _spectrum(nodes, signal)
        _features(nodes, power, frames, count, frontend.normalize, features)
        nodes.add("Identity", [frames], lengths)

    take_samples(model, blank, front)


def _spectrum(nodes: Nodes, signal: str) -> tuple[str, str, str]:
    """Return the power spectrum [B, 257, T], the valid frames [B] and T."""
    one, last = nodes.constant("one", 1), nodes.constant("last", [-1])
    first_axis = nodes.constant("time_of_waveform", [1])
    silent = nodes.constant("silent", 0.0, np.float32)
    ends, samples, positions = find_ends(nodes, signal)
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


def _at_recording_level(nodes: Nodes, signal: str, ends: str) -> str:
    """Turn waveforms down that a runtime has brought to unit variance; others stay, to the bit."""
    time = nodes.constant("time_of_waveform", [1])
    energy = nodes.add("ReduceSum", [nodes.add("Mul", [signal, signal]), time])
    number = nodes.add("Cast", [nodes.add("Max", [ends, nodes.constant("one", 1)])], to=TensorProto.FLOAT)
    loud = nodes.add(
        "Greater", [nodes.add("Div", [energy, number]), nodes.constant("loud", _LOUD, np.float32)]
    )
    levels = (nodes.constant(n, v, np.float32) for n, v in (("level", _LEVEL), ("single", 1.0)))
    return nodes.add("Mul", [signal, nodes.add("Where", [loud, *levels])])


def _features(nodes: Nodes, power: str, frames: str, count: str, normalize: str, output: str) -> None:
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


def _fourier_kernels(nodes: Nodes) -> str:
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
