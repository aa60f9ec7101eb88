"""onnx-asr as a candidate of the benchmark.

S samples.
"""

import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from kdcompress.aliases import FloatArray
from kdcompress.audio.utterance import SAMPLE_RATE
from kdcompress.bench.candidate import Candidate, ModelSpec, Recognition
from kdcompress.bench.facts import INT8_ON_CUDA
from kdcompress.bench.models import Model, layout_refusal
from kdcompress.errors import BenchError
from kdcompress.report.measured import Facts

_TYPE = "nemo-conformer-ctc"
_PROVIDERS = {
    "cpu": ["CPUExecutionProvider"],
    "cuda": ["CUDAExecutionProvider", "CPUExecutionProvider"],
}


LIBRARY = "onnx_asr"


def build(spec: ModelSpec) -> Candidate:
    """Return the candidate of a graph."""
    return OnnxAsrCandidate(spec)


def refusal(model: Model) -> str | None:
    """Say why a model does not run here; None where it does."""
    if reason := layout_refusal(model, "onnx-asr", tokens="vocab.txt"):
        return reason
    if not model.graph.name.startswith("model."):
        return f"its graph is called {model.graph.name}, and onnx-asr looks for model.onnx"
    return None


class OnnxAsrCandidate:
    """A graph in onnx-asr, with the vocab.txt and config.json beside it."""

    batches = True

    def __init__(self, spec: ModelSpec) -> None:
        """Import the library; see `ModelSpec`."""
        import onnx_asr

        self._load: Any = onnx_asr.load_model
        self._model: Any = None
        self._spec = spec
        self.bytes: int | None = Path(spec.graph).stat().st_size
        self.parameters: int | None = None

    def load(self) -> None:
        """Open the graph with as many threads as were asked for.

        Raises:
            BenchError: this onnxruntime has no CUDA.
        """
        import onnxruntime

        wanted = _PROVIDERS[self._spec.provider]
        if wanted[0] not in onnxruntime.get_available_providers():
            raise BenchError(
                f"this onnxruntime {onnxruntime.__version__} has no {wanted[0]}: install onnxruntime-gpu, or "
                "choose the provider cpu"
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._spec.threads
        options.inter_op_num_threads = 1
        graph = Path(self._spec.graph)
        self._model = self._load(
            _TYPE, graph.parent, quantization=quantization(graph), sess_options=options, providers=wanted
        )

    def facts(self) -> Facts:
        """Say how it was opened, and on CUDA where the same graph's nodes run in a session of ours."""
        import onnxruntime

        on_cuda = self._spec.provider == "cuda"
        nodes, fallback = self._placement() if on_cuda else ({}, {})
        return Facts(
            runtime=f"onnx-asr {metadata.version('onnx-asr')}, onnxruntime {onnxruntime.__version__}",
            provider=self._spec.provider,
            threads=self._spec.threads,
            nodes=nodes,
            features_in_model=True,
            notes=(INT8_ON_CUDA,) if on_cuda and "int8" in self._spec.precision else (),
            runtime_name="onnx-asr",
            options={
                "type": _TYPE,
                "intra_op_num_threads": str(self._spec.threads),
                "inter_op_num_threads": "1",
            },
            precision=self._spec.precision,
            fallback=fallback,
        )

    def recognise(self, waveforms: Sequence[FloatArray]) -> Recognition:
        """Decode; the model's time is all of it, since onnx-asr does not time its parts."""
        begin = time.perf_counter()
        if len(waveforms) == 1:
            found = [self._model.recognize(waveforms[0], sample_rate=SAMPLE_RATE)]
        else:
            found = self._model.recognize(list(waveforms), sample_rate=SAMPLE_RATE)
        texts = tuple(" ".join(str(text).split()) for text in found)
        return Recognition(texts, 0.0, time.perf_counter() - begin)

    def _placement(self) -> tuple[dict[str, int], dict[str, int]]:
        from collections import Counter

        from kdcompress.runtime.placement import fallen_back
        from kdcompress.runtime.session import GraphSession

        session = GraphSession(Path(self._spec.graph), "cuda", self._spec.threads)
        features = np.zeros((1, 80, 100), np.float32)
        nodes = session.place({"audio_signal": features, "length": np.array([100], np.int64)})
        return dict(Counter(node.provider for node in nodes)), fallen_back(nodes, session.provider)


def quantization(graph: Path) -> str | None:
    """Return what onnx-asr calls the quantization of a graph: of model.int8.onnx int8, of model.onnx none."""
    parts = graph.name.split(".")
    return ".".join(parts[1:-1]) or None
