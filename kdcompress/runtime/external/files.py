"""The files of an ONNX model of any origin: which graph, which vocabulary, what the graph wants to be fed."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import onnx

from kdcompress.audio.utterance import SAMPLE_RATE
from kdcompress.errors import BundleError
from kdcompress.frontend.logmel_numpy import BANDS
from kdcompress.runtime.bundle import FP32, Bundle, open_bundle
from kdcompress.runtime.bundle_files import FILE_NAME
from kdcompress.runtime.external.vocabulary import has_vocabulary, read_json, read_vocabulary
from kdcompress.runtime.identify import graphs_in
from kdcompress.text.vocabulary import Vocabulary

# The receptive field of wav2vec2 and its relatives [samples].
_SHORTEST_WAVEFORM = 400


@dataclass(frozen=True)
class OnnxFiles:
    """What lies on disk.

    Attributes:
        graph: the file to load.
        vocabulary: of its outputs.
        normalizes: whether a waveform must have zero mean and unit variance; features have their own rule,
            which the graph's metadata say.
        shortest: the fewest samples that a waveform must have.
        parameters: their number, where the files say so.
        assumed: what no file says and was assumed, for people; None where nothing was.
    """

    graph: Path
    vocabulary: Vocabulary
    normalizes: bool
    shortest: int
    parameters: int | None
    assumed: str | None = None


def find_files(
    path: Path, variant: str | None = None, normalize: bool | Literal["auto"] = "auto"
) -> OnnxFiles:
    """Read what a directory says about its graph.

    Args:
        path: the directory, or the graph in it. optimum's layout is known: graphs in onnx/, and what is said
            about them one folder up.
        variant: of a bundle; None takes fp32 where there is one.
        normalize: see `config.teacher.OnnxTeacher`.

    Raises:
        BundleError: there is no graph, or more than one, or no vocabulary; or it is a bundle with other files
            than it lists, or without the variant.
        VocabularyError: two ids have the same token.
    """
    path = path.expanduser()
    if not path.exists():
        raise BundleError(f"{path}: no such file or directory")
    folder = path if path.is_dir() else path.parent
    bundle = open_bundle(folder) if (folder / FILE_NAME).is_file() else None
    if variant is not None and bundle is None:
        raise BundleError(f"{path} is no bundle and has no variants: leave the variant out")
    about = folder
    if bundle is None and folder.name == "onnx" and not has_vocabulary(folder):
        about = folder.parent
    elif bundle is None and not has_vocabulary(folder) and has_vocabulary(folder / "onnx"):
        about = folder / "onnx"
    extractor = read_json(about / "preprocessor_config.json")
    rate = bundle.sample_rate if bundle else extractor.get("sampling_rate", SAMPLE_RATE)
    if rate != SAMPLE_RATE:
        raise BundleError(f"{path} takes audio at {rate} Hz; expected {SAMPLE_RATE} Hz: choose another")
    if bundle is not None:
        _check_features(bundle)
        graph = _bundle_graph(bundle, variant, path)
        # A bundle's graph does all that it needs itself.
        return OnnxFiles(graph, bundle.vocabulary, normalize is True, _shortest(folder), bundle.parameters)
    assumed = None
    if normalize == "auto":
        # Most models of this kind were trained on normalised waveforms.
        normalize = bool(extractor.get("do_normalize", True))
        if "do_normalize" not in extractor:
            assumed = (
                f"{path} does not say whether its waveforms are normalised (no preprocessor_config.json): "
                "assumed so, as for wav2vec2; otherwise set teacher.normalize=false"
            )
    graph = path if path.is_file() else _only_graph(folder)
    return OnnxFiles(graph, read_vocabulary(about), normalize, _shortest(about), None, assumed)


def measure_graph(graph: Path) -> tuple[str, int]:
    """Hash a graph with its weights, and count these.

    The count is of the elements of its initializers; packed 4-bit weights count as the bytes they are.
    """
    model = onnx.load(str(graph), load_external_data=False)
    tensors = [t for t in model.graph.initializer if t.data_type != onnx.TensorProto.INT64]
    elsewhere = {
        entry.value for t in model.graph.initializer for entry in t.external_data if entry.key == "location"
    }
    digest = hashlib.sha256()
    for path in (graph, *(graph.parent / name for name in sorted(elsewhere))):
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest(), sum(math.prod(t.dims) for t in tensors)


def receptive_field(kernels: Sequence[int], strides: Sequence[int], frames: int = 1) -> int:
    """Return the fewest samples from which a stack of convolutions makes so many frames."""
    samples = frames
    for kernel, stride in zip(reversed(kernels), reversed(strides), strict=True):
        samples = (samples - 1) * stride + kernel
    return samples


def _only_graph(folder: Path) -> Path:
    graphs = graphs_in(folder)
    if usual := [graph for graph in graphs if graph.name == "model.onnx"]:
        return usual[0]
    if len(graphs) == 1:
        return graphs[0]
    found = ", ".join(path.name for path in graphs) or "none"
    raise BundleError(
        f"{folder}: expected model.onnx or a single graph *.onnx, found {found}; name the file itself"
    )


def _bundle_graph(bundle: Bundle, name: str | None, path: Path) -> Path:
    """Return the graph of a variant, or that a path names, as the bundle lists it."""
    if path.is_file():
        variant = next((v for v in bundle.variants.values() if v.file == path.name), None)
        if variant is None:
            return path
    else:
        # For a teacher accuracy comes first: not the variant that a recogniser would take.
        variant = bundle.variant(FP32 if name is None and FP32 in bundle.variants else name)
    bundle.verify(variant)
    return bundle.path(variant)


def _check_features(bundle: Bundle) -> None:
    frontend = bundle.frontend
    if bundle.input == "features" and (frontend.kind, frontend.mel_bins) != ("logmel", BANDS):
        raise BundleError(
            f"{bundle.directory} wants {frontend.mel_bins} bands of {frontend.kind}; this version "
            f"computes {BANDS} bands of logmel: update kdcompress"
        )


def _shortest(folder: Path) -> int:
    config: dict[str, Any] = read_json(folder / "config.json")
    kernels, strides = config.get("conv_kernel"), config.get("conv_stride")
    if not kernels or not strides:
        return _SHORTEST_WAVEFORM
    return receptive_field(kernels, strides)
