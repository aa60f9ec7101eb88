"""A student that is a transformers CTC model: wav2vec2, HuBERT, WavLM, wav2vec2-BERT or Parakeet.

It is rebuilt from its configuration alone, which holds that of the model and that of its feature extractor.

B batch, S samples, T frames, F values per input frame, V vocabulary.
"""

import copy
import json
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from typing_extensions import Self

from kdcompress.audio.utterance import SAMPLE_RATE
from kdcompress.config.profile import LayoutName
from kdcompress.config.student import PretrainedConfig
from kdcompress.errors import ConfigError
from kdcompress.frontend.masks import valid_frames
from kdcompress.students.pretrained_view import pretrained_view
from kdcompress.students.pruning.anatomy import Anatomy
from kdcompress.students.pruning.families import anatomy_of
from kdcompress.students.student import Augment, Student
from kdcompress.students.transformers_inputs import (
    TransformersInputs,
    import_transformers,
    output_length_function,
    quiet,
)
from kdcompress.students.view import ExportView
from kdcompress.students.wavlm import GatedAttention
from kdcompress.text.vocabulary import Vocabulary

FAMILIES = ("wav2vec2", "hubert", "wavlm", "wav2vec2-bert", "parakeet_ctc")

# Of no use to who rebuilds the model, or of the place that it came from.
_PRIVATE = ("_name_or_path", "transformers_version", "architectures", "auto_map", "dtype", "torch_dtype")
# What would blank or skip parts of the model in training: features are masked by our own augmentation.
_OFF = {"layerdrop": 0.0, "mask_time_prob": 0.0, "mask_feature_prob": 0.0, "apply_spec_augment": False}


