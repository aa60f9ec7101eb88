"""sherpa-onnx as a candidate of the benchmark.

It ends the process on a graph that it cannot run: measure it in a process of its own.

S samples.
"""

import time
from collections.abc import Sequence
from importlib import metadata, util
from pathlib import Path
from typing import Any

import numpy as np

from kdcompress.aliases import FloatArray
from kdcompress.audio.utterance import SAMPLE_RATE
from kdcompress.bench.candidate import Candidate, ModelSpec, Recognition
from kdcompress.bench.facts import INT8_ON_CUDA
from kdcompress.bench.models import Model, layout_refusal
from kdcompress.bench.runtimes.sherpa_online import OPENERS, OnlineCandidate
from kdcompress.errors import BenchError
from kdcompress.report.measured import Facts

_OPENERS = {
    "portable": "from_nemo_ctc",
    "waveform": "from_omnilingual_asr_ctc",
    "kaldi": "from_zipformer_ctc",
}
_HOP = SAMPLE_RATE // 100


LIBRARY = "sherpa_onnx"


def build(spec: ModelSpec) -> Candidate:
    """Return the candidate of a graph."""
    return OnlineCandidate(spec) if spec.layout in OPENERS else SherpaCandidate(spec)


def refusal(model: Model) -> str | None:
    """Say why a model does not run here; None where it does."""
    return layout_refusal(model, "sherpa-onnx", tokens="tokens.txt")


class SherpaCandidate:
    """A graph in sherpa-onnx, with the tokens.txt beside it."""

    batches = True

    def __init__(self, spec: ModelSpec) -> None:
        """Import the library; see `ModelSpec`."""
        import sherpa_onnx

        self._open: Any = getattr(sherpa_onnx.OfflineRecognizer, _OPENERS[spec.layout])
        self._recognizer: Any = None
        self._spec = spec
        self.bytes: int | None = Path(spec.graph).stat().st_size
        self.parameters: int | None = None

    def load(self) -> None:
        """Open the graph.

        Raises:
            BenchError: this sherpa-onnx was built without CUDA, and would take the CPU without a word.
        """
        if self._spec.provider == "cuda" and not _has_cuda():
            raise BenchError(
                f"this sherpa-onnx {_version()} has no CUDA: install a +cuda build of it, or choose the "
                "provider cpu"
            )
        graph = Path(self._spec.graph)
        self._recognizer = self._open(
            model=str(graph),
            tokens=str(graph.parent / "tokens.txt"),
            num_threads=self._spec.threads,
            provider=self._spec.provider,
        )

    def facts(self) -> Facts:
        """Say how it was opened: sherpa-onnx does not tell what ran where."""
        lead = {"lead": "5 ms of silence"} if self._spec.layout == "portable" else {}
        notes = []
        if self._spec.provider == "cuda":
            notes.append("sherpa-onnx does not tell which nodes ran on CUDA")
            notes += [INT8_ON_CUDA] if "int8" in self._spec.precision else []
        return Facts(
            runtime=f"sherpa-onnx {_version()}",
            provider=self._spec.provider,
            threads=self._spec.threads,
            features_in_model=self._spec.layout == "waveform",
            notes=tuple(notes),
            runtime_name="sherpa-onnx",
            options={
                "opened_by": _OPENERS[self._spec.layout],
                "num_threads": str(self._spec.threads),
                "provider": self._spec.provider,
                "decoding_method": "greedy_search",
                **lead,
            },
            precision=self._spec.precision,
        )

    def recognise(self, waveforms: Sequence[FloatArray]) -> Recognition:
        """Decode; the model's time contains the CTC decoding."""
        begin = time.perf_counter()
        streams = [self._stream(samples) for samples in waveforms]
        fed = time.perf_counter()
        if len(streams) == 1:
            self._recognizer.decode_stream(streams[0])
        else:
            self._recognizer.decode_streams(streams)
        return Recognition(tuple(map(_text, streams)), fed - begin, time.perf_counter() - fed)

    def _stream(self, samples: FloatArray) -> Any:
        stream = self._recognizer.create_stream()
        if self._spec.layout == "portable":
            # Its frames lie 5 ms later than those that NeMo's models learn from, and it counts a begun hop as
            # a frame: so much silence, and up to a hop less at the end, make them the same frames.
            whole = samples[: max(0, len(samples) // _HOP * _HOP - 1)]
            samples = np.concatenate([np.zeros(_HOP // 2, np.float32), whole])
        stream.accept_waveform(SAMPLE_RATE, samples)
        return stream


def _text(stream: Any) -> str:
    return " ".join(str(stream.result.text).split())


def _version() -> str:
    return metadata.version("sherpa-onnx")


def _has_cuda() -> bool:
    found = util.find_spec("sherpa_onnx")
    folders = found.submodule_search_locations if found else None
    return any(any(Path(folder).rglob("*onnxruntime_providers_cuda*")) for folder in folders or ())
