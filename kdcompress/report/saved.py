"""A report read back: what rescoring and the gate need of it, of JSON schema 1 or 2."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from typing_extensions import Self

from kdcompress.errors import BenchError
from kdcompress.report.report import KIND
from kdcompress.report.scoring import ReferenceText

SCHEMAS = (1, 2)


class _Saved(BaseModel):
    # Reports of later versions have more keys; finite numbers only, since every one of them is compared.
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class SavedSpread(_Saved):
    """See `kdcompress.bench.timing.Spread`."""

    median: float = Field(gt=0)
    low: float = Field(gt=0)
    high: float = Field(gt=0)
    repeats: int


class SavedTiming(_Saved):
    """The part of `kdcompress.bench.timing.Timing` that is compared."""

    rtf: SavedSpread
    speed: SavedSpread | None = None


class SavedFacts(_Saved):
    """Where a candidate ran; all None in what was made of raw hypotheses alone."""

    runtime: str | None = None
    provider: str | None = None
    threads: int | None = None


class SavedDifference(_Saved):
    """See `kdcompress.report.differences.Difference`."""

    candidate: str
    baseline: str
    measure: str
    value: float
    low: float
    high: float

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.measure == "rtf" and min(self.value, self.low, self.high) <= 0:
            raise ValueError("a ratio of times is above zero")
        return self


class SavedResult(_Saved):
    """One candidate."""

    name: str
    bytes: int | None = None
    facts: SavedFacts | None = None
    failed: str | None = None
    timing: SavedTiming | None = None
    hypotheses: dict[str, str]
    seconds: dict[str, float] = Field(default_factory=dict)


class SavedUtterance(_Saved):
    """One utterance; None as reference where nobody knows."""

    id: str
    duration: float
    reference: str | None
    audio: str = ""


class SavedMachine(_Saved):
    """What decides how fast things are; not the system's release, which every update changes."""

    cpu: str
    usable_cores: int
    gpu: tuple[str, ...] = ()


class SavedSettings(_Saved):
    """How it was measured and scored."""

    normalizer: str
    reference: str
    repeats: int = 0
    seed: int = 0


class SavedReport(_Saved):
    """A report."""

    machine: SavedMachine | None = None
    settings: SavedSettings
    utterances: tuple[SavedUtterance, ...] = Field(min_length=1)
    results: tuple[SavedResult, ...]
    differences: tuple[SavedDifference, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> Self:
        ids = [utterance.id for utterance in self.utterances]
        names = [result.name for result in self.results]
        if len(set(ids)) < len(ids) or len(set(names)) < len(names):
            raise ValueError("two utterances, or two candidates, have one name")
        for result in self.results:
            if not result.failed and set(ids) - set(result.hypotheses):
                raise ValueError(f"{result.name} did not fail, but lacks hypotheses")
        return self

    def result(self, name: str) -> SavedResult | None:
        """Return the candidate of that name, if there is one."""
        return next((result for result in self.results if result.name == name), None)

    def spoken(self) -> list[ReferenceText]:
        """Return the utterances as scoring takes them."""
        return [ReferenceText(one.id, one.duration, one.reference) for one in self.utterances]

    def complete(self) -> dict[str, dict[str, str]]:
        """Return the raw hypotheses of every candidate that did not fail."""
        return {result.name: result.hypotheses for result in self.results if not result.failed}


def read_report(path: Path) -> dict[str, Any]:
    """Read the JSON of a report, and see that `parse_report` takes it.

    Raises:
        BenchError: the file cannot be read, is no report, or is of a schema not known here.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BenchError(
            f"cannot read the report {path}: {(error.strerror or str(error)).lower()}"
        ) from error
    except (ValueError, RecursionError) as error:
        raise BenchError(f"{path} is not JSON; expected a report written by bench --json") from error
    parse_report(data, str(path))
    report: dict[str, Any] = data
    return report


def parse_report(data: Any, source: str) -> SavedReport:
    """Check the JSON of a report.

    Raises:
        BenchError: it is no report, or of a schema not known here.
    """
    if not isinstance(data, Mapping) or data.get("kind") != KIND:
        raise BenchError(f"{source} is not a report written by bench --json")
    if data.get("schema") not in SCHEMAS:
        raise BenchError(
            f"{source} is a report of schema {data.get('schema')!r}; this version of kdcompress reads "
            f"{' and '.join(map(str, SCHEMAS))}: measure again"
        )
    try:
        return SavedReport.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise BenchError(f"{source} is a damaged report: {where}: {first['msg'].lower()}") from error
