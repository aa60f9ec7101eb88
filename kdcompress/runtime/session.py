"""An onnxruntime session that runs on the provider that was asked for, or not at all.

B batch, T feature frames, F mel bands, T' output frames, V vocabulary.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import onnxruntime

from kdcompress.aliases import FloatArray, IntArray
from kdcompress.cores import available_cores
from kdcompress.errors import BundleError, ConfigError
from kdcompress.runtime.graph_file import check_graph
from kdcompress.runtime.layout import layout_of

if TYPE_CHECKING:
    from kdcompress.runtime.placement import NodeRun

Provider: TypeAlias = Literal["cpu", "cuda"]

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_ERRORS_ONLY, _FATAL_ONLY = 3, 4  # onnxruntime's severity: 0 verbose, 1 info, 2 warning, 3 error, 4 fatal
_TOO_LARGE = re.compile(r"allocate memory for requested buffer of size (\d+)")


class GraphSession:
    """Any graph, loaded.

    Attributes:
        graph: the file.
        provider: the execution provider asked for, which is the session's first one.
        threads: within one operator; operators run one after the other.
        session: onnxruntime's own.
        device: `cpu` or `cuda`, where the provider computes.
        bound: whether inputs and outputs are bound to the device; on CUDA unless set otherwise.
        same_lengths: whether the graph is run on inputs of the same few shapes, again and again.

    Raises:
        ConfigError: this onnxruntime has no such provider, or the number of threads is below 1.
        BundleError: the file is no graph that can be loaded, or onnxruntime fell back to another provider.
    """

    def __init__(
        self,
        graph: Path,
        provider: Provider = "cpu",
        threads: int | None = None,
        *,
        same_lengths: bool = False,
    ) -> None:
        self.graph = graph
        self.same_lengths = same_lengths
        self.provider = _provider_name(provider)
        self.threads = available_cores() if threads is None else threads
        if self.threads < 1:
            raise ConfigError(f"threads must be 1 or more, found {threads}")
        self.device = provider
        self.bound = provider != "cpu"
        self.session = self._open(self._options())
        self._run_options = onnxruntime.RunOptions()
        self._run_options.log_severity_level = _FATAL_ONLY  # what it would print, its exceptions say
        if self.providers[0] != self.provider:
            raise BundleError(
                f"asked for {self.provider}, but onnxruntime fell back to {self.providers[0]}: check the "
                "CUDA and cuDNN libraries that onnxruntime-gpu needs (see: kdcompress doctor), or choose the "
                "provider cpu"
            )

    @property
    def options(self) -> dict[str, str]:
        """The options of onnxruntime that bear on speed and memory, by its own names."""
        chosen = self.session.get_session_options()
        return {
            "graph_optimization_level": chosen.graph_optimization_level.name,
            "execution_mode": chosen.execution_mode.name,
            "intra_op_num_threads": str(chosen.intra_op_num_threads),
            "inter_op_num_threads": str(chosen.inter_op_num_threads),
            "enable_mem_pattern": str(chosen.enable_mem_pattern).lower(),
            "enable_cpu_mem_arena": str(chosen.enable_cpu_mem_arena).lower(),
        }

    @property
    def providers(self) -> tuple[str, ...]:
        """The providers that the session registered, by priority; a node may run on any of them."""
        return tuple(self.session.get_providers())

    def ask(self, feeds: Mapping[str, Any], outputs: Sequence[str]) -> list[Any]:
        """Run the graph on arrays by name; returns the named outputs, when they are there.

        Raises:
            BundleError: onnxruntime cannot run it on these.
        """
        try:
            if self.bound:
                return run_bound(self.session, self.device, feeds, outputs)
            answers: list[Any] = self.session.run(list(outputs), dict(feeds), self._run_options)
            return answers
        # onnxruntime's own exceptions share no base class but Exception.
        except Exception as error:
            shapes = ", ".join(f"{name} {list(np.shape(value))}" for name, value in feeds.items())
            raise BundleError(f"{self.graph} cannot be run on {shapes}: {_reason(error)}") from error

    def place(self, feeds: Mapping[str, Any]) -> "list[NodeRun]":
        """Find out what every node really runs on, from a profile of one run.

        Loads the graph a second time: profiling cannot be switched on later, and would slow every run.
        """
        import tempfile  # not above: only a benchmark asks

        from kdcompress.runtime.placement import node_runs

        with tempfile.TemporaryDirectory(prefix="kdcompress-") as folder:
            options = self._options()
            options.enable_profiling = True
            options.profile_file_prefix = str(Path(folder) / "profile")
            session = self._open(options)
            session.run(None, dict(feeds))
            events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
        return node_runs(events)

    def _options(self) -> onnxruntime.SessionOptions:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        # It plans memory for every length that it meets, which pays from the second time on only.
        options.enable_mem_pattern = self.same_lengths
        options.log_severity_level = _ERRORS_ONLY
        return options

    def _open(self, options: onnxruntime.SessionOptions) -> onnxruntime.InferenceSession:
        try:
            return onnxruntime.InferenceSession(str(self.graph), options, providers=self._asked())
        # onnxruntime's own exceptions share no base class but Exception.
        except Exception as error:
            raise BundleError(f"{self.graph} cannot be loaded by onnxruntime: {_reason(error)}") from error

    def _asked(self) -> list[str]:
        # CPU after CUDA lets onnxruntime put shape arithmetic there; `place` says which node is where.
        return list(dict.fromkeys([self.provider, _PROVIDERS["cpu"]]))


class Session(GraphSession):
    """A graph of one of our profiles, loaded; see `GraphSession` for the other attributes.

    Attributes:
        layout: how it is fed.
        metadata: of the graph.

    Raises:
        ConfigError: as for `GraphSession`.
        BundleError: as for `GraphSession`, or the graph has other inputs and outputs.
    """

    def __init__(
        self,
        graph: Path,
        provider: Provider = "cpu",
        threads: int | None = None,
        *,
        same_lengths: bool = False,
    ) -> None:
        check_graph(graph)
        super().__init__(graph, provider, threads, same_lengths=same_lengths)
        self.metadata: Mapping[str, str] = self.session.get_modelmeta().custom_metadata_map
        inputs = [i.name for i in self.session.get_inputs()]
        outputs = [o.name for o in self.session.get_outputs()]
        self.layout = layout_of(graph, inputs, outputs, self.metadata)

    def run(self, features: FloatArray, lengths: IntArray) -> tuple[FloatArray, IntArray]:
        """Map features [B, T, F] and lengths [B] to log posteriors [B, T', V] and lengths [B].

        A graph that takes waveforms is given them as hops [B, T, 160], with zeros after their ends.
        """
        outputs = self.ask(self.layout.feeds(features, lengths), self.layout.outputs)
        return self.layout.answer(outputs, lengths, self.metadata)

    def node_providers(self, features: FloatArray, lengths: IntArray) -> dict[str, int]:
        """Count the nodes that each provider really ran; see `place`."""
        return dict(Counter(node.provider for node in self.place(self.layout.feeds(features, lengths))))


def _reason(error: Exception) -> str:
    text = str(error).strip()
    if too_large := _TOO_LARGE.search(text):
        size = int(too_large[1]) / 1e9
        return f"it asks for {size:.1f} GB of memory at once; --chunk-seconds 15 takes less"
    return text.splitlines()[0] if text else repr(error)


def _provider_name(provider: str) -> str:
    if provider not in _PROVIDERS:
        raise ConfigError(f"no provider {provider!r}; there are {', '.join(_PROVIDERS)}")
    name = _PROVIDERS[provider]
    available = onnxruntime.get_available_providers()
    if name not in available:
        raise ConfigError(
            f"this onnxruntime {onnxruntime.__version__} has no {name} (it has {', '.join(available)}): "
            "pip uninstall onnxruntime && pip install onnxruntime-gpu, or choose the provider cpu; "
            "see: kdcompress doctor"
        )
    return name


def run_bound(
    session: onnxruntime.InferenceSession, device: str, feeds: Mapping[str, Any], outputs: Sequence[str]
) -> list[Any]:
    """Run a graph once and return the named outputs, copied to the host.

    Numbers are copied to the device before the run and results after it, once each, and it is over when this
    returns: a clock around it measures the device's work, not how fast it was asked. Indices, such as
    lengths, stay on the host, which is where onnxruntime computes with them.

    Args:
        session: on whose provider's device the numbers are put.
        device: `cpu` or `cuda`, the first of its kind.
        feeds: arrays by the names of the inputs.
        outputs: their names.
    """
    binding = session.io_binding()
    for name, value in feeds.items():
        array = np.ascontiguousarray(value)
        if array.dtype.kind == "f":
            binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(array, device, 0))
        else:
            binding.bind_cpu_input(name, array)
    for name in outputs:
        binding.bind_output(name, device, 0)
    binding.synchronize_inputs()
    session.run_with_iobinding(binding)
    binding.synchronize_outputs()
    answers: list[Any] = binding.copy_outputs_to_cpu()
    return answers