class PretrainedStudent(Student):
    """A model of transformers with its feature extractor.

    Attributes:
        model: the `…ForCTC` of transformers.
        family: its `model_type`.
        inputs: from waveforms to what the model takes; has the feature extractor.
    """

    Config = PretrainedConfig
    config: PretrainedConfig

    def __init__(self, config: PretrainedConfig, vocabulary_size: int) -> None:
        super().__init__()
        if config.model is None or config.inputs is None:
            raise ConfigError(
                "student.model is open: a student of kind pretrained is made by kdcompress distill"
            )
        transformers = import_transformers()
        self.vocabulary_size = vocabulary_size
        try:
            # Weights are drawn that a checkpoint will overwrite.
            with quiet():
                settings = dict(config.model)
                shape = transformers.AutoConfig.for_model(settings.pop("model_type"), **settings)
                self.model = transformers.AutoModelForCTC.from_config(shape, trust_remote_code=False)
                kind = getattr(transformers, str(config.inputs["feature_extractor_type"]))
                extractor = kind.from_dict(config.inputs)
        except Exception as error:  # whatever transformers raises, the user needs one line
            reason = " ".join(str(error).split())[:300]
            raise ConfigError(f"transformers cannot build the student's model: {reason}") from error
        self.family = str(shape.model_type)
        self.inputs = TransformersInputs(extractor, self.model)
        self._frames = output_length_function(self.model)
        _replace_parts(self.model)
        self.anatomy().shape(config.sizes)
        near, distance = (
            SAMPLE_RATE,
            512 * 320,
        )  # floors cancel exactly over a distance that every stride divides
        first, second = self.output_lengths(torch.tensor([near, near + distance])).tolist()
        self.frame_shift = distance / (second - first) / SAMPLE_RATE
        own_ms = round(1000 * self.frame_shift, 3)
        if config.frame_shift_ms not in (None, own_ms):
            raise ConfigError(
                f"student.frame_shift_ms is {config.frame_shift_ms:g}, the source's {own_ms:g} ms: "
                "leave it out"
            )
        self.config = config.model_copy(update={"frame_shift_ms": own_ms})

    @classmethod
    def of(
        cls, config: PretrainedConfig, model: Any, extractor: Any, vocabulary: Vocabulary, *, head: bool
    ) -> Self:
        """Make a student of a model, whose weights are copied.

        Args:
            config: which layers are taken, and the dropout.
            model: a `…ForCTC`; layers are taken out of it.
            head: whether the model's own head fits the vocabulary; else it is drawn at random.

        Raises:
            ConfigError: the model is of another family, has an adapter, or lacks a layer.
        """
        check_family(model.config)
        if config.layers is not None:
            take_layers(model, chosen_layers(config.layers, len(layers_of(model))))
        settings = _settings(model.config, config.dropout)
        settings.update(vocab_size=len(vocabulary), pad_token_id=vocabulary.blank)
        inputs = json.loads(extractor.to_json_string())
        update = {"model": settings, "inputs": inputs, "layers": None}
        student = cls(config.model_copy(update=update), len(vocabulary))
        weights = model.state_dict()
        if not head:
            weights = {
                name: value for name, value in weights.items() if not name.startswith(("lm_head", "ctc_head"))
            }
        student.model.load_state_dict(weights, strict=False)
        return student.eval()

    def forward(
        self, waveforms: Tensor, lengths: Tensor, augment: Augment | None = None
    ) -> tuple[Tensor, Tensor]:
        """Map waveforms to log-probabilities; see `Student.forward`. Only features are augmented."""
        samples: list[int] = lengths.tolist()
        device = next(self.parameters()).device
        inputs = [self.inputs(waveform[:n], device) for waveform, n in zip(waveforms, samples, strict=True)]
        sizes = torch.tensor([len(x) for x in inputs], device=device)
        batch = pad_sequence(inputs, batch_first=True)
        if augment is not None and not self.inputs.takes_waveforms:
            batch = augment(batch, sizes)
        log_probs = self.encode(batch, sizes)
        return log_probs, self.output_lengths(lengths).clamp(max=log_probs.shape[1])

    def encode(self, inputs: Tensor, sizes: Tensor) -> Tensor:
        """Map inputs [B, S] or [B, frames, F] of so many valid ones [B] to log-probabilities [B, T, V]."""
        norms = [module for module in self.model.modules() if isinstance(module, MaskedGroupNorm)]
        mask = valid_frames(sizes, inputs.shape[1])
        try:
            for norm in norms:
                norm.lengths = norm.frames(sizes)
            logits: Tensor = self.model(inputs, attention_mask=mask.long()).logits
        finally:
            for norm in norms:  # pruning runs the modules of the front by themselves, on other utterances
                norm.lengths = None
        return logits.float().log_softmax(dim=-1)

    def anatomy(self) -> Anatomy:
        """Describe heads, feed-forward units and channels; see `Student.anatomy`."""
        return anatomy_of(self.model)

    def keep_layers(self, kept: Sequence[int]) -> None:
        """Leave the model some of its layers; see `Student.keep_layers`."""
        take_layers(self.model, list(kept))
        settings = _settings(self.model.config, None)
        self.config = self.config.model_copy(update={"model": settings, "sizes": self.anatomy().sizes()})

    def output_lengths(self, samples: Tensor) -> Tensor:
        """Return the output frames [B] of waveforms with so many samples [B]; none of an empty one."""
        frames = self._frames(self.inputs.sizes(samples)).long()
        return frames * (samples > 0)

    def export_view(self, layout: LayoutName) -> ExportView:
        """Return what is traced; see `Student.export_view`."""
        return pretrained_view(self, layout)

    def train(self, mode: bool = True) -> Self:
        """Switch dropout; batch normalisation keeps its statistics: utterances depend on no others."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        return self


class MaskedGroupNorm(nn.GroupNorm):
    """Group normalisation over the valid frames of each utterance, so that padding does not matter.

    Attributes:
        lengths: valid frames [B] of what comes next; None takes all.
        kernel, stride: of the convolution in front.
    """

    lengths: Tensor | None = None
    kernel: int
    stride: int

    @classmethod
    def of(cls, norm: nn.GroupNorm, kernel: int, stride: int) -> "MaskedGroupNorm":
        """Return one with the weights of a plain one, which must have a group for each channel."""
        if norm.num_groups != norm.num_channels:
            raise ConfigError("the model normalises groups of several channels, which no known family does")
        made = cls(norm.num_groups, norm.num_channels, norm.eps)
        made.load_state_dict(norm.state_dict())
        made.kernel, made.stride = kernel, stride
        return made

    def frames(self, samples: Tensor) -> Tensor:
        """Return the frames [B] that the convolution in front makes of so many samples [B]."""
        return (samples - self.kernel) // self.stride + 1

    def forward(self, x: Tensor) -> Tensor:
        """Normalise [B, C, T]."""
        if self.lengths is None:
            return super().forward(x)
        valid = valid_frames(self.lengths, x.shape[2])[:, None, :]
        count = self.lengths[:, None, None].to(x.dtype)
        mean = (x * valid).sum(dim=2, keepdim=True) / count
        centred = (x - mean) * valid
        variance = centred.square().sum(dim=2, keepdim=True) / count
        return centred * (variance + self.eps).rsqrt() * self.weight[:, None] + self.bias[:, None]


def check_family(config: Any) -> None:
    """See that students can be made of a model.

    Raises:
        ConfigError: they cannot.
    """
    if config.model_type not in FAMILIES:
        raise ConfigError(
            f"the source is of the family {config.model_type!r}; students of kind pretrained are made of "
            f"{', '.join(FAMILIES)}"
        )
    if getattr(config, "add_adapter", False) or getattr(config, "adapter_attn_dim", None) is not None:
        raise ConfigError("the source has adapter layers, which students of kind pretrained cannot have")


def layers_of(model: Any) -> nn.ModuleList:
    """Return the layers of a model's encoder."""
    layers: nn.ModuleList = model.base_model.encoder.layers
    return layers


