"""What a benchmark found, as data."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from kdcompress.errors import BenchError
from kdcompress.files import write_file
from kdcompress.report.accuracy import Accuracy
from kdcompress.report.differences import Difference
from kdcompress.report.measured import Facts, Machine, Memory, Timing
from kdcompress.report.scoring import Agreement, NonSpeech

SCHEMA = 2
KIND = "kdcompress-bench"


@dataclass(frozen=True)
class Settings:
    """How it was measured.

    Attributes:
        source: the manifest.
        utterances: how many.
        audio_seconds: their length together [s].
        repeats: timed passes over all utterances, after one untimed pass.
        block: utterances that a candidate hears in a row before the next one's turn.
        normalizer, normalizer_version: what both sides went through before they were compared.
        reference: the candidate that the others are compared with.
        seed: of the bootstrap.
        affinity: the cores that were kept to; None where the system chose.
        threads: for which the throughput was measured; the first is what all other figures were taken with.
        batches: utterances at once, for which it was measured.
    """

    source: str
    utterances: int
    audio_seconds: float
    repeats: int
    block: int
    normalizer: str
    normalizer_version: int
    reference: str
    seed: int
    affinity: tuple[int, ...] | None = None
    threads: tuple[int, ...] = (1,)
    batches: tuple[int, ...] = (1,)


@dataclass(frozen=True)
class Heard:
    """One utterance: what was said; None where nobody knows.

    Attributes:
        audio: path of the file, as given.
    """

    id: str
    duration: float
    reference: str | None
    audio: str = ""


@dataclass(frozen=True)
class CandidateResult:
    """What was found about one candidate.

    Attributes:
        failed: why it was not timed; None where all went well.
        hypotheses: raw text by utterance id; where it failed, up to there.
        timing: None where it failed.
        memory: of its process; None where it had none of its own.
        accuracy: None where it failed, and without references.
        seconds: time of each utterance, features to text, by id: its median over the repeats [s].
        non_speech, agreement: see `kdcompress.report.scoring.Score`.
    """

    name: str
    bytes: int | None
    parameters: int | None
    facts: Facts | None
    failed: str | None = None
    accuracy: Accuracy | None = None
    timing: Timing | None = None
    hypotheses: Mapping[str, str] = field(default_factory=dict)
    memory: Memory | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    non_speech: NonSpeech | None = None
    agreement: Agreement | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "name": self.name,
            "bytes": self.bytes,
            "parameters": self.parameters,
            "facts": asdict(self.facts) if self.facts else None,
            "failed": self.failed,
            "accuracy": self.accuracy.to_json() if self.accuracy else None,
            "timing": self.timing.to_json() if self.timing else None,
            "memory": asdict(self.memory) if self.memory else None,
            "hypotheses": dict(self.hypotheses),
            "seconds": dict(self.seconds),
            "non_speech": self.non_speech.to_json() if self.non_speech else None,
            "agreement": self.agreement.to_json() if self.agreement else None,
        }


@dataclass(frozen=True)
class BenchReport:
    """All of it.

    Attributes:
        created: when the run ended, UTC, ISO 8601.
        audio_decoding_rtf: reading, decoding and resampling the files, the same for all candidates and
            part of no other figure.
        utterances: what was to be heard.
        results: in the order in which the candidates were given.
        differences: of each candidate that did not fail from the reference candidate.
    """

    created: str
    machine: Machine
    settings: Settings
    audio_decoding_rtf: float
    utterances: tuple[Heard, ...]
    results: tuple[CandidateResult, ...]
    differences: tuple[Difference, ...] = ()

    @property
    def failed(self) -> bool:
        """Whether any candidate failed."""
        return any(result.failed for result in self.results)

    def to_json(self) -> dict[str, Any]:
        """Return plain data; the schema number changes when a key changes its meaning or goes."""
        return {
            "schema": SCHEMA,
            "kind": KIND,
            "created": self.created,
            "machine": asdict(self.machine),
            "settings": asdict(self.settings),
            "audio_decoding_rtf": self.audio_decoding_rtf,
            "utterances": [asdict(utterance) for utterance in self.utterances],
            "results": [result.to_json() for result in self.results],
            "differences": [difference.to_json() for difference in self.differences],
        }


def dump_report(report: BenchReport) -> str:
    """Return a report as JSON text."""
    return dump_json(report.to_json())


def dump_json(data: Mapping[str, Any]) -> str:
    """Return the JSON of a report as text."""
    return json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


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


def write_report(report: BenchReport, path: Path) -> None:
    """Write a report in one step: the file is complete, or as it was."""
    write_file(path, dump_report(report))
