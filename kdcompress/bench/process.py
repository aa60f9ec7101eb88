"""A candidate in a process of its own: its memory is its own, and its crash takes nobody along."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import psutil

import kdcompress
from kdcompress.aliases import FloatArray
from kdcompress.bench.candidate import ModelSpec
from kdcompress.bench.timing import BlockTiming, TimedCall
from kdcompress.errors import BenchError
from kdcompress.report.measured import Facts, Memory

WORKER = "kdcompress.bench.worker"

# numpy's matrix products choose their threads when numpy is first imported.
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
_PATIENCE = 10.0  # [s] for a process to end by itself


class WorkerProcess:
    """A running worker and the pipes to it."""

    def __init__(self, threads: int, cores: Sequence[int] | None) -> None:
        """Start it.

        Args:
            threads: what the libraries there are told to use.
            cores: that it keeps to; None leaves the choice to the system.
        """
        # A file, not a pipe: nobody reads it meanwhile, and a runtime that prints a lot would wait for ever.
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  # closed with the process
        self._process = subprocess.Popen(
            [sys.executable, "-m", WORKER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=_environment(threads),
        )
        if cores is not None:
            # Before it has other threads: they inherit the cores.
            psutil.Process(self._process.pid).cpu_affinity(list(cores))

    def ask(self, request: dict[str, Any], waveforms: Sequence[FloatArray] = ()) -> Any:
        """Send a request and return its answer.

        Raises:
            BenchError: the candidate raised an error, or the process has ended.
        """
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None or stdin.closed:
            raise RuntimeError("the process was closed")
        samples = [np.ascontiguousarray(waveform, np.float32) for waveform in waveforms]
        message = json.dumps({**request, "samples": [len(waveform) for waveform in samples]})
        try:
            stdin.write(message.encode() + b"\n")
            for waveform in samples:
                stdin.write(waveform.data)
            stdin.flush()
            line = stdout.readline()
        except OSError:
            line = b""
        if not line.endswith(b"\n"):
            raise BenchError(self._how_it_ended())
        answer = json.loads(line)
        if "error" in answer:
            raise BenchError(answer["error"])
        return answer["answer"]

    def close(self) -> None:
        """End the process."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:  # what was still to be written cannot reach a process that has ended
                    continue
        self._exit_code()
        self._errors.close()

    def _exit_code(self) -> int:
        try:
            return self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def _how_it_ended(self) -> str:
        code = self._exit_code()
        how = f"with exit code {code}" if code >= 0 else f"by {_signal(-code)}"
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        printed = f": {lines[-1].strip()[:300]}" if lines else ""
        return f"its process ended {how}{printed}"


class Connection(Protocol):
    """What answers for a candidate; see `WorkerProcess`."""

    def ask(self, request: dict[str, Any], waveforms: Sequence[FloatArray] = (), /) -> Any: ...
    def close(self) -> None: ...


Connect: TypeAlias = Callable[[int, Sequence[int] | None], Connection]
"""Starts it, with a number of threads and the cores to keep to."""


class IsolatedCandidate:
    """A candidate that is built, loaded and timed in another process, where the clock is too.

    Attributes:
        load_seconds: as measured there; the runtime's library was imported before.
        batches: whether it takes several utterances at once; known once it is loaded.
        cores: that the process keeps to, set before it is loaded; None leaves the choice to the system.
    """

    def __init__(
        self,
        spec: ModelSpec,
        size: int | None = None,
        parameters: int | None = None,
        connect: Connect = WorkerProcess,
    ) -> None:
        """Plan a process; nothing is started before `load`.

        Args:
            spec: what is measured.
            size: of the graph with its weights [bytes], where it is known beforehand.
            parameters: their number, likewise.
            connect: starts the process.
        """
        self.spec = spec
        self.name = spec.name
        self.bytes = size
        self.parameters = parameters
        self.load_seconds = 0.0
        self.batches = False
        self.cores: Sequence[int] | None = None
        self._connect = connect
        self._connection: Connection | None = None

    def load(self) -> None:
        """Start the process and open the model there.

        Raises:
            BenchError: it cannot be opened, or the process ended.
        """
        self.close()
        self._connection = self._connect(self.spec.threads, self.cores)
        answer = self._ask({"do": "load", "spec": asdict(self.spec)})
        self.load_seconds = answer["seconds"]
        self.bytes = answer["bytes"] if self.bytes is None else self.bytes
        self.parameters = answer["parameters"] if self.parameters is None else self.parameters
        self.batches = answer["batches"]

    def facts(self) -> Facts:
        """Ask how it really runs."""
        return Facts.model_validate(self._ask({"do": "facts"}))

    def time_call(self, waveforms: Sequence[FloatArray]) -> TimedCall:
        """Decode one utterance, or a batch in one call."""
        return _timed(self._ask({"do": "call"}, waveforms))

    def time_block(self, groups: Sequence[Sequence[FloatArray]]) -> BlockTiming:
        """Decode groups in a row; of a process that ends meanwhile nobody knows at which."""
        waveforms = [waveform for group in groups for waveform in group]
        try:
            answer = self._ask({"do": "block", "groups": [len(group) for group in groups]}, waveforms)
        except BenchError as error:
            return BlockTiming((), (None, str(error)))
        failed = answer["failed"]
        calls = tuple(_timed(call) for call in answer["calls"])
        return BlockTiming(calls, (failed[0], failed[1]) if failed else None)

    def streaming(self, what: str, waveforms: Sequence[FloatArray] = (), count: int = 0) -> Any:
        """Ask for a measurement of `kdcompress.bench.streaming`: `chunk`, `words`, `shown` or `load`."""
        return self._ask({"do": "streaming", "what": what, "count": count}, waveforms)

    def memory(self) -> Memory:
        """Ask how much memory it has taken so far."""
        return Memory.model_validate(self._ask({"do": "memory"}))

    def with_threads(self, threads: int) -> "IsolatedCandidate":
        """Return another process for the same model, not yet started."""
        spec = replace(self.spec, threads=threads)
        other = IsolatedCandidate(spec, self.bytes, self.parameters, self._connect)
        other.cores = self.cores
        return other

    def close(self) -> None:
        """End the process; it need not have been started."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _ask(self, request: dict[str, Any], waveforms: Sequence[FloatArray] = ()) -> Any:
        if self._connection is None:
            raise RuntimeError("load() comes first")
        return self._connection.ask(request, waveforms)


def _timed(call: dict[str, Any]) -> TimedCall:
    return TimedCall(**{**call, "texts": tuple(call["texts"])})


def _environment(threads: int) -> Mapping[str, str]:
    # The checkout or installation that this process runs; the current folder must not hide a module.
    root = str(Path(kdcompress.__file__).parent.parent)
    paths = [root, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {
        **os.environ,
        **dict.fromkeys(THREAD_VARIABLES, str(threads)),
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONSAFEPATH": "1",
    }


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
