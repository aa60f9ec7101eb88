"""A report: one record that a benchmark fills, a file keeps, and scoring, gate, tables and pages read."""

import json
import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, model_validator
from typing_extensions import Self

from kdcompress.digests import sealed, unsealed
from kdcompress.errors import BenchError
from kdcompress.report.live import Streaming
from kdcompress.report.measured import Estimate, Facts, Machine, Memory, Record, Timing
from kdcompress.report.scored import Accuracy, Agreement, Difference, ErrorRate, NonSpeech, Stressed, Verdict

SCHEMA = 2
"""The schema that is written; its number changes when a key changes its meaning or goes."""
SCHEMAS = (1, 2)
KIND = "kdcompress-bench"


class ReferenceText(Record):
    """An utterance and what was said in it.

    Attributes:
        duration: [s].
        reference: as written; None where nobody knows.
        audio: path of the file, as given.
    """

    id: str
    duration: float = Field(ge=0)
    reference: str | None
    audio: str = ""


class Settings(Record):
    """How it was measured and scored.

    Attributes:
        source: the manifest.
        utterances: how many.
        audio_seconds: their length together [s].
        repeats: timed passes over all utterances, after one untimed pass.
        block: utterances that a candidate decodes in a row before the next one's turn.
        normalizer, normalizer_version: what both sides went through before they were compared.
        reference: the candidate that the others are compared with.
        seed: of the bootstrap.
        affinity: the cores that were kept to; None where the system chose.
        threads: for which the throughput was measured; the first is what all other figures were taken with.
        batches: utterances at once, for which it was measured.
    """

    source: str = ""
    utterances: int | None = None
    audio_seconds: float | None = None
    repeats: int = 0
    block: int | None = None
    normalizer: str
    normalizer_version: int | None = None
    reference: str
    seed: int = 0
    affinity: tuple[int, ...] | None = None
    threads: tuple[int, ...] = (1,)
    batches: tuple[int, ...] = (1,)


class CandidateResult(Record):
    """What was found about one candidate.

    Attributes:
        gzip_bytes: of its graph, sent with gzip; None for other models, and in reports of before.
        failed: why it was not timed; None where all went well.
        hypotheses: raw text by utterance id; where it failed, up to there.
        timing: None where it failed, and where texts alone are known.
        seconds: time of each utterance, features to text, by id: its median over the repeats [s].
        streaming: where it was measured.
        accuracy, non_speech, agreement: None without references, where all references hold words, and for
            the reference candidate.
    """

    name: str
    bytes: int | None = None
    gzip_bytes: int | None = None
    parameters: int | None = None
    facts: Facts | None = None
    failed: str | None = None
    accuracy: Accuracy | None = None
    timing: Timing | None = None
    memory: Memory | None = None
    hypotheses: Mapping[str, str]
    seconds: Mapping[str, float] = {}
    streaming: Streaming | None = None
    non_speech: NonSpeech | None = None
    agreement: Agreement | None = None

    @property
    def rtf(self) -> Estimate | None:
        """Processing time / audio time, end to end."""
        return self.timing.rtf.estimate if self.timing else None

    @property
    def notes(self) -> tuple[str, ...]:
        """What makes its figures doubtful."""
        return self.facts.notes if self.facts else ()


class Report(Record):
    """All of it.

    Attributes:
        created: when the run ended, UTC, ISO 8601.
        machine: None where texts alone are known.
        audio_decoding_rtf: reading, decoding and resampling the files, the same for all candidates and
            part of no other figure.
        results: in the order in which the candidates were given.
        differences: of each candidate that did not fail from the reference candidate.
        gate: where the report was compared with an earlier one, or held against limits under stress.
        stresses: the same utterances under stress, where that was asked for.
    """

    created: str = ""
    machine: Machine | None = None
    settings: Settings
    audio_decoding_rtf: float | None = None
    utterances: tuple[ReferenceText, ...] = Field(min_length=1)
    results: tuple[CandidateResult, ...] = Field(min_length=1)
    differences: tuple[Difference, ...] = ()
    gate: Verdict | None = None
    stresses: tuple[Stressed, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> Self:
        ids = [utterance.id for utterance in self.utterances]
        names = [result.name for result in self.results]
        if len(set(ids)) < len(ids) or len(set(names)) < len(names):
            raise ValueError("two utterances, or two candidates, have one name")
        for result in self.measured:
            if set(ids) - set(result.hypotheses):
                raise ValueError(f"{result.name} did not fail, but lacks hypotheses")
        return self

    @property
    def measured(self) -> list[CandidateResult]:
        """The candidates that did not fail."""
        return [result for result in self.results if not result.failed]

    @property
    def failed(self) -> list[CandidateResult]:
        """The candidates that did."""
        return [result for result in self.results if result.failed]

    def result(self, name: str) -> CandidateResult | None:
        """Return the candidate of that name, if there is one."""
        return next((result for result in self.results if result.name == name), None)

    @cached_property
    def stand_in(self) -> str:
        """The candidate whose transcripts stand in for references; "" where there are references."""
        if any(result.accuracy and result.accuracy.wer.estimate for result in self.results):
            return ""
        return next((result.agreement.reference for result in self.measured if result.agreement), "")

    def index(self, name: str) -> int:
        """Return a candidate's place in the report, which is also its colour and its mark on every plot."""
        return [result.name for result in self.results].index(name)

    def error(self, result: CandidateResult) -> ErrorRate | None:
        """Return the word errors or, without references, the differences from the candidate instead."""
        if self.stand_in:
            return result.agreement.wer if result.agreement else None
        return result.accuracy.wer if result.accuracy else None

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        data = self.model_dump(mode="json", by_alias=True)
        for name in ("gate", "stresses"):
            if not data[name]:
                del data[name]
        return {"schema": SCHEMA, "kind": KIND, **data}

    def dump(self) -> str:
        """Return JSON as text."""
        return json.dumps(sealed(self.to_json()), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def read_report(path: Path) -> Report:
    """Read a report of this version or an earlier one.

    Raises:
        BenchError: the file cannot be read, is no report, or is of a schema not known here.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise BenchError(f"cannot read the report {path}: {reason}") from error
    except (ValueError, RecursionError) as error:
        raise BenchError(f"{path} is not JSON; expected a report written by bench --json") from error
    try:
        data = unsealed(data)
    except (ValueError, RecursionError) as error:
        raise BenchError(f"{path} is a damaged report: {error}; measure again") from error
    return parse_report(data, str(path))


def parse_report(data: object, source: str) -> Report:
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
        return Report.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise BenchError(f"{source} is a damaged report: {where}: {first['msg'].lower()}") from error


def check_writable(path: Path) -> None:
    """Find out before minutes of measuring whether a report can be written.

    Raises:
        BenchError: the path is a folder, or its folder is missing or not writable.
    """
    if path.is_dir():
        raise BenchError(f"{path} is a folder; give a file name for the report")
    if not path.parent.is_dir():
        raise BenchError(f"the folder {path.parent} for the report does not exist; create it first")
    if not os.access(path.parent, os.W_OK):
        raise BenchError(f"the folder {path.parent} for the report is not writable; choose another")
