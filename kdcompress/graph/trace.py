"""Write a student as an ONNX graph."""

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import onnx
import torch

from kdcompress.errors import ExportError
from kdcompress.graph.simplify import simplify
from kdcompress.runtime.layout import Layout
from kdcompress.signals import signals_wait
from kdcompress.students.view import ExportView


def trace(view: ExportView, metadata: Mapping[str, str], opset: int) -> onnx.ModelProto:
    """Return a student's view as one self-contained graph of standard operators, its open axes dynamic.

    Args:
        view: of a student in eval mode.
        metadata: entries that the graph carries.
        opset: of the default ONNX domain; sherpa-onnx's onnxruntime must support it.

    Raises:
        ExportError: the exporter or the ONNX checker refuses the model.
    """
    layout = view.layout
    inputs = list(layout.given)
    try:
        with _quiet(), signals_wait():
            program = torch.onnx.export(
                view.module,
                view.example,
                dynamo=True,
                opset_version=opset,
                external_data=False,
                input_names=inputs,
                output_names=list(layout.returned),
                dynamic_shapes=tuple(
                    dict.fromkeys(layout.axes[name], torch.export.Dim.DYNAMIC) for name in inputs
                ),
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        raise ExportError(
            f"torch cannot export this student: {str(error).strip().splitlines()[0]}"
        ) from error
    if program is None:
        raise ExportError("torch exported no graph; expected an ONNXProgram from torch.onnx.export")
    model = program.model_proto
    _strip(model)
    simplify(model)
    for value in (*model.graph.input, *model.graph.output):
        for axis, name in layout.axes[value.name].items():
            value.type.tensor_type.shape.dim[axis].dim_param = name
    onnx.helper.set_model_props(model, dict(metadata))
    _check(model, layout, opset)
    return model


def _strip(model: onnx.ModelProto) -> None:
    """Forget where in which source file of this machine each node came from, and inferred shapes."""
    del model.graph.value_info[:]
    del model.graph.metadata_props[:]
    for part in (*model.graph.node, *model.graph.input, *model.graph.output, *model.graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""
    model.graph.doc_string = ""
    model.doc_string = ""


def _check(model: onnx.ModelProto, layout: Layout, opset: int) -> None:
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ExportError(f"the exported graph is not valid ONNX: {reason}") from error
    names = [value.name for value in (*model.graph.input, *model.graph.output)]
    domains = {known.domain: known.version for known in model.opset_import}
    if names != list(layout.axes) or domains != {"": opset}:
        raise ExportError(
            f"the exported graph has inputs and outputs {names} and operators {domains}; the layout "
            f"{layout.name} demands {list(layout.axes)} and opset {opset}"
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter's messages about itself."""
    # "torchvision is not installed. Skipping torchvision::nms", four times at each export.
    registration = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = registration.level
    registration.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            # torch copies its own tree specs by a route that it has deprecated.
            warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)`", FutureWarning)
            yield
    finally:
        registration.setLevel(level)
