"""What of a student goes into a graph, and how that graph is fed.

B batch, S samples, T input frames, F values per input frame, T' output frames, V vocabulary.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from kdcompress.runtime.bundle import Frontend
from kdcompress.runtime.layout import Layout


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
        whole: of a streaming graph: from all input frames of an utterance [T, F] to its log-probabilities
            [T', V], which the graph must give chunk by chunk.
    """

    module: nn.Module
    layout: Layout
    example: tuple[Tensor, ...]
    prepare: Callable[[Tensor], Tensor]
    frontend: Frontend
    subsampling_factor: int
    whole: Callable[[Tensor], Tensor] | None = None
