"""What to train: which kind of student, and its shape by preset or in full."""

from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import Field, model_validator
from typing_extensions import Self

from kdcompress.config.base import Frozen
from kdcompress.config.kinds import Kind, Kinds
from kdcompress.errors import did_you_mean


class StudentConfig(Frozen):
    """What every kind of student has.

    Attributes:
        kind: names the class of the student.
        frame_shift_ms: the output has one frame per so many milliseconds; None takes the teacher's.
    """

    kind: str
    frame_shift_ms: float | None = None


class StreamingConfig(Frozen):
    """A student whose output follows speech by a chunk: one checkpoint for all sizes of chunks.

    Attributes:
        chunk_ms: sizes that training draws from, a new one for each batch; `full` is the whole utterance. A
            frame depends on its chunk and what is before. Validation, and a run as a teacher, take the first.
        left_ms: of the past, for attention.
        look_ahead_ms: of what follows a chunk, of any size but `full`: output comes so much later.
    """

    chunk_ms: tuple[Annotated[int, Field(gt=0)] | Literal["full"], ...] = Field(
        (320, 160, 640, "full"), min_length=1
    )
    left_ms: int = Field(1280, ge=0)
    look_ahead_ms: int = Field(0, ge=0)


Sizes: TypeAlias = dict[str, Annotated[int, Field(ge=1)]]
"""Units by part (`3.heads`, `3.feed_forward`, `front.2`) of a student that was cut."""


