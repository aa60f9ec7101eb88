"""Where transformers' CTC models have units that can be cut away.

U units, D width, C channels.
"""

from functools import partial
from typing import Any

from torch import Tensor, nn

from kdcompress.students.pruning.anatomy import Anatomy, Axis, Layer, Part, linear_part


def anatomy_of(model: Any) -> Anatomy:
    """Describe a model of a family that students are made of."""
    layers = model.base_model.encoder.layers
    describe = {"parakeet_ctc": _parakeet, "wav2vec2-bert": _wav2vec2_bert}.get(
        model.config.model_type, _wav2vec2
    )
    found = tuple(describe(f"{index}.", layer) for index, layer in enumerate(layers))
    if hasattr(model.base_model, "feature_extractor"):
        front = _waveform_encoder(model.base_model)
        owners = ("feature_extractor", "feature_projection")
        return Anatomy(found, model.base_model, partial(_tail, model), *front, owners)
    return Anatomy(found, model.base_model, partial(_tail, model))


def _tail(model: Any, x: Tensor) -> Tensor:
    """Map the stream behind the last layer [1, T, D] to log-probabilities [1, T, V]."""
    if type(model.base_model.encoder).__name__.endswith("StableLayerNorm"):
        x = model.base_model.encoder.layer_norm(x)
    if getattr(model.base_model, "intermediate_ffn", None) is not None:
        x = x + 0.5 * model.base_model.intermediate_ffn(x)
    logits: Tensor = (model.ctc_head if hasattr(model, "ctc_head") else model.lm_head)(x)
    return logits.float().log_softmax(dim=-1)


def _wav2vec2(name: str, layer: Any) -> Layer:
    """wav2vec2, HuBERT and WavLM: with the norms behind the parts, or in front of them ("stable")."""
    stable = type(layer).__name__.endswith("StableLayerNorm")
    projections = ("attention.q_proj", "attention.k_proj", "attention.v_proj")
    attention = layer.attention
    gates: tuple[Axis, ...] = (("attention.gru_rel_pos_const", 1, 1, 1), ("attention.heads", 0, 1, 1))
    heads = _heads(
        f"{name}heads",
        attention.out_proj.in_features // attention.head_dim,
        attention.head_dim,
        projections,
        "attention.out_proj",
        gates if hasattr(attention, "gru_rel_pos_const") else (),
        behind="final_layer_norm" if stable else "layer_norm",
    )
    feed_forward = linear_part(
        f"{name}feed_forward",
        "feed_forward",
        layer,
        "feed_forward.intermediate_dense",
        "feed_forward.output_dense",
        behind=None if stable else "final_layer_norm",
    )
    return Layer(layer, (heads, feed_forward), None if stable else "final_layer_norm")


def _wav2vec2_bert(name: str, layer: Any) -> Layer:
    attention = layer.self_attn
    projections: tuple[str, ...] = ("self_attn.linear_q", "self_attn.linear_k", "self_attn.linear_v")
    biases: tuple[Axis, ...] = ()
    if attention.position_embeddings_type == "relative":
        biases = (("self_attn.pos_bias_u", 0, 1, 1), ("self_attn.pos_bias_v", 0, 1, 1))
        projections += ("self_attn.linear_pos",)
    parts = (
        _half(name, "first", layer, "ffn1", "self_attn_layer_norm"),
        _heads(
            f"{name}heads",
            attention.linear_out.in_features // attention.head_size,
            attention.head_size,
            projections,
            "self_attn.linear_out",
            biases,
            behind="conv_module",
        ),
        _convolution(name, layer, "conv_module", "depthwise_layer_norm", "ffn2_layer_norm"),
        _half(name, "second", layer, "ffn2", "final_layer_norm"),
    )
    return Layer(layer, parts, "final_layer_norm")


