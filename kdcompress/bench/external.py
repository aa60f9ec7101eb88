"""ONNX models of any origin, in our runtime.

S samples.
"""

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kdcompress.audio.utterance import SAMPLE_RATE
from kdcompress.bench.candidate import Recognition, Waveform
from kdcompress.bench.facts import graph_facts
from kdcompress.bench.spec import ModelSpec
from kdcompress.frontend.logmel_numpy import HOP
from kdcompress.report.measured import Facts
from kdcompress.runtime.external.files import find_files
from kdcompress.runtime.external.graph import ExternalGraph
from kdcompress.text.decode import greedy


class ExternalCandidate:
    """A graph with its vocabulary beside it, fed by us and decoded greedily.

    Attributes:
        batches: whether utterances of different length can share a run, which only a graph that tells
            lengths allows.
    """

    def __init__(self, spec: ModelSpec) -> None:
        """Read the files beside the graph; see `ModelSpec`."""
        self._spec = spec
        self._files = find_files(Path(spec.graph))
        self._graph: ExternalGraph | None = None
        self.name = spec.name
        self.bytes: int | None = None  # the plan knows it, with the weights that are kept outside the graph
        self.parameters: int | None = None

    @property
    def batches(self) -> bool:
        """Known once it is loaded."""
        graph = self._loaded()
        return graph.tells_lengths and not graph.fixed_batch

    def load(self) -> None:
        """Create the session."""
        self._graph = ExternalGraph(self._spec.path, self._files, self._spec.provider, self._spec.threads)

    def facts(self) -> Facts:
        """Say how it runs, from a profile of one second."""
        graph = self._loaded()
        noise = np.random.default_rng(0).normal(0, 0.01, SAMPLE_RATE).astype(np.float32)
        return graph_facts(
            graph.session,
            graph.feeds([graph.prepare(noise)]),
            precision=self._spec.precision,
            features_in_model=not graph.takes_features,
            int8="int8" in self._spec.precision,
        )

    def recognise(self, samples: Waveform) -> Recognition:
        """Hear one utterance; what is shorter than a frame of features gives no text."""
        graph = self._loaded()
        begin = time.perf_counter()
        prepared = graph.prepare(samples)
        between = time.perf_counter()
        scores, (frames,) = graph.run([prepared])
        modelled = time.perf_counter()
        text = self._text(scores[0, :frames], len(samples))
        return Recognition(text, between - begin, modelled - between, time.perf_counter() - modelled)

    def recognise_batch(self, waveforms: Sequence[Waveform]) -> list[str]:
        """Hear several in one run of the graph."""
        graph = self._loaded()
        scores, counts = graph.run([graph.prepare(samples) for samples in waveforms])
        return [
            self._text(row[:frames], len(samples))
            for row, frames, samples in zip(scores, counts, waveforms, strict=True)
        ]

    def _text(self, scores_TV: Waveform, samples: int) -> str:
        if samples < HOP:
            return ""
        vocabulary = self._loaded().vocabulary
        return greedy(scores_TV, vocabulary).text(vocabulary)

    def _loaded(self) -> ExternalGraph:
        if self._graph is None:
            raise RuntimeError("load() comes first")
        return self._graph
