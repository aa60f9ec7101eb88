"""Which model to imitate: one class per kind."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, model_validator
from typing_extensions import Self

from kdcompress.config.base import Frozen
from kdcompress.config.kinds import Kind, Kinds


class TeacherConfig(Frozen):
    """What every kind of teacher has.

    Attributes:
        kind: names the class of the teacher.
    """

    kind: str


class CheckpointTeacher(TeacherConfig):
    """A kdcompress run directory, or one checkpoint directory of a run."""

    kind: Literal["checkpoint"] = "checkpoint"
    path: Path


Precision = Literal["auto", "fp32", "bf16"]


class HuggingFaceTeacher(TeacherConfig):
    """Anything that `AutoModelForCTC` opens: a hub id or a directory written by `save_pretrained`.

    Attributes:
        language: of a model with vocabularies and adapters of many (MMS), such as `eng`; None takes what its
            tokenizer says.
        precision: of its matrix products; auto takes bf16 on CUDA devices that have it, fp32 elsewhere.
    """

    kind: Literal["huggingface"] = "huggingface"
    path: str
    revision: str | None = None
    language: str | None = None
    precision: Precision = "auto"


class TorchaudioTeacher(TeacherConfig):
    """A recognition pipeline of torchaudio, such as WAV2VEC2_ASR_BASE_960H.

    Attributes:
        name: of the pipeline in `torchaudio.pipelines`.
        state_dict: a file of its weights; None takes that of torch hub's cache, or downloads it.
        precision: as of a model of Hugging Face.
    """

    kind: Literal["torchaudio"] = "torchaudio"
    name: str
    state_dict: Path | None = None
    precision: Precision = "auto"


class OnnxTeacher(TeacherConfig):
    """A CTC model as an ONNX graph: a kdcompress bundle, or a graph with its tokens beside it.

    Attributes:
        path: the directory, or the graph in it.
        variant: of a bundle; None takes fp32 where there is one.
        provider: where the graph runs; None goes where the training does.
        normalize: whether waveforms are brought to zero mean and unit variance. `auto` does what
            preprocessor_config.json says, and without one assumes so, as wav2vec2 and its relatives want it.
    """

    kind: Literal["onnx"] = "onnx"
    path: Path
    variant: str | None = None
    provider: Literal["cpu", "cuda"] | None = None
    normalize: bool | Literal["auto"] = "auto"


TEACHERS: Kinds[TeacherConfig] = Kinds(
    "teacher",
    TeacherConfig,
    {
        "checkpoint": Kind("kdcompress.teachers.checkpoint:StudentTeacher", CheckpointTeacher),
        "huggingface": Kind("kdcompress.teachers.huggingface:TransformersTeacher", HuggingFaceTeacher),
        "torchaudio": Kind("kdcompress.teachers.torchaudio_pipeline:PipelineTeacher", TorchaudioTeacher),
        "onnx": Kind("kdcompress.teachers.onnx_model:GraphTeacher", OnnxTeacher),
    },
)
"""The kinds of teachers: `target.open(config, device)` returns a `kdcompress.teachers.teacher.Teacher`."""


class EnsembleTeacher(TeacherConfig):
    """Teachers with the same tokens and frame shift, whose probabilities are averaged.

    Attributes:
        members: two or more.
        weights: one per member, in any unit; None weighs all the same.
    """

    kind: Literal["ensemble"] = "ensemble"
    members: tuple[Annotated[TeacherConfig, TEACHERS], ...] = Field(min_length=2)
    weights: tuple[PositiveFloat, ...] | None = None

    @model_validator(mode="after")
    def _one_weight_per_single_member(self) -> Self:
        if wrong := [member.kind for member in self.members if member.kind in {"ensemble", "cache"}]:
            raise ValueError(f"an ensemble has no members of kind {wrong[0]}; name the teachers one by one")
        if self.weights is not None and len(self.weights) != len(self.members):
            raise ValueError(f"{len(self.members)} members need as many weights, found {len(self.weights)}")
        return self


class CachedTeacher(TeacherConfig):
    """A teacher's posteriors as `kdcompress cache` wrote them: training then opens no teacher."""

    kind: Literal["cache"] = "cache"
    path: Path


class TextTeacherConfig(TeacherConfig):
    """A teacher that prints text only: a student learns its transcripts by CTC, whatever the objective is.

    Attributes:
        min_rate: fewest characters, without spaces, a second of audio; empty texts are kept.
        max_rate: most of them.
        max_repeats: most that a phrase of up to eight words may stand in a row.
        max_disagreement: largest share of characters in which a second pass may differ.
    """

    min_rate: float = Field(0.3, ge=0)
    max_rate: PositiveFloat = 30.0
    max_repeats: int = Field(4, ge=1)
    max_disagreement: float = Field(0.2, ge=0)


class TranscriptsTeacher(TextTeacherConfig):
    """Transcripts that a teacher printed before.

    Attributes:
        manifest: JSONL with texts; without `data.audio` also the audio. Ids are those of the audio.
        second: another of the same utterances by another pass, model or setting; where the two differ by more
            than `max_disagreement`, the utterance is left out.
    """

    kind: Literal["transcripts"] = "transcripts"
    manifest: Path
    second: Path | None = None


class CommandTeacher(TextTeacherConfig):
    """A program that transcribes a WAV file and prints the text, such as `whisper-cli -nt -np -f {audio}`.

    Attributes:
        command: split into arguments as a shell would, but run without one; {audio} becomes the file's path.
        second_speed: run it a second time, on audio played at so many times the speed; 1 is the same audio.
            None: once.
        timeout: of one run [s].
        jobs: runs at a time.
    """

    kind: Literal["command"] = "command"
    command: str
    second_speed: float | None = Field(None, ge=0.5, le=2.0)
    timeout: PositiveFloat = 120.0
    jobs: int = Field(1, ge=1)


TEACHERS.add("transcripts", "kdcompress.distill.data.teacher_texts:TextOnly", TranscriptsTeacher)
TEACHERS.add("command", "kdcompress.distill.data.teacher_texts:TextOnly", CommandTeacher)
TEACHERS.add("ensemble", "kdcompress.teachers.ensemble:Ensemble", EnsembleTeacher)
TEACHERS.add("cache", "kdcompress.distill.posteriors.cache:open_cache", CachedTeacher)