def _parakeet(name: str, layer: Any) -> Layer:
    attention = layer.self_attn
    projections = (*(f"self_attn.{letter}_proj" for letter in "qkv"), "self_attn.relative_k_proj")
    biases: tuple[Axis, ...] = (("self_attn.bias_u", 0, 1, 1), ("self_attn.bias_v", 0, 1, 1))

    def feed_forward(which: str, module: str, behind: str) -> Part:
        names = (f"{module}.linear1", f"{module}.linear2")
        return linear_part(f"{name}{which}", "feed_forward", layer, *names, behind=behind, scale=0.5)

    parts = (
        feed_forward("first", "feed_forward1", "norm_self_att"),
        _heads(
            f"{name}heads",
            attention.o_proj.in_features // attention.head_dim,
            attention.head_dim,
            projections,
            "self_attn.o_proj",
            biases,
            behind="norm_conv",
            count="self_attn.config.num_attention_heads",
        ),
        _convolution(name, layer, "conv", "norm", "norm_feed_forward2"),
        feed_forward("second", "feed_forward2", "norm_out"),
    )
    return Layer(layer, parts, "norm_out")


def _heads(
    name: str,
    heads: int,
    width: int,
    projections: tuple[str, ...],
    last: str,
    more: tuple[Axis, ...],
    behind: str,
    count: str | None = None,
) -> Part:
    axes = [(f"{path}.{kind}", 0, 1, width) for path in projections for kind in ("weight", "bias")]
    axes = [*axes, (f"{last}.weight", 1, 1, width), *more]
    return Part(name, "heads", last, heads, width, tuple(axes), behind, count=count)


def _half(name: str, which: str, layer: nn.Module, module: str, behind: str) -> Part:
    names = (f"{module}.intermediate_dense", f"{module}.output_dense")
    return linear_part(f"{name}{which}", "feed_forward", layer, *names, behind=behind, scale=0.5)


def _convolution(name: str, layer: Any, module: str, norm: str, behind: str) -> Part:
    """Describe the channels of a Conformer's convolution: gated, depthwise, normalised, projected."""
    inner = getattr(layer, module)
    kinds = ("weight", "bias", "running_mean", "running_var")
    axes = [
        *((f"{module}.pointwise_conv1.{kind}", 0, 2, 1) for kind in kinds[:2]),
        *((f"{module}.depthwise_conv.{kind}", 0, 1, 1) for kind in kinds[:2]),
        *((f"{module}.{norm}.{kind}", 0, 1, 1) for kind in kinds),
        (f"{module}.pointwise_conv2.weight", 1, 1, 1),
    ]
    last, channels = f"{module}.pointwise_conv2", inner.pointwise_conv2.in_channels
    return Part(f"{name}convolution", "convolution", last, channels, 1, tuple(axes), behind, normed=True)


def _waveform_encoder(model: Any) -> tuple[tuple[Part, ...], tuple[nn.Module, ...]]:
    """Describe the channels between the convolutions over the waveform, and behind them."""
    convolutions = model.feature_extractor.conv_layers
    parts = []
    for index, layer in enumerate(convolutions):
        own, last = f"feature_extractor.conv_layers.{index}", "feature_projection.projection"
        axes: list[Axis] = [
            (f"{own}.{path}.{kind}", 0, 1, 1)
            for path in (("conv", "layer_norm") if hasattr(layer, "layer_norm") else ("conv",))
            for kind in ("weight", "bias")
        ]
        columns = 1
        if index + 1 < len(convolutions):
            last = f"feature_extractor.conv_layers.{index + 1}.conv"
            columns = convolutions[index + 1].conv.kernel_size[0]
        elif hasattr(model.feature_projection, "layer_norm"):
            axes += [(f"feature_projection.layer_norm.{kind}", 0, 1, 1) for kind in ("weight", "bias")]
        axes.append((f"{last}.weight", 1, 1, 1))
        parts.append(
            Part(f"front.{index}", "front", last, layer.conv.out_channels, columns, tuple(axes), normed=True)
        )
    return tuple(parts), (*convolutions, model.feature_projection)
