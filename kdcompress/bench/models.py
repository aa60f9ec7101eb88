"""What lies at a path: the variants of a bundle, or an ONNX model of another origin."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx

from kdcompress.config.profile import read_profile
from kdcompress.errors import BundleError
from kdcompress.resources import profile_path
from kdcompress.runtime.bundle import open_bundle
from kdcompress.runtime.external.files import find_files
from kdcompress.runtime.identify import Kind, graphs_in, identify

_INT8_OPS = {"MatMulInteger", "ConvInteger", "QLinearMatMul", "QLinearConv", "DynamicQuantizeLinear"}


@dataclass(frozen=True)
class Model:
    """One graph that can be measured.

    Attributes:
        path: what the user named.
        graph: the ONNX file.
        layout: of the graph: the name of a profile.
        normalize: of the features or the waveform: `per_feature` or `none`.
        precision: `fp32`, `int8-dynamic`, …
        variant: of a bundle; None of another model.
        bytes: of the graph, with the weights that it keeps outside.
        parameters: their number, None where unknown.
    """

    path: Path
    graph: Path
    layout: str
    normalize: str
    precision: str
    variant: str | None
    bytes: int
    parameters: int | None

    @property
    def label(self) -> str:
        """A short name: of the directory, and what of it."""
        return f"{self.path.resolve().name} {self.precision}"

    @property
    def long_label(self) -> str:
        """The same with the path as it was named."""
        return f"{self.path} {self.precision}"


def find_models(path: Path, variants: Sequence[str] = ()) -> list[Model]:
    """Read what is at a path.

    Args:
        path: a bundle, a directory with a graph and its vocabulary, or the graph itself.
        variants: of a bundle, those wanted; none takes all. Other models have none.

    Raises:
        BundleError: it is neither, or has no such variant.
        VocabularyError: its vocabulary has a token twice.
    """
    kind = identify(path)
    if kind in {Kind.ONNX_FILE, Kind.ONNX_FOLDER} or (kind is Kind.HUGGING_FACE and graphs_in(path)):
        return [_external(path)]
    bundle = open_bundle(path)
    chosen = [bundle.variant(name) for name in variants] or list(bundle.variants.values())
    for variant in chosen:
        bundle.verify(variant)
    return [
        Model(
            path=path,
            graph=bundle.path(variant),
            layout=bundle.profile,
            normalize=bundle.frontend.normalize,
            precision=variant.name,
            variant=variant.name,
            bytes=variant.bytes,
            parameters=bundle.parameters,
        )
        for variant in chosen
    ]


def layout_refusal(model: Model, runtime: str, tokens: str) -> str | None:
    """Say why a runtime that loads the layouts of some profiles cannot run a model; None where it can.

    Args:
        model: in question.
        runtime: as profiles name it.
        tokens: the file that it reads the vocabulary from.
    """
    profile = read_profile(profile_path(model.layout))
    consumer = next((one for one in profile.consumers if one.runtime == runtime), None)
    if consumer is None:
        return f"its layout is {model.layout}, which {runtime} does not load"
    if not consumer.serves(model.normalize):
        return f"{runtime} normalises what it is given, and this model wants it as it is"
    if not (model.graph.parent / tokens).is_file():
        return f"it has no {tokens}"
    return None


def _external(path: Path) -> Model:
    files = find_files(path)
    try:
        model = onnx.load(str(files.graph), load_external_data=False)
    except Exception as error:  # protobuf's errors share no base class but Exception
        raise BundleError(f"{files.graph} is no ONNX graph: {' '.join(str(error).split())}") from error
    names = {value.name for value in model.graph.input}
    features = names == {"audio_signal", "length"}
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    if features:
        normalize = (
            "per_feature" if metadata.get("normalize_type", "per_feature") == "per_feature" else "none"
        )
    else:
        normalize = "per_feature" if files.normalizes else "none"
    outside = {
        entry.value for t in model.graph.initializer for entry in t.external_data if entry.key == "location"
    }
    weights = [files.graph.parent / name for name in sorted(outside)]
    return Model(
        path=path,
        graph=files.graph,
        layout="portable" if features else "waveform",
        normalize=normalize,
        precision=_precision(model),
        variant=None,
        bytes=sum(file.stat().st_size for file in (files.graph, *weights) if file.is_file()),
        parameters=_parameters(model),
    )


def _precision(model: onnx.ModelProto) -> str:
    ops = {node.op_type for node in model.graph.node}
    if ops & _INT8_OPS:
        return "int8"
    sizes: Counter[int] = Counter()
    for tensor in model.graph.initializer:
        sizes[tensor.data_type] += _elements(tensor)
    most = sizes.most_common(1)[0][0] if sizes else onnx.TensorProto.FLOAT
    kinds: dict[int, str] = {
        onnx.TensorProto.FLOAT16: "fp16",
        onnx.TensorProto.INT8: "int8",
        onnx.TensorProto.UINT8: "int8",
    }
    return kinds.get(most, "fp32")


def _parameters(model: onnx.ModelProto) -> int | None:
    count = sum(_elements(t) for t in model.graph.initializer if t.data_type != onnx.TensorProto.INT64)
    return count or None


def _elements(tensor: onnx.TensorProto) -> int:
    size = 1
    for axis in tensor.dims:
        size *= axis
    return size
