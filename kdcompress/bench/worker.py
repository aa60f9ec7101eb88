"""The process in which one candidate runs: it decodes what it is sent and answers with texts and times.

Requests come on standard input: a line of JSON, behind it the samples that it announces. Answers are lines
of JSON on what was standard output; what a library prints goes to standard error. It ends with its input.
"""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from importlib import import_module
from itertools import pairwise
from typing import IO, Any

import numpy as np

from kdcompress.aliases import FloatArray
from kdcompress.bench.candidate import Candidate, CountsGpuMemory, ModelSpec
from kdcompress.bench.machine import gpu_bytes, peak_rss_bytes, rss_bytes
from kdcompress.bench.timing import Clock, one_line, time_block, time_call
from kdcompress.report.measured import Memory


class Service:
    """Does what a request says."""

    def __init__(self) -> None:
        self._candidate: Candidate | None = None
        self._provider = "cpu"
        self._before = 0
        self._model_rss: int | None = None

    def ask(self, request: dict[str, Any], waveforms: Sequence[FloatArray]) -> Any:
        """Return plain data; raises what the candidate raises."""
        match request["do"]:
            case "load":
                return self._load(ModelSpec(**request["spec"]))
            case "facts":
                return self._loaded().facts().model_dump(mode="json")
            case "call":
                call = asdict(time_call(self._loaded(), waveforms))
                if self._model_rss is None:
                    self._model_rss = max(rss_bytes() - self._before, 0)
                return call
            case "block":
                ends = np.cumsum([0, *request["groups"]])
                groups = [waveforms[a:b] for a, b in pairwise(ends)]
                return asdict(time_block(self._loaded(), groups))
            case "streaming":
                return self._stream(request, waveforms)
            case "memory":
                return Memory(
                    peak_rss_bytes=peak_rss_bytes(),
                    model_rss_bytes=self._model_rss,
                    gpu_bytes=self._gpu_bytes(),
                ).model_dump()
        raise ValueError(f"no such request: {request['do']}")

    def _load(self, spec: ModelSpec) -> dict[str, Any]:
        self._provider = spec.provider
        # Imports the runtime's library, so that loading is loading.
        candidate: Candidate = import_module(spec.module).build(spec)
        self._before = rss_bytes()
        with Clock() as clock:
            candidate.load()
        self._candidate = candidate
        return {
            "seconds": clock.wall,
            "bytes": candidate.bytes,
            "parameters": candidate.parameters,
            "batches": candidate.batches,
        }

    def _stream(self, request: dict[str, Any], waveforms: Sequence[FloatArray]) -> Any:
        from kdcompress.bench import streaming  # not above: most benchmarks do without

        match request["what"]:
            case "chunk":
                return streaming.chunk_seconds(self._loaded())
            case "words":
                return streaming.spoken_words(self._loaded(), waveforms)
            case "shown":
                return streaming.shown_words(self._loaded(), waveforms)
            case "load":
                return streaming.time_load(self._loaded(), waveforms, request["count"])
        raise ValueError(f"no such measurement: {request['what']}")

    def _gpu_bytes(self) -> int | None:
        candidate: object = self._candidate
        if isinstance(candidate, CountsGpuMemory):
            return candidate.gpu_bytes()
        return gpu_bytes() if self._provider == "cuda" else None

    def _loaded(self) -> Candidate:
        if self._candidate is None:
            raise RuntimeError("load comes first")
        return self._candidate


def main() -> None:
    """Answer requests until there are no more."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    service = Service()
    requests = sys.stdin.buffer
    for line in requests:
        request = json.loads(line)
        waveforms = [_samples(requests, size) for size in request.get("samples", ())]
        answer: dict[str, Any]
        try:
            answer = {"answer": service.ask(request, waveforms)}
        except Exception as error:  # a finding about the candidate, reported by the process that asked
            answer = {"error": one_line(error)}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _samples(stream: IO[bytes], size: int) -> FloatArray:
    samples: FloatArray = np.frombuffer(stream.read(4 * size), np.float32).copy()
    return samples


if __name__ == "__main__":
    main()
