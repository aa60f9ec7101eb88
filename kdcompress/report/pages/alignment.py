"""Word by word, what was said and what was recognised instead."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import jiwer

from kdcompress.errors import ConfigError
from kdcompress.report.record import CandidateResult, Report
from kdcompress.text.normalize import normalize

EditKind: TypeAlias = Literal["equal", "substitute", "insert", "delete"]


@dataclass(frozen=True, slots=True)
class Edit:
    """One word that was said, recognised, or both; the other side is "" where it was only one of them."""

    kind: EditKind
    said: str
    written: str


@dataclass(frozen=True, slots=True)
class Alignment:
    """What one candidate made of one utterance."""

    edits: tuple[Edit, ...]

    def count(self, kind: EditKind) -> int:
        """Return how many words were substituted, inserted, deleted or right."""
        return sum(edit.kind == kind for edit in self.edits)

    @property
    def errors(self) -> int:
        """Words that are not equal."""
        return sum(edit.kind != "equal" for edit in self.edits)

    @property
    def said(self) -> int:
        """Words in the reference."""
        return sum(edit.kind != "insert" for edit in self.edits)


def align(references: Sequence[str], hypotheses: Sequence[str]) -> list[Alignment]:
    """Align texts word by word with as few edits as possible, in the same order."""
    if not references:
        return []
    output = jiwer.process_words(list(references), list(hypotheses))
    return [
        Alignment(tuple(edit for chunk in chunks for edit in _edits(chunk, said, written)))
        for chunks, said, written in zip(output.alignments, output.references, output.hypotheses, strict=True)
    ]


def _edits(chunk: Any, said: Sequence[str], written: Sequence[str]) -> list[Edit]:
    ours = said[chunk.ref_start_idx : chunk.ref_end_idx]
    theirs = written[chunk.hyp_start_idx : chunk.hyp_end_idx]
    if chunk.type == "insert":
        return [Edit("insert", "", word) for word in theirs]
    if chunk.type == "delete":
        return [Edit("delete", word, "") for word in ours]
    return [Edit(chunk.type, word, other) for word, other in zip(ours, theirs, strict=True)]


class Alignments:
    """Every utterance of a report, aligned for every candidate that did not fail.

    Attributes:
        truth: what counts as said, normalised, by utterance id: the references or, without any, the
            transcripts of the candidate that stands in for them; `raw` is the same as written.
        of: alignments by candidate and utterance id.
        caution: why they may differ from what the report counted; "" where they do not.
    """

    def __init__(self, report: Report) -> None:
        self._normalizer = report.settings.normalizer
        stand_in = report.result(report.stand_in)
        self.raw: Mapping[str, str] = (
            {one.id: stand_in.hypotheses[one.id] for one in report.utterances}
            if stand_in
            else {one.id: one.reference or "" for one in report.utterances}
        )
        self.caution = ""
        self.truth = {id_: self._normalized(text) for id_, text in self.raw.items()}
        self.of: dict[str, dict[str, Alignment]] = {}
        if any(self.truth.values()):
            compared = [result for result in report.measured if result is not stand_in]
            self.of = {result.name: self._aligned(result) for result in compared}
        if not self.caution and not stand_in:
            self.caution = self._miscounted(report)

    def _normalized(self, text: str) -> str:
        """Apply the report's normaliser; a text stays as it is where there is none of that name."""
        try:
            return normalize(text, self._normalizer)
        except ConfigError:
            self.caution = (
                f"The texts are compared as written: this version of kdcompress has no normaliser named "
                f"{self._normalizer}."
            )
            return text

    def _aligned(self, result: CandidateResult) -> dict[str, Alignment]:
        hypotheses = [self._normalized(result.hypotheses[id_]) for id_ in self.truth]
        return dict(zip(self.truth, align(list(self.truth.values()), hypotheses), strict=True))

    def _miscounted(self, report: Report) -> str:
        for result in report.measured:
            if result.accuracy is None or result.name not in self.of:
                continue
            counted = result.accuracy.wer.errors
            if counted != (found := sum(a.errors for a in self.of[result.name].values())):
                return (
                    f"The report counted {counted} errors of {result.name}, these alignments {found}: "
                    f"the texts or the normaliser have changed."
                )
        return ""