def _replace_parts(model: Any) -> None:
    """Put modules in place of those of transformers that padding, or a cut, would not go with."""
    made: Any
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.GroupNorm):
            made = MaskedGroupNorm.of(module, model.config.conv_kernel[0], model.config.conv_stride[0])
        elif hasattr(module, "gru_rel_pos_const"):
            made = GatedAttention(module)
        elif hasattr(module, "relative_k_proj"):  # Parakeet's attention takes its heads from here
            module.config = copy.copy(module.config)
            continue
        else:
            continue
        parent, _, own = name.rpartition(".")
        setattr(model.get_submodule(parent), own, made)


def take_layers(model: Any, chosen: Sequence[int]) -> None:
    """Leave a model some of its layers, in place."""
    layers = layers_of(model)
    # WavLM's first layer makes what all use of the distance between frames.
    attention: list[Any] = [getattr(layers[index], "attention", None) for index in (0, chosen[0])]
    if hasattr(attention[0], "rel_attn_embed"):
        attention[1].rel_attn_embed = attention[0].rel_attn_embed
    model.base_model.encoder.layers = nn.ModuleList(layers[index] for index in chosen)
    shape = getattr(model.config, "encoder_config", model.config)
    shape.num_hidden_layers = len(chosen)


def chosen_layers(layers: int | tuple[int, ...], there: int) -> list[int]:
    """Return which of a model's layers are meant.

    Raises:
        ConfigError: there are fewer.
    """
    if isinstance(layers, int):
        if layers > there:
            raise ConfigError(f"student.layers is {layers}, the source has {there}")
        step = (there - 1) / max(1, layers - 1)
        return [round(step * index) for index in range(layers)]
    if layers[-1] >= there:
        raise ConfigError(f"student.layers names layer {layers[-1]}, the source has 0 to {there - 1}")
    return list(layers)


def settings_of(values: dict[str, Any], dropout: float | None) -> dict[str, Any]:
    """Return a model's configuration without what would skip or mask parts in training.

    Args:
        dropout: in place of every one there; None leaves them.
    """
    kept = {key: value for key, value in values.items() if key not in _PRIVATE}
    kept |= {key: value for key, value in _OFF.items() if key in kept}
    if dropout is not None:
        kept |= {key: dropout for key in kept if "dropout" in key and isinstance(kept[key], float)}
    return {
        key: settings_of(value, dropout) if isinstance(value, dict) else value for key, value in kept.items()
    }


def _settings(config: Any, dropout: float | None) -> dict[str, Any]:
    return settings_of(json.loads(json.dumps(config.to_dict())), dropout)  # as it comes back from disk
