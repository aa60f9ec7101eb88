"""The runtimes that need no torch, and whether their libraries are installed."""

from collections.abc import Sequence
from importlib import util

from kdcompress.bench.candidate import BundleCandidate, Candidate
from kdcompress.bench.spec import ModelSpec, RuntimeName
from kdcompress.errors import MissingExtra
from kdcompress.runtime.bundle import open_bundle

_MODULES: dict[RuntimeName, str] = {"sherpa-onnx": "sherpa_onnx", "onnx-asr": "onnx_asr"}
_EXTRA = "runtimes"


def build(spec: ModelSpec) -> Candidate:
    """Make the candidate of a model in a runtime without torch; imports the runtime's library.

    Raises:
        MissingExtra: the runtime is not installed.
        BundleError: the model is not what it was.
    """
    # Each imports only its own libraries: they count as memory of the process.
    check_installed([spec.runtime])
    if spec.runtime == "sherpa-onnx":
        from kdcompress.bench.sherpa import SherpaCandidate

        return SherpaCandidate(spec)
    if spec.runtime == "onnx-asr":
        from kdcompress.bench.onnx_asr import OnnxAsrCandidate

        return OnnxAsrCandidate(spec)
    if spec.variant is None:
        from kdcompress.bench.external import ExternalCandidate

        return ExternalCandidate(spec)
    return BundleCandidate(open_bundle(spec.path), spec.variant, spec.provider, spec.threads, spec.name)


def check_installed(runtimes: Sequence[RuntimeName]) -> None:
    """Find out whether the libraries are there, without importing them.

    Raises:
        MissingExtra: one of them is not.
    """
    for runtime in runtimes:
        module = _MODULES.get(runtime)
        if module is not None and util.find_spec(module) is None:
            raise MissingExtra(runtime, _EXTRA, f"--runtime {runtime}")
