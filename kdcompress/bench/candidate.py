"""What can be measured: anything that turns samples into text and says where its time went.

S samples.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from kdcompress.aliases import FloatArray
from kdcompress.report.measured import Facts
from kdcompress.runtime.session import Provider


@dataclass(frozen=True)
class ModelSpec:
    """A model in a runtime.

    Attributes:
        module: what builds the candidate: a module with a function `build(spec)`.
        path: of a bundle, of an ONNX file with its tokens beside it, or what names a teacher of torch.
        name: unique in a report.
        variant: of a bundle; None for other models.
        graph: the ONNX file, for runtimes of other people.
        layout: of the graph, for these: the name of a profile.
        provider: what it runs on.
        threads: given to it.
        precision: of the graph, or that torch is to compute with.
    """

    module: str
    path: str
    name: str
    variant: str | None = None
    graph: str = ""
    layout: str = ""
    provider: Provider = "cpu"
    threads: int = 1
    precision: str = "fp32"


@dataclass(frozen=True)
class Recognition:
    """The texts of some utterances, and the seconds that their parts took.

    Attributes:
        texts: one per utterance, in order.
        features: 0 where the model computes them itself; `model` then contains them.
        model, decoding: likewise, of all utterances together.
    """

    texts: tuple[str, ...]
    features: float = 0.0
    model: float = 0.0
    decoding: float = 0.0


class Candidate(Protocol):
    """A model in a runtime, in the process that measures it.

    Attributes:
        bytes: size on disk of the graph with its weights, None where unknown.
        parameters: number of weights, None where unknown; may be known after `load` only, like `bytes`.
        batches: whether it takes several utterances in one call; known once it is loaded.
    """

    @property
    def bytes(self) -> int | None: ...
    @property
    def parameters(self) -> int | None: ...
    @property
    def batches(self) -> bool: ...

    def load(self) -> None:
        """Open the model; timed. Any exception marks the candidate as failed."""
        ...

    def facts(self) -> Facts:
        """Say how it runs; called once after `load`, outside every clock."""
        ...

    def recognise(self, waveforms: Sequence[FloatArray]) -> Recognition:
        """Turn utterances, float32 [S] at 16 kHz each, into text; raises rather than answer nonsense."""
        ...


@runtime_checkable
class CountsGpuMemory(Protocol):
    """A candidate that knows how much of the GPU's memory it took."""

    def gpu_bytes(self) -> int | None:
        """Return the most that it has held; None on the CPU."""
        ...


def noise(seconds: float) -> FloatArray:
    """Return faint noise at 16 kHz, always the same: what a graph is profiled with."""
    return np.random.default_rng(0).normal(0, 0.01, round(16_000 * seconds)).astype(np.float32)