class ConformerConfig(StudentConfig):
    """A Conformer encoder over log-mel features with a CTC head.

    The defaults are the preset 3.5M, that of `Recipe`: `--set student.dropout=0` changes nothing else.

    Attributes:
        width: D, the model width.
        layers: number of Conformer blocks.
        heads: attention heads; width / heads must be even (rotary positions).
        feed_forward: inner width of the feed-forward modules as a multiple of D.
        kernel: taps of the depthwise convolution (odd).
        stem_channels: channels of the subsampling convolutions.
        frame_shift_ms: 20, 40 or 80: the output has one frame per so many milliseconds; None takes the
            teacher's, another one must be a multiple or a whole part of it.
        frontend: `logmel`, NeMo's features, for the export profiles portable and waveform; `kaldi`, Kaldi's
            fbank, for the profile kaldi. Kaldi's runtimes do not normalise: it implies `normalize: none`.
        normalize: features to zero mean and unit variance per mel band over the utterance, `fixed`: by means
            and scales of the training audio, which become part of the graph, or not at all.
        dropout: in training, after each module.
        exits: numbers of layers after which training applies the head as well (intermediate CTC, Lee and
            Watanabe 2021, arXiv 2102.03216). The model works, less well, when cut off there (Lee et al. 2021,
            arXiv 2106.09216), so that a student of so many layers can begin with them.
        streaming: output while somebody speaks; it implies `normalize: fixed`.
        sizes: of parts that were cut.
    """

    also: ClassVar = ("preset",)

    kind: Literal["conformer"] = "conformer"
    width: int = Field(144, ge=16, multiple_of=4)
    layers: int = Field(7, ge=1)
    heads: int = Field(4, ge=1)
    feed_forward: float = Field(4.0, gt=0)
    kernel: int = Field(15, ge=3)
    stem_channels: int = Field(32, ge=4)
    frame_shift_ms: Literal[20, 40, 80] | None = None
    frontend: Literal["logmel", "kaldi"] = "logmel"
    normalize: Literal["per_feature", "fixed", "none"] = "per_feature"
    dropout: float = Field(0.1, ge=0, lt=1)
    exits: tuple[Annotated[int, Field(ge=1)], ...] = ()
    streaming: StreamingConfig | None = None
    sizes: Sizes = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _start_from_preset(cls, data: Any) -> Any:
        """Let `{preset: NAME, …}` stand for the preset's values, each of which may be overridden."""
        if isinstance(data, dict) and "preset" in data:
            rest = {k: v for k, v in data.items() if k != "preset"}
            name = data["preset"]
            if name not in PRESETS:
                meant = did_you_mean(str(name), PRESETS)
                raise ValueError(f"no student preset {name!r}{meant}; there are {', '.join(PRESETS)}")
            return {**PRESETS[name], **rest}
        return data

    @model_validator(mode="before")
    @classmethod
    def _imply_normalization(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("streaming") is not None:
            return {"normalize": "fixed", **data}
        if isinstance(data, dict) and data.get("frontend") == "kaldi":
            return {"normalize": "none", **data}
        return data

    @model_validator(mode="after")
    def _check_shape(self) -> Self:
        if self.width % (2 * self.heads):
            raise ValueError(f"width {self.width} must be a multiple of 2·heads ({2 * self.heads})")
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel {self.kernel} must be odd")
        if self.frontend == "kaldi" and self.normalize == "per_feature":
            raise ValueError(
                "frontend kaldi goes with normalize none or fixed: Kaldi does not normalise by utterance"
            )
        if self.streaming is not None and self.normalize == "per_feature":
            raise ValueError("streaming goes with normalize fixed or none: an utterance's own come too late")
        if any(exit_ >= self.layers for exit_ in self.exits):
            raise ValueError(f"exits {self.exits} must lie before the last of {self.layers} layers")
        return self


class PretrainedConfig(StudentConfig):
    """A Hugging Face CTC model made from another's weights: the teacher's, or those of a directory.

    Attributes:
        source: `teacher`, or the directory or hub id of a wav2vec2, HuBERT, WavLM, wav2vec2-BERT or
            Parakeet-CTC model, or a run of kdcompress. Without weights there, they are random; where it has
            other units, the head is.
        layers: how many of its layers to take, evenly spaced, the first and the last among them; or which,
            from 0. None takes all.
        frame_shift_ms: is the source's; another one is refused.
        budget: for which heads, units, channels and layers are cut where that costs least on the run's audio,
            and what is left refitted: `30MB` of weights in float32, `0.25x` of the source's, or `rtf:0.5x` of
            its time on one thread of this machine. None cuts nothing.
        dropout: of every dropout in the model; None leaves each as the source has it.
        model: its configuration as transformers has it; set when the student is made, and complete.
        inputs: of its feature extractor, likewise.
        sizes: of parts that were cut.
    """

    kind: Literal["pretrained"] = "pretrained"
    source: str = "teacher"
    layers: Annotated[int, Field(ge=1)] | tuple[Annotated[int, Field(ge=0)], ...] | None = None
    budget: str | None = None
    dropout: float | None = Field(None, ge=0, lt=1)
    model: dict[str, Any] | None = None
    inputs: dict[str, Any] | None = None
    sizes: Sizes = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check_layers(self) -> Self:
        if isinstance(self.layers, tuple) and list(self.layers) != sorted(set(self.layers)):
            raise ValueError(f"layers {list(self.layers)} must rise, from 0: [0, 2, 5]")
        if self.layers == ():
            raise ValueError("layers must name one at least")
        return self


class SeparableConfig(StudentConfig):
    """Depthwise-separable convolutions with gates, attention layers and a CTC head over log-mel features.

    It has no norms between the convolutions: it is meant to begin with weights (`training.start_from`) of a
    larger one, or of a teacher of this architecture. Ranks are those of two thin matrices in place of one.

    Attributes:
        width: D, channels.
        kernel: taps of the depthwise convolutions (odd).
        dilations: of each block's taps.
        gate: units from which a block's gates are computed.
        attention_layers: after the convolutions.
        heads: of attention.
        feed_forward: units of the feed-forward module of an attention layer.
        rank: of the pointwise convolutions; None: one full matrix, here and below.
        attention_rank: of the matrices of attention.
        edge_rank: of stem and head.
        frame_shift_ms: as of the Conformer.
        normalize: as of the Conformer.
        dropout: in training, after each block.
    """

    kind: Literal["separable"] = "separable"
    width: int = Field(256, ge=8)
    kernel: int = Field(9, ge=3)
    dilations: tuple[Annotated[int, Field(ge=1)], ...] = Field((1, 1, 2, 2, 4, 1), min_length=1)
    gate: int = Field(32, ge=1)
    attention_layers: int = Field(2, ge=0)
    heads: int = Field(4, ge=1)
    feed_forward: int = Field(512, ge=1)
    rank: int | None = Field(None, ge=1)
    attention_rank: int | None = Field(None, ge=1)
    edge_rank: int | None = Field(None, ge=1)
    frame_shift_ms: Literal[20, 40, 80] | None = None
    normalize: Literal["per_feature", "none", "fixed"] = "fixed"
    dropout: float = Field(0.0, ge=0, lt=1)

    @model_validator(mode="after")
    def _check_shape(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} must be a multiple of heads ({self.heads})")
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel {self.kernel} must be odd")
        return self


# Named by their parameter count with a vocabulary of 32: what decides the cost of serving them.
PRESETS: dict[str, dict[str, Any]] = {
    "0.2M": {"width": 64, "layers": 3, "heads": 2, "feed_forward": 2.0, "stem_channels": 16, "dropout": 0.05},
    "0.6M": {"width": 96, "layers": 4, "heads": 4, "feed_forward": 2.0, "stem_channels": 24, "dropout": 0.05},
    "1.2M": {
        "width": 120,
        "layers": 5,
        "heads": 4,
        "feed_forward": 2.0,
        "stem_channels": 32,
        "dropout": 0.05,
    },
    "3.5M": {"width": 144, "layers": 7, "heads": 4, "feed_forward": 4.0, "stem_channels": 32},
    "10M": {"width": 208, "layers": 10, "heads": 4, "feed_forward": 4.0, "stem_channels": 128},
    "30M": {"width": 320, "layers": 13, "heads": 8, "feed_forward": 4.0, "stem_channels": 256},
}

STUDENTS: Kinds[StudentConfig] = Kinds(
    "student",
    StudentConfig,
    {
        "conformer": Kind("kdcompress.students.conformer:ConformerStudent", ConformerConfig),
        "pretrained": Kind("kdcompress.students.pretrained:PretrainedStudent", PretrainedConfig),
        "separable": Kind("kdcompress.students.separable:SeparableStudent", SeparableConfig),
    },
    default="conformer",
)
"""The kinds of students: their targets derive from `kdcompress.students.student.Student`."""
