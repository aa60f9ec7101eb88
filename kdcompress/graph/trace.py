"""Write a student as an ONNX graph.

House letters: B batch, T feature frames, F mel bands, T' output frames, V vocabulary.
"""

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import onnx
import torch
from torch import Tensor, nn

from kdcompress.errors import ExportError
from kdcompress.graph.contracts import Contract
from kdcompress.graph.simplify import simplify
from kdcompress.runtime.layout import LAYOUTS
from kdcompress.students.student import CtcStudent

# Odd, and no multiple of any factor: a graph that was only right for the traced length would show.
TRACED_FRAMES = 203


class PortableStudent(nn.Module):
    """A student that takes features the way NeMo's graphs do: [B, F, T], and lengths [B]."""

    def __init__(self, student: CtcStudent) -> None:
        super().__init__()
        self.student = student

    def forward(self, audio_signal: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
        """Map features to log-probabilities [B, T', V] and lengths [B] int64."""
        # An empty utterance in a batch would leave its attention without a key, and its row NaN.
        return self.student.encode(audio_signal.transpose(1, 2), length.clamp(min=1))


class KaldiStudent(nn.Module):
    """A student that takes features the way icefall's graphs do: [B, T, F], and lengths [B]."""

    def __init__(self, student: CtcStudent) -> None:
        super().__init__()
        self.student = student

    def forward(self, x: Tensor, x_lens: Tensor) -> tuple[Tensor, Tensor]:
        """Map features to log-probabilities [B, T', V] and lengths [B] int64."""
        return self.student.encode(x, x_lens.clamp(min=1))


def trace(student: CtcStudent, contract: Contract, metadata: Mapping[str, str]) -> onnx.ModelProto:
    """Return the student as one self-contained graph of standard operators, B and T dynamic.

    A graph of the layout `waveform` is one of `portable` to which `with_frontend` is applied afterwards.

    Raises:
        ExportError: the exporter or the ONNX checker refuses the model.
    """
    time_axis = LAYOUTS[contract.profile].time_axis
    wrapped = (PortableStudent if time_axis == 2 else KaldiStudent)(student).eval()
    device = next(student.parameters()).device
    features = torch.zeros(2, TRACED_FRAMES, contract.feature_bands, device=device)
    if time_axis == 2:
        features = features.transpose(1, 2).contiguous()
    lengths = torch.tensor([TRACED_FRAMES, TRACED_FRAMES // 2], device=device)
    dynamic = torch.export.Dim.DYNAMIC
    try:
        with _quiet():
            program = torch.onnx.export(
                wrapped,
                (features, lengths),
                dynamo=True,
                opset_version=contract.opset,
                external_data=False,
                input_names=list(contract.inputs),
                output_names=list(contract.outputs),
                dynamic_shapes=dict(
                    zip(contract.inputs, ({0: dynamic, time_axis: dynamic}, {0: dynamic}), strict=True)
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
    _name_axes(model, time_axis)
    onnx.helper.set_model_props(model, dict(metadata))
    _check(model, contract)
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


def _name_axes(model: onnx.ModelProto, time_axis: int) -> None:
    features, lengths = (value.type.tensor_type.shape.dim for value in model.graph.input)
    log_probs, encoded = (value.type.tensor_type.shape.dim for value in model.graph.output)
    for axes in (features, lengths, log_probs, encoded):
        axes[0].dim_param = "batch"
    features[time_axis].dim_param = "frames"
    log_probs[1].dim_param = "encoded_frames"


def _check(model: onnx.ModelProto, contract: Contract) -> None:
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ExportError(f"the exported graph is not valid ONNX: {reason}") from error
    inputs = tuple(value.name for value in model.graph.input)
    outputs = tuple(value.name for value in model.graph.output)
    domains = {opset.domain: opset.version for opset in model.opset_import}
    if inputs != contract.inputs or outputs != contract.outputs or domains != {"": contract.opset}:
        raise ExportError(
            f"the exported graph maps {inputs} to {outputs} with operators {domains}; the profile "
            f"{contract.profile} demands {contract.inputs}, {contract.outputs} and opset {contract.opset}"
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Hold back what the exporter says about itself."""
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
