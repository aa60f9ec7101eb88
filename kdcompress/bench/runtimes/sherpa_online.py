"""sherpa-onnx's online recogniser as a candidate of the benchmark: profiles `streaming` and `telephone`.

S samples.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from kdcompress.aliases import FloatArray
from kdcompress.audio.utterance import SAMPLE_RATE
from kdcompress.bench.candidate import ModelSpec, Recognition
from kdcompress.report.measured import Facts

_HOP = SAMPLE_RATE // 100
# By profile, with the zeros [samples] that make its frames ours: those of NeMo's models lie 5 ms earlier.
OPENERS = {"streaming": ("from_nemo_ctc", _HOP // 2), "telephone": ("from_t_one_ctc", 0)}
_TAIL = 1.0  # [s] of silence: it decodes whole chunks only, and a student prints some frames late


class OnlineCandidate:
    """A streaming graph in sherpa-onnx, with the tokens.txt beside it."""

    batches = True

    def __init__(self, spec: ModelSpec) -> None:
        """Import the library; see `ModelSpec`."""
        import sherpa_onnx

        self._opener, self._lead = OPENERS[spec.layout]
        self._open: Any = getattr(sherpa_onnx.OnlineRecognizer, self._opener)
        self._recognizer: Any = None
        self._spec = spec
        self.bytes: int | None = Path(spec.graph).stat().st_size
        self.parameters: int | None = None
        properties = onnx.load(spec.graph, load_external_data=False).metadata_props
        metadata = {entry.key: entry.value for entry in properties}
        self.chunk_seconds: float | None = int(metadata["chunk_shift"]) * _HOP / SAMPLE_RATE

    def load(self) -> None:
        """Open the graph."""
        graph = Path(self._spec.graph)
        self._recognizer = self._open(
            model=str(graph),
            tokens=str(graph.parent / "tokens.txt"),
            num_threads=self._spec.threads,
            provider=self._spec.provider,
        )

    def facts(self) -> Facts:
        """Say how it was opened: sherpa-onnx does not tell what ran where."""
        from importlib import metadata

        return Facts(
            runtime=f"sherpa-onnx {metadata.version('sherpa-onnx')}",
            provider=self._spec.provider,
            threads=self._spec.threads,
            runtime_name="sherpa-onnx",
            options={
                "opened_by": f"OnlineRecognizer.{self._opener}",
                "num_threads": str(self._spec.threads),
                "provider": self._spec.provider,
                "decoding_method": "greedy_search",
                "lead": f"{1000 * self._lead // SAMPLE_RATE} ms of silence",
                "tail": f"{_TAIL:g} s of silence",
            },
            precision=self._spec.precision,
        )

    def recognise(self, waveforms: Sequence[FloatArray]) -> Recognition:
        """Decode whole utterances; the model's time contains the CTC decoding."""
        begin = time.perf_counter()
        streams = self.open_streams(len(waveforms))
        for index, samples in enumerate(waveforms):
            streams.push(index, np.pad(samples, (0, round(_TAIL * SAMPLE_RATE))))
        fed = time.perf_counter()
        streams.advance()
        texts = tuple(streams.text(index) for index in range(len(waveforms)))
        return Recognition(texts, fed - begin, time.perf_counter() - fed)

    def open_streams(self, count: int) -> "OnlineStreams":
        """Return so many streams at their beginning."""
        return OnlineStreams(self._recognizer, count, self._lead)


class OnlineStreams:
    """Streams of one recogniser; see `kdcompress.bench.streaming.LiveStreams`."""

    def __init__(self, recognizer: Any, count: int, lead: int) -> None:
        self._recognizer = recognizer
        self._streams = [recognizer.create_stream() for _ in range(count)]
        for stream in self._streams:
            stream.accept_waveform(SAMPLE_RATE, np.zeros(lead, np.float32))

    def push(self, stream: int, samples: FloatArray) -> None:
        """Give samples [S] to one of them; it computes the features here."""
        self._streams[stream].accept_waveform(SAMPLE_RATE, samples)

    def advance(self) -> None:
        """Decode all chunks that are whole, those of several streams in one call."""
        while ready := [stream for stream in self._streams if self._recognizer.is_ready(stream)]:
            self._recognizer.decode_streams(ready)

    def text(self, stream: int) -> str:
        """Return what one of them has printed so far."""
        return " ".join(str(self._recognizer.get_result(self._streams[stream])).split())
