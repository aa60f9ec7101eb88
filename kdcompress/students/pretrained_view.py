"""What of a transformers model goes into a graph.

B batch, S samples, T frames, F mel bands, D width of the encoder of samples, V vocabulary.
"""

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrize

from kdcompress.config.profile import LayoutName
from kdcompress.errors import ConfigError
from kdcompress.frontend.logmel_numpy import BANDS, HOP, N_FFT, PREEMPHASIS, WINDOW
from kdcompress.frontend.masks import valid_frames
from kdcompress.runtime.bundle import Frontend
from kdcompress.runtime.layout import LAYOUTS, Layout
from kdcompress.students.features import TRACED_FRAMES
from kdcompress.students.view import Convolution, ExportView, SampleEncoder

if TYPE_CHECKING:
    from kdcompress.students.pretrained import PretrainedStudent

_ACTIVATIONS: Mapping[str, Literal["Gelu", "Relu"]] = {"gelu": "Gelu", "relu": "Relu"}
# The names are those of `portable`: what export puts before the graph leads to them.
_FRAMES = Layout("frames", LAYOUTS["portable"].inputs, LAYOUTS["portable"].outputs, 1)


def pretrained_view(student: "PretrainedStudent", layout: LayoutName) -> ExportView:
    """Return what is traced of a student for a layout.

    Raises:
        ConfigError: there is no graph of this family, or of its features, in this layout.
    """
    if layout not in ("portable", "waveform"):
        raise ConfigError(
            f"there is no graph of a {student.family} student in the layout {layout}, only of a Conformer: "
            "give --profile waveform"
        )
    if student.family == "parakeet_ctc":
        return _features_view(student)
    if not student.inputs.takes_waveforms:
        raise ConfigError(
            f"there is no graph of a {student.family} student: no runtime computes its features: "
            "give --profile huggingface"
        )
    if layout == "portable":
        raise ConfigError(
            f"a {student.family} student takes samples, and the graphs of this profile features: give "
            "--profile waveform"
        )
    return _samples_view(student)


