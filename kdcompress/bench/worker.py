"""The process in which one candidate runs: it hears what it is sent and answers with texts and times.

Requests come on standard input: a line of JSON, behind it the samples that it announces. Answers are lines
of JSON on what was standard output; what a library prints goes to standard error. It ends with its input.
"""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import IO, Any, Protocol, runtime_checkable

import numpy as np

from kdcompress.bench.block_timing import listen, one_line, takes_batches, time_block
from kdcompress.bench.candidate import Candidate, Waveform
from kdcompress.bench.memory import gpu_bytes, peak_rss_bytes, rss_bytes
from kdcompress.bench.spec import ModelSpec
from kdcompress.bench.timing import Clock
from kdcompress.report.measured import Memory


@runtime_checkable
class CountsGpuMemory(Protocol):
    """A candidate that knows how much of the GPU's memory it took."""

    def gpu_bytes(self) -> int | None:
        """Return the most that it has held; None on the CPU."""
        ...


class Service:
    """Does what a request says.

    Args:
        build: makes the candidate; imports its libraries, so that loading is loading.
    """

    def __init__(self, build: Callable[[ModelSpec], Candidate]) -> None:
        self._build = build
        self._candidate: Candidate | None = None
        self._provider = "cpu"
        self._before: int | None = None
        self._model_rss: int | None = None

    def answer(self, request: dict[str, Any], waveforms: list[Waveform]) -> dict[str, Any]:
        """Return plain data; raises what the candidate raises."""
        match request["do"]:
            case "load":
                return self._load(ModelSpec.from_json(request["spec"]))
            case "facts":
                return asdict(self._loaded().facts())
            case "listen":
                heard = asdict(listen(self._loaded(), waveforms[0]))
                if self._model_rss is None:
                    self._model_rss = _grown(self._before, rss_bytes())
                return heard
            case "turn":
                groups, at = [], 0
                for size in request["groups"]:
                    groups.append(waveforms[at : at + size])
                    at += size
                return asdict(time_block(self._loaded(), groups))
            case "memory":
                return asdict(Memory(peak_rss_bytes(), self._model_rss, self._gpu_bytes()))
        raise ValueError(f"no such request: {request['do']}")

    def _load(self, spec: ModelSpec) -> dict[str, Any]:
        self._provider = spec.provider
        self._candidate = self._build(spec)
        self._before = rss_bytes()
        with Clock() as clock:
            self._candidate.load()
        return {
            "seconds": clock.wall,
            "bytes": self._candidate.bytes,
            "parameters": self._candidate.parameters,
            "batches": takes_batches(self._candidate),
        }

    def _gpu_bytes(self) -> int | None:
        candidate: object = self._candidate
        if isinstance(candidate, CountsGpuMemory):
            return candidate.gpu_bytes()
        return gpu_bytes() if self._provider == "cuda" else None

    def _loaded(self) -> Candidate:
        if self._candidate is None:
            raise RuntimeError("load comes first")
        return self._candidate


def serve(build: Callable[[ModelSpec], Candidate]) -> None:
    """Answer requests until there are no more."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    service = Service(build)
    requests = sys.stdin.buffer
    for line in requests:
        request = json.loads(line)
        waveforms = [_samples(requests, size) for size in request.get("samples", ())]
        answer: dict[str, Any]
        try:
            answer = {"answer": service.answer(request, waveforms)}
        except Exception as error:  # a finding about the candidate, told by the process that asked
            answer = {"error": one_line(error)}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _samples(stream: IO[bytes], size: int) -> Waveform:
    samples: Waveform = np.frombuffer(stream.read(4 * size), np.float32).copy()
    return samples


def _grown(before: int | None, after: int | None) -> int | None:
    return None if before is None or after is None else max(after - before, 0)


def main() -> None:
    """Serve the runtimes that need no torch."""
    from kdcompress.bench.runtimes import build

    serve(build)


if __name__ == "__main__":
    main()
