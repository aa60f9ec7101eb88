"""How graphs want to be fed and asked: names, order and axes of their inputs and outputs.

B batch, T feature frames, F mel bands, S samples, T' output frames, V vocabulary.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from kdcompress.aliases import FloatArray, IntArray
from kdcompress.errors import BundleError
from kdcompress.frontend.logmel_numpy import HOP

FRONTEND = "frontend"
"""First part of the names of the nodes of a front end inside a graph.

Powers down to 2⁻²⁴ want float32 whatever the rest is.
"""

WINDOW = "frame_window"
"""Entry in a graph's metadata: the samples that a frame is made of, where fewer make none."""

Axes: TypeAlias = Mapping[int, str]
"""The names of those axes of a tensor whose size is open."""


@dataclass(frozen=True)
class State:
    """What a streaming graph is given of the audio before, and returns for the audio behind.

    Attributes:
        given: name of the input.
        returned: name of the output, of the same shape.
        axes: of both.
    """

    given: str
    returned: str
    axes: Axes = field(default_factory=lambda: {0: "batch"})


@dataclass(frozen=True)
class Layout:
    """The interface of a graph; profiles are named after theirs.

    Attributes:
        name: of the layout.
        inputs: of the graph, in this order (sherpa-onnx takes them by position).
        outputs: of the graph; the log-probabilities first. Without a second one, the lengths follow from the
            graph's metadata `subsampling_factor` and `frame_window`.
        time_axis: of the first input: features are [B, F, T] or [B, T, F], waveforms [B, S].
        states: behind the inputs and outputs, in this order.
        chunked: only the batch is open: the graph takes chunks of one size, its metadata's `window_size`, the
            next one `chunk_shift` frames later.
        integers: waveforms are int32 [B, S, 1] of 16 bits.
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    time_axis: int
    states: tuple[State, ...] = ()
    chunked: bool = False
    integers: bool = False

    @property
    def axes(self) -> dict[str, Axes]:
        """The open axes of every input and output, in the order of the graph."""
        signal, *lengths = self.inputs
        log_probs, *counts = self.outputs
        if self.chunked:
            return {name: {0: "batch"} for name in (*self.given, *self.returned)}
        return {
            signal: {0: "batch", self.time_axis: "samples" if self.takes_waveforms else "frames"},
            **{name: {0: "batch"} for name in lengths},
            **{state.given: state.axes for state in self.states},
            log_probs: {0: "batch", 1: "encoded_frames"},
            **{name: {0: "batch"} for name in counts},
            **{state.returned: state.axes for state in self.states},
        }

    @property
    def given(self) -> tuple[str, ...]:
        """The names of all inputs, in the order of the graph."""
        return (*self.inputs, *(state.given for state in self.states))

    @property
    def returned(self) -> tuple[str, ...]:
        """The names of all outputs, likewise."""
        return (*self.outputs, *(state.returned for state in self.states))

    @property
    def takes_waveforms(self) -> bool:
        """Whether the front end is inside the graph."""
        return len(self.inputs) == 1

    def feeds(self, frames_BTF: FloatArray, lengths: IntArray) -> dict[str, Any]:
        """Return the graph's inputs for features [B, T, F], or for waveforms as hops [B, T, samples]."""
        if self.integers:  # cut off, not rounded, as sherpa-onnx does
            samples = (32767 * frames_BTF.clip(-1, 1)).astype(np.int32)
            return {self.inputs[0]: samples.reshape(len(frames_BTF), -1, 1)}
        if self.takes_waveforms:
            return {self.inputs[0]: frames_BTF.reshape(len(frames_BTF), -1)}
        if self.time_axis == 2:
            frames_BTF = frames_BTF.transpose(0, 2, 1)
        # onnxruntime copies what is not contiguous.
        return {self.inputs[0]: np.ascontiguousarray(frames_BTF), self.inputs[1]: lengths}

    def answer(
        self, outputs: Sequence[Any], lengths: IntArray, metadata: Mapping[str, str]
    ) -> tuple[FloatArray, IntArray]:
        """Return log-probabilities [B, T', V] and how many frames of each row count [B]."""
        log_probs = outputs[0]
        if not self.takes_waveforms:
            return log_probs, outputs[1]
        factor, window = int(metadata["subsampling_factor"]), int(metadata.get(WINDOW, 0))
        return log_probs, np.minimum(frame_counts(lengths, factor, window), log_probs.shape[1])


LAYOUTS: Mapping[str, Layout] = {
    "portable": Layout("portable", ("audio_signal", "length"), ("logprobs", "encoded_lengths"), 2),
    "kaldi": Layout("kaldi", ("x", "x_lens"), ("log_probs", "log_probs_len"), 1),
    "waveform": Layout("waveform", ("input_values",), ("logits",), 1),
    # Of NeMo's cache-aware CTC models, for sherpa-onnx's OnlineRecognizer.from_nemo_ctc.
    "streaming": Layout(
        "streaming",
        ("audio_signal", "length"),
        ("logprobs", "encoded_lengths"),
        2,
        (
            State("cache_last_channel", "cache_last_channel_next"),
            State("cache_last_time", "cache_last_time_next"),
            State("cache_last_channel_len", "cache_last_channel_next_len"),
        ),
        chunked=True,
    ),
    # Of T-one: 300 ms at 8 kHz, for sherpa-onnx's OnlineRecognizer.from_t_one_ctc.
    "telephone": Layout(
        "telephone",
        ("signal",),
        ("logprobs",),
        1,
        (State("state", "state_next"),),
        chunked=True,
        integers=True,
    ),
}


def layout_of(
    graph: object, inputs: Sequence[str], outputs: Sequence[str], metadata: Mapping[str, str]
) -> Layout:
    """Recognise a graph's layout by the names of its inputs and outputs.

    Raises:
        BundleError: it is none of those known.
    """
    for layout in LAYOUTS.values():
        if set(inputs) == set(layout.given) and set(layout.returned) <= set(outputs):
            numbers = (metadata.get("subsampling_factor", ""), metadata.get(WINDOW, "0"))
            if layout.takes_waveforms and not all(number.isdecimal() for number in numbers):
                raise BundleError(
                    f"{graph} does not say its subsampling_factor in its metadata: export the run again"
                )
            return layout
    known = "; ".join(
        f"the {x.name} profile maps {', '.join(x.given)} to {', '.join(x.returned)}" for x in LAYOUTS.values()
    )
    raise BundleError(
        f"{graph} maps {', '.join(inputs)} to {', '.join(outputs)}; {known}: export the run again"
    )


def frame_counts(hops_B: IntArray, factor: int, window: int = 0) -> IntArray:
    """Return the output frames [B] of so many hops [B], of 160 samples or in frames of features.

    Args:
        factor: hops per output frame.
        window: 0 for a frame from each begun `factor` of hops on; else a frame where so many samples fit in,
            as convolutions over samples have it, and one where fewer are all there is.
    """
    if not window:
        return -(-hops_B // factor)
    return np.maximum((hops_B * HOP - window) // (factor * HOP) + 1, np.minimum(hops_B, 1))


def hops(waveform: FloatArray, size: int = HOP) -> FloatArray:
    """Cut a waveform [S], at 16 kHz, into hops [⌈S / 160⌉, 160], the last one filled up with zeros.

    What is shorter than one hop has no feature frame, and gives none here. The output
    of a graph that takes waveforms does not depend on zeros at the end.
    """
    if len(waveform) < size:
        return np.empty((0, size), np.float32)
    return np.pad(waveform, (0, -len(waveform) % size)).astype(np.float32, copy=False).reshape(-1, size)
