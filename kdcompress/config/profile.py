"""An export profile: which graph a directory holds, for whom, and what lies beside it."""

from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from kdcompress.config.base import Frozen, describe_faults
from kdcompress.errors import ConfigError
from kdcompress.plain_yaml import read_yaml

LayoutName = Literal["portable", "waveform", "kaldi", "streaming", "telephone"]


class Consumer(Frozen):
    """A runtime that loads the profile's bundles as they are.

    Attributes:
        runtime: its name.
        package: the Python distribution that must be installed. None where there is no such thing: then the
            program itself tells its `--version`, or says what is missing and ends with exit code 77.
        program: the smallest program for it, in export/consumers; it imports nothing of kdcompress.
        features: `same` when it computes what we compute (or the graph computes it), `own` when it has a
            definition of its own, so that a transcript may differ now and then.
        only_normalized: it cannot serve students trained with `normalize: none`.
        card: how to run it, for the model card; `<name>`, `<file>` and `<quantization>` are filled in.
        refusal: stands there instead for students that it cannot serve.
    """

    runtime: str
    package: str | None
    program: str
    features: Literal["same", "own"]
    only_normalized: bool = False
    card: str | None = None
    refusal: str | None = None

    def serves(self, normalize: str) -> bool:
        """Tell whether it can run a student of such features."""
        return normalize != "none" or not self.only_normalized


class ProfileConfig(Frozen):
    """What one file of export/profiles says.

    Attributes:
        about: one line.
        layout: names and axes of the graph's inputs and outputs.
        frontend: what the student must have been trained on.
        opset: of the default ONNX domain; the consumers' onnxruntime must know it.
        files: families of files for runtimes that want more than the graph and tokens.txt.
        consumers: in the order of the model card.
    """

    about: str
    layout: LayoutName
    frontend: Literal["logmel", "kaldi"]
    opset: int = Field(20, ge=17)
    files: tuple[Literal["onnx-asr", "transformers"], ...] = ()
    consumers: tuple[Consumer, ...] = ()


def read_profile(path: Path) -> ProfileConfig:
    """Read a profile.

    Raises:
        ConfigError: the file cannot be read, or is no profile.
    """
    try:
        data = read_yaml(path)
        return ProfileConfig.model_validate(data)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read as a profile: {' '.join(str(error).split())}") from error
    except ValidationError as error:
        raise ConfigError(f"{path} is no profile: {describe_faults(error, ProfileConfig, data)}") from error
