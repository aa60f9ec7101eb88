"""Which model to imitate."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from kdcompress.config.base import Frozen


class CheckpointTeacher(Frozen):
    """A kdcompress run directory, or one checkpoint directory of a run."""

    kind: Literal["checkpoint"] = "checkpoint"
    path: Path


class HuggingFaceTeacher(Frozen):
    """Anything that `AutoModelForCTC` opens: a hub id or a directory written by `save_pretrained`."""

    kind: Literal["huggingface"] = "huggingface"
    path: str
    revision: str | None = None


class CachedTeacher(Frozen):
    """What a teacher said, as `kdcompress cache` wrote it down: training then opens no teacher."""

    kind: Literal["cache"] = "cache"
    path: Path


TeacherConfig = Annotated[CheckpointTeacher | HuggingFaceTeacher | CachedTeacher, Field(discriminator="kind")]