def _features_view(student: "PretrainedStudent") -> ExportView:
    # The front end of the layout `waveform` is put before this.
    extractor = student.inputs.extractor
    names = ("feature_size", "hop_length", "n_fft", "win_length", "preemphasis")
    found = tuple(getattr(extractor, name) for name in names)
    if found != (BANDS, HOP, N_FFT, WINDOW, PREEMPHASIS):
        asked = ", ".join(f"{name} {value}" for name, value in zip(names, found, strict=True))
        raise ConfigError(
            f"the runtimes of this profile do not compute the student's features ({asked}): give --profile "
            "huggingface"
        )
    features = torch.zeros(2, BANDS, TRACED_FRAMES)
    return ExportView(
        module=_FeatureGraph(_for_tracing(student.model)).eval(),
        layout=LAYOUTS["portable"],
        example=(features, torch.tensor([TRACED_FRAMES, TRACED_FRAMES // 2])),
        prepare=lambda waveform: student.inputs(waveform, torch.device("cpu")),
        frontend=Frontend("logmel", BANDS, "per_feature"),
        subsampling_factor=round(student.frame_shift * 100),
        shortest=-(-student.inputs.shortest // HOP),
    )


def _samples_view(student: "PretrainedStudent") -> ExportView:
    normalize = bool(getattr(student.inputs.extractor, "do_normalize", False))
    model = _for_tracing(student.model)
    encoder = SampleEncoder(normalize, _convolutions(model))
    if encoder.stride % HOP:
        raise ConfigError(
            f"the student has a frame every {encoder.stride} samples, and graphs have one in multiples of "
            f"{HOP}: give --profile huggingface"
        )
    channels = len(encoder.convolutions[-1].weight)
    return ExportView(
        module=_FrameGraph(model).eval(),
        layout=_FRAMES,
        example=(
            torch.randn(2, TRACED_FRAMES, channels, generator=torch.Generator().manual_seed(0)),
            torch.tensor([TRACED_FRAMES, TRACED_FRAMES // 2]),
        ),
        prepare=lambda waveform: waveform,
        frontend=Frontend("samples", 0, "per_utterance" if normalize else "none"),
        subsampling_factor=encoder.stride // HOP,
        encoder=encoder,
    )


def _convolutions(model: Any) -> tuple[Convolution, ...]:
    """Return the layers of the encoder of samples, without the batch."""
    activation = _ACTIVATIONS.get(str(model.config.feat_extract_activation))
    if activation is None:
        raise ConfigError(
            f"the student's convolutions end in {model.config.feat_extract_activation}; a graph can have "
            f"{', '.join(_ACTIVATIONS)}: give --profile huggingface"
        )
    made = []
    for layer in model.base_model.feature_extractor.conv_layers:
        norm = getattr(layer, "layer_norm", None)
        kind: Literal["layer", "group", "none"] = (
            "none" if norm is None else "layer" if isinstance(norm, nn.LayerNorm) else "group"
        )
        bias = layer.conv.bias
        made.append(
            Convolution(
                layer.conv.weight.detach().numpy(),
                None if bias is None else bias.detach().numpy(),
                layer.conv.stride[0],
                kind,
                None if norm is None else norm.weight.detach().numpy(),
                None if norm is None else norm.bias.detach().numpy(),
                1e-5 if norm is None else norm.eps,
                activation,
            )
        )
    return tuple(made)


def _for_tracing(model: Any) -> Any:
    """Return a copy on the CPU whose attention is spelled out, and whose weights are plain.

    Convolutions over one frame become the matrix products that they are: those have integer kernels.
    """
    model = copy.deepcopy(model).to("cpu").float().eval()
    model.set_attn_implementation("eager")
    for name, module in list(model.named_modules()):
        if hasattr(module, "relative_k_proj"):  # Parakeet's attention, which has a configuration of its own
            module.config._attn_implementation = "eager"
        if isinstance(module, nn.Conv1d) and parametrize.is_parametrized(module):
            # The positional convolution's weight norm. Removing it would take it from the original as well.
            parent, _, own = name.rpartition(".")
            setattr(model.get_submodule(parent), own, _plain(module))
        elif type(module) is nn.Conv1d and module.kernel_size == (1,) and module.groups == 1:
            parent, _, own = name.rpartition(".")
            setattr(model.get_submodule(parent), own, _Pointwise(module))
    return model


class _Pointwise(nn.Module):
    """A convolution over one frame, as a product: [B, C, T] to [B, C', T]."""

    def __init__(self, convolution: nn.Conv1d) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(convolution.weight[:, :, 0]), convolution.bias

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x.transpose(1, 2), self.weight, self.bias).transpose(1, 2)


def _plain(module: nn.Conv1d) -> nn.Conv1d:
    made = nn.Conv1d(
        module.in_channels,
        module.out_channels,
        module.kernel_size[0],
        module.stride[0],
        module.padding[0],
        groups=module.groups,
        bias=module.bias is not None,
    )
    made.load_state_dict({"weight": module.weight} | ({} if module.bias is None else {"bias": module.bias}))
    return made


class _FeatureGraph(nn.Module):
    """Parakeet's graph: features [B, F, T] as NeMo's take them."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.encoder, self.factor = model.encoder, model.config.encoder_config.subsampling_factor
        # A convolution over one frame, in some versions with its own idea of the order of axes.
        weight, bias = model.ctc_head.weight, model.ctc_head.bias
        self.head = nn.Linear(weight.shape[1], weight.shape[0])
        self.head.load_state_dict({"weight": weight[:, :, 0], "bias": bias})

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Map features and lengths [B] to log-probabilities [B, T', V] and lengths [B] int64."""
        # An empty utterance in a batch would leave its attention without a key, and its row NaN.
        lengths = lengths.clamp(min=1)
        valid = valid_frames(lengths, features.shape[2])
        # What runtimes fill a batch up with must not reach the first convolution.
        inside = features.transpose(1, 2) * valid[:, :, None]
        encoded = self.encoder(inside, attention_mask=valid).last_hidden_state
        return self.head(encoded).log_softmax(dim=-1), (lengths + self.factor - 1) // self.factor


class _FrameGraph(nn.Module):
    """What stands behind the convolutions of wav2vec2, HuBERT and WavLM."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.body, self.head = model.base_model, model.lm_head

    def forward(self, frames: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Map frames [B, T, D] and lengths [B] to log-probabilities [B, T, V] and the lengths [B] int64."""
        lengths = lengths.clamp(min=1)
        hidden = self.body.feature_projection(frames)
        hidden = hidden[0] if isinstance(hidden, tuple) else hidden
        valid = valid_frames(lengths, frames.shape[1])
        encoded = self.body.encoder(hidden, attention_mask=valid).last_hidden_state
        return self.head(encoded).log_softmax(dim=-1), lengths
