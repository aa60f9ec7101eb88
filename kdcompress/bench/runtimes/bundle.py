"""Our own runtime as a candidate of the benchmark: bundles, and ONNX models of any origin.

S samples.
"""

import time
from collections.abc import Sequence
from pathlib import Path

from kdcompress.aliases import FloatArray
from kdcompress.audio.utterance import SAMPLE_RATE
from kdcompress.bench.candidate import Candidate, ModelSpec, Recognition, noise
from kdcompress.bench.facts import graph_facts
from kdcompress.bench.models import Model
from kdcompress.errors import NumericsError
from kdcompress.frontend.logmel_numpy import HOP
from kdcompress.report.measured import Facts
from kdcompress.runtime.bundle import open_bundle
from kdcompress.runtime.external.files import find_files
from kdcompress.runtime.external.graph import ExternalGraph
from kdcompress.runtime.recognizer import Recognizer, pad
from kdcompress.runtime.streaming.utterances import Endpointing
from kdcompress.text.decode import greedy


def build(spec: ModelSpec) -> Candidate:
    """Return the candidate of a bundle's variant or of another graph.

    Raises:
        BundleError: the model is not what it was.
    """
    return ExternalCandidate(spec) if spec.variant is None else BundleCandidate(spec, spec.variant)


def refusal(model: Model) -> str | None:
    """Run everything."""
    return None


class BundleCandidate:
    """One variant of a bundle."""

    batches = True

    def __init__(self, spec: ModelSpec, variant: str) -> None:
        self._spec = spec
        self._bundle = open_bundle(spec.path)
        self._variant = self._bundle.variant(variant)
        self._recognizer: Recognizer | None = None
        self.bytes: int | None = self._variant.bytes
        self.parameters = self._bundle.parameters

    def load(self) -> None:
        """Create the session."""
        spec = self._spec
        self._recognizer = Recognizer(self._bundle, self._variant.name, spec.provider, spec.threads)

    def facts(self) -> Facts:
        """Say which provider ran how many nodes of a one-second run."""
        recognizer = self._loaded()
        session = recognizer.session
        batch = pad([recognizer.features(noise(1.0))])
        streaming = recognizer.streaming
        return graph_facts(
            session,
            streaming.feeds(next(streaming.windows(*batch))[0], streaming.initial())
            if streaming
            else session.layout.feeds(*batch),
            precision=self._variant.name,
            features_in_model=session.layout.takes_waveforms,
            int8="int8" in self._variant.name or "MatMulInteger" in self._variant.ops,
        )

    def recognise(self, waveforms: Sequence[FloatArray]) -> Recognition:
        """Run features, graph and CTC decoding; the parts of a batch are not timed apart."""
        if len(waveforms) > 1:
            found = self._loaded().transcribe_batch(waveforms)
            return Recognition(tuple(transcript.text for transcript in found))
        transcript = self._loaded().transcribe(waveforms[0])
        timings = transcript.timings
        return Recognition((transcript.text,), timings.features, timings.model, timings.decoding)

    @property
    def chunk_seconds(self) -> float | None:
        """Audio of a chunk [s]; None of a student that wants whole utterances."""
        streaming = self._loaded().streaming
        return streaming.shift * HOP / SAMPLE_RATE if streaming else None

    def open_streams(self, count: int) -> "PooledStreams":
        """Return so many streams at their beginning."""
        return PooledStreams(self._loaded(), count)

    def words(self, waveform: FloatArray) -> list[tuple[str, float, float]]:
        """Return the words of an utterance with the times of their spikes."""
        return [(word.text, word.start, word.end) for word in self._loaded().transcribe(waveform).words]

    def _loaded(self) -> Recognizer:
        if self._recognizer is None:
            raise RuntimeError("load() comes first")
        return self._recognizer


class PooledStreams:
    """Streams over one session; see `kdcompress.bench.streaming.LiveStreams`."""

    def __init__(self, recognizer: Recognizer, count: int) -> None:
        # Silence ends no text, as in sherpa-onnx unless asked for.
        self._pool = recognizer.pool(Endpointing(silence=0))
        self._streams = [self._pool.open() for _ in range(count)]
        self._final = dict.fromkeys(self._streams, "")
        self._partial = dict.fromkeys(self._streams, "")

    def push(self, stream: int, samples: FloatArray) -> None:
        """Give samples [S] to one of them."""
        self._streams[stream].push(samples)

    def advance(self) -> None:
        """Decode all chunks that are whole, those of several streams in one run."""
        for stream, result in self._pool.advance():
            if isinstance(result, NumericsError):
                raise result
            if result.final:
                self._final[stream] += result.text + " "
            self._partial[stream] = "" if result.final else result.text

    def text(self, stream: int) -> str:
        """Return what one of them has printed so far."""
        key = self._streams[stream]
        return (self._final[key] + self._partial[key]).strip()


class ExternalCandidate:
    """A graph with its vocabulary beside it, fed by us and decoded greedily."""

    def __init__(self, spec: ModelSpec) -> None:
        """Read the files beside the graph; see `ModelSpec`."""
        self._spec = spec
        self._files = find_files(Path(spec.graph))
        self._graph: ExternalGraph | None = None
        self.bytes: int | None = None  # known beforehand, with the weights that are kept outside the graph
        self.parameters: int | None = None

    @property
    def batches(self) -> bool:
        """Whether utterances of different length can share a run: where the graph takes lengths."""
        graph = self._loaded()
        return graph.tells_lengths and not graph.fixed_batch

    def load(self) -> None:
        """Create the session."""
        self._graph = ExternalGraph(self._spec.path, self._files, self._spec.provider, self._spec.threads)

    def facts(self) -> Facts:
        """Say how it runs, from a profile of one second."""
        graph = self._loaded()
        return graph_facts(
            graph.session,
            graph.feeds([graph.prepare(noise(1.0))]),
            precision=self._spec.precision,
            features_in_model=not graph.takes_features,
            int8="int8" in self._spec.precision,
        )

    def recognise(self, waveforms: Sequence[FloatArray]) -> Recognition:
        """Run features, graph and decoding; what is shorter than a frame of features gives no text."""
        graph = self._loaded()
        begin = time.perf_counter()
        prepared = [graph.prepare(samples) for samples in waveforms]
        between = time.perf_counter()
        scores, counts = graph.run(prepared)
        modelled = time.perf_counter()
        texts = tuple(
            greedy(row[:frames], graph.vocabulary).text(graph.vocabulary) if len(samples) >= HOP else ""
            for row, frames, samples in zip(scores, counts, waveforms, strict=True)
        )
        return Recognition(texts, between - begin, modelled - between, time.perf_counter() - modelled)

    def _loaded(self) -> ExternalGraph:
        if self._graph is None:
            raise RuntimeError("load() comes first")
        return self._graph
