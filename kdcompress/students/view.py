"""What of a student goes into a graph, and how that graph is fed.

B batch, S samples, T input frames, F values per input frame, T' output frames, V vocabulary.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from kdcompress.aliases import FloatArray
from kdcompress.audio.utterance import SAMPLE_RATE
from kdcompress.runtime.bundle import Frontend
from kdcompress.runtime.external.files import receptive_field
from kdcompress.runtime.layout import Layout


@dataclass(frozen=True)
class Convolution:
    """One layer of an encoder of samples.

    Attributes:
        weight: float32 [channels out, channels in, taps].
        bias: float32 [channels out], or None.
        stride: in frames of the layer before.
        norm: over the channels of a frame, over the valid frames of a channel, or none.
        gain, shift: float32 [channels out], of the normalisation.
        epsilon: added to its variance.
        activation: an ONNX operator.
    """

    weight: FloatArray
    bias: FloatArray | None
    stride: int
    norm: Literal["layer", "group", "none"]
    gain: FloatArray | None = None
    shift: FloatArray | None = None
    epsilon: float = 1e-5
    activation: Literal["Gelu", "Relu"] = "Gelu"


@dataclass(frozen=True)
class SampleEncoder:
    """Convolutions over samples, which stand before what is traced.

    Attributes:
        normalize: whether the samples of an utterance are brought to zero mean and unit variance first.
        convolutions: from the samples on.
    """

    normalize: bool
    convolutions: tuple[Convolution, ...]

    @property
    def stride(self) -> int:
        """Samples from one frame to the next."""
        return math.prod(layer.stride for layer in self.convolutions)

    @property
    def window(self) -> int:
        """Samples that one frame is made of."""
        kernels = [layer.weight.shape[2] for layer in self.convolutions]
        return receptive_field(kernels, [layer.stride for layer in self.convolutions])


@dataclass(frozen=True)
class ExportView:
    """A student as `kdcompress export` traces, compares and describes it.

    Attributes:
        module: is traced. It takes tensors in the order of `layout.inputs` and then one per state, and
            returns those of `layout.outputs` and then the states. An utterance's output must not depend on
            the padding beside it, and lengths of 0 must not make NaN.
        layout: names and axes of its inputs, outputs and states.
        example: inputs to trace with; every axis that `layout` names is of no special size.
        prepare: from a waveform float32 [S] at 16 kHz to what the graph is fed of it, [T, F]; or the waveform
            itself, where the graph takes waveforms.
        frontend: what a runtime must compute to feed the graph, or what the graph computes.
        subsampling_factor: input frames (of 10 ms) per output frame.
        sample_rate: of the audio behind the input [Hz].
        whole: of a streaming graph: from all input frames of an utterance [T, F] to its log-probabilities
            [T', V], which the graph must give chunk by chunk.
        encoder: makes the frames that `module` takes, from samples, for the layout `waveform`; None where it
            takes log-mel features.
        look_ahead: of a streaming graph: the last frames of a chunk, with which the next one begins.
        shortest: the fewest input frames that the student takes as they are: it extends what is shorter.
    """

    module: nn.Module
    layout: Layout
    example: tuple[Tensor, ...]
    prepare: Callable[[Tensor], Tensor]
    frontend: Frontend
    subsampling_factor: int
    sample_rate: int = SAMPLE_RATE
    whole: Callable[[Tensor], Tensor] | None = None
    encoder: SampleEncoder | None = None
    look_ahead: int = 0
    shortest: int = 1
