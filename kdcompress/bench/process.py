"""A candidate in a process of its own: its memory is its own, and its crash takes nobody along."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

import kdcompress
from kdcompress.bench.affinity import pinned
from kdcompress.bench.block_timing import BlockTiming, Group, TimedCall
from kdcompress.bench.candidate import Recognition, Waveform
from kdcompress.bench.spec import ModelSpec
from kdcompress.errors import BenchError
from kdcompress.report.measured import Facts, Memory

WORKER = "kdcompress.bench.worker"

# numpy's matrix products choose their threads when numpy is first imported.
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
_PATIENCE = 10.0  # [s] for a process to end by itself


class ProcessCandidate:
    """A candidate that is built, loaded and timed in another process.

    Attributes:
        load_seconds: as measured there; the runtime's library was imported before.
        batches: whether it can hear several utterances at once; known once it is loaded.
        cores: that the process keeps to, set before it is loaded; None leaves the choice to the system.
    """

    def __init__(
        self,
        spec: ModelSpec,
        worker: str = WORKER,
        size: int | None = None,
        parameters: int | None = None,
    ) -> None:
        """Plan a process; nothing is started before `load`.

        Args:
            spec: what is measured.
            worker: the module that serves it.
            size: of what must be shipped [bytes], where it is known beforehand.
            parameters: their number, likewise.
        """
        self.spec = spec
        self.name = spec.name
        self.bytes = size
        self.parameters = parameters
        self.load_seconds = 0.0
        self.batches = False
        self.cores: Sequence[int] | None = None
        self._worker = worker
        self._process: subprocess.Popen[bytes] | None = None
        self._errors: IO[bytes] | None = None

    def load(self) -> None:
        """Start the process and open the model there.

        Raises:
            BenchError: it cannot be opened, or the process ended.
        """
        self._start()
        answer = self._ask({"do": "load", "spec": self.spec.to_json()})
        self.load_seconds = answer["seconds"]
        self.bytes = answer["bytes"] if self.bytes is None else self.bytes
        self.parameters = answer["parameters"] if self.parameters is None else self.parameters
        self.batches = answer["batches"]

    def facts(self) -> Facts:
        """Ask how it really runs."""
        answer = self._ask({"do": "facts"})
        return Facts(**{**answer, "notes": tuple(answer["notes"])})

    def listen(self, waveform: Waveform) -> TimedCall:
        """Hear one utterance; the clock is in the other process."""
        return _timed(self._ask({"do": "listen"}, [waveform]))

    def recognise(self, samples: Waveform) -> Recognition:
        """Hear one utterance."""
        heard = self.listen(samples)
        return Recognition(heard.texts[0], heard.features, heard.model, heard.decoding)

    def recognise_batch(self, waveforms: Sequence[Waveform]) -> list[str]:
        """Hear several utterances at once."""
        turn = self.time_block([waveforms])
        if turn.failed:
            raise BenchError(turn.failed[1])
        return list(turn.calls[0].texts)

    def time_block(self, groups: Sequence[Group]) -> BlockTiming:
        """Hear groups in a row; of a process that ends meanwhile nobody knows at which."""
        waveforms = [waveform for group in groups for waveform in group]
        try:
            answer = self._ask({"do": "turn", "groups": [len(group) for group in groups]}, waveforms)
        except BenchError as error:
            return BlockTiming((), (None, str(error)))
        failed = answer["failed"]
        calls = tuple(_timed(call) for call in answer["calls"])
        return BlockTiming(calls, (failed[0], failed[1]) if failed else None)

    def memory(self) -> Memory:
        """Ask how much memory it has taken so far."""
        return Memory(**self._ask({"do": "memory"}))

    def with_threads(self, threads: int) -> "ProcessCandidate":
        """Return another process for the same model, not yet started."""
        other = ProcessCandidate(self.spec.with_threads(threads), self._worker, self.bytes, self.parameters)
        other.cores = self.cores
        return other

    def close(self) -> None:
        """End the process; it need not have been started."""
        process, self._process = self._process, None
        if process is None:
            return
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:  # what was still to be written cannot reach a process that has ended
                    continue
        try:
            process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if self._errors is not None:
            self._errors.close()

    def _start(self) -> None:
        self.close()
        # A file, not a pipe: nobody reads it meanwhile, and a runtime that prints a lot would wait for ever.
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  # closed with the process
        # The new process and all its threads inherit the cores; this one draws progress bars, elsewhere.
        with pinned(self.cores):
            self._process = subprocess.Popen(
                [sys.executable, "-m", self._worker],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env=_environment(self.spec.threads),
            )

    def _ask(self, request: dict[str, Any], waveforms: Sequence[Waveform] = ()) -> Any:
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            raise RuntimeError("load() comes first")
        samples = [np.ascontiguousarray(waveform, np.float32) for waveform in waveforms]
        message = json.dumps({**request, "samples": [len(waveform) for waveform in samples]})
        try:
            process.stdin.write(message.encode() + b"\n")
            for waveform in samples:
                process.stdin.write(waveform.data)
            process.stdin.flush()
            line = process.stdout.readline()
        except OSError:
            line = b""
        if not line.endswith(b"\n"):
            raise BenchError(self._how_it_ended(process))
        answer = json.loads(line)
        if "error" in answer:
            raise BenchError(answer["error"])
        return answer["answer"]

    def _how_it_ended(self, process: "subprocess.Popen[bytes]") -> str:
        try:
            code = process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        how = f"with exit code {code}" if code >= 0 else f"by {_signal(-code)}"
        said = ""
        if self._errors is not None:
            self._errors.seek(0)
            lines = self._errors.read().decode(errors="replace").strip().splitlines()
            said = f": {lines[-1].strip()[:300]}" if lines else ""
        return f"its process ended {how}{said}"


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


def _timed(call: Mapping[str, Any]) -> TimedCall:
    return TimedCall(**{**call, "texts": tuple(call["texts"])})


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
