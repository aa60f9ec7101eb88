"""What to measure, as plain data that can be handed to another process."""

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, TypeAlias, get_args

from typing_extensions import Self

from kdcompress.errors import ConfigError
from kdcompress.runtime.session import Provider

RuntimeName: TypeAlias = Literal["kdcompress", "sherpa-onnx", "onnx-asr", "torch"]
RUNTIMES: tuple[RuntimeName, ...] = get_args(RuntimeName)


@dataclass(frozen=True)
class ModelSpec:
    """A model in a runtime.

    Attributes:
        runtime: what runs it.
        path: of a bundle, of an ONNX file with its tokens beside it, or what names a teacher of torch.
        name: unique in a report.
        variant: of a bundle; None for other models.
        graph: the ONNX file, for runtimes of other people.
        layout: of the graph, for these: the name of a profile.
        provider: what it runs on.
        threads: given to it.
        precision: of the graph, or that torch is to compute with.
    """

    runtime: RuntimeName
    path: str
    name: str
    variant: str | None = None
    graph: str = ""
    layout: str = ""
    provider: Provider = "cpu"
    threads: int = 1
    precision: str = "fp32"

    def with_threads(self, threads: int) -> Self:
        """Return the same with another number of threads."""
        return replace(self, threads=threads)

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """Rebuild what `to_json` returned."""
        return cls(**data)


def read_runtimes(text: str | None) -> tuple[RuntimeName, ...]:
    """Read names separated by commas; None or nothing gives none.

    Raises:
        ConfigError: there is no such runtime, or one is named twice.
    """
    names = [part.strip() for part in (text or "").split(",") if part.strip()]
    known = tuple(runtime for name in names for runtime in RUNTIMES if runtime == name)
    if len(known) != len(names) or len(set(names)) != len(names):
        raise ConfigError(
            f"--runtime {text}: expected names out of {', '.join(RUNTIMES)}, separated by commas, each once"
        )
    return known
