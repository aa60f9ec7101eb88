"""Word by word, what was said and what was heard instead."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import jiwer

from kdcompress.errors import ConfigError
from kdcompress.report.pages.view import Entry, ReportView, mapping, number, text
from kdcompress.text.normalize import normalize

EditKind: TypeAlias = Literal["equal", "substitute", "insert", "delete"]


@dataclass(frozen=True, slots=True)
class Edit:
    """One word that was said, heard, or both; the other side is "" where it was only one of them."""

    kind: EditKind
    said: str
    heard: str


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
        Alignment(tuple(edit for chunk in chunks for edit in _edits(chunk, said, heard)))
        for chunks, said, heard in zip(output.alignments, output.references, output.hypotheses, strict=True)
    ]


def _edits(chunk: Any, said: Sequence[str], heard: Sequence[str]) -> list[Edit]:
    ours = said[chunk.ref_start_idx : chunk.ref_end_idx]
    theirs = heard[chunk.hyp_start_idx : chunk.hyp_end_idx]
    if chunk.type == "insert":
        return [Edit("insert", "", word) for word in theirs]
    if chunk.type == "delete":
        return [Edit("delete", word, "") for word in ours]
    return [Edit(chunk.type, word, other) for word, other in zip(ours, theirs, strict=True)]


class Alignments:
    """Every utterance of a report, aligned for every candidate that did not fail.

    Attributes:
        truth: what counts as said, normalised, by utterance id: the references or, without any, the
            transcripts of the candidate that stands in for them.
        of: alignments by utterance id, by a candidate's index.
        caution: why they may differ from what the report counted; "" where they do not.
    """

    def __init__(self, report: ReportView) -> None:
        self._normalizer = text(report.data, "settings", "normalizer") or "basic"
        self.unknown_normalizer = False
        stand_in = next((e for e in report.measured if e.name == report.agreement_with), None)
        raw = (
            stand_in.hypotheses
            if stand_in
            else {id_: text(found, "reference") for id_, found in report.utterances.items()}
        )
        self.raw: Mapping[str, str] = {id_: raw[id_] for id_ in report.utterances if id_ in raw}
        self.truth = {id_: self.normalized(said) for id_, said in self.raw.items()}
        self.of: dict[int, dict[str, Alignment]] = {}
        if any(self.truth.values()):
            compared = [entry for entry in report.measured if entry is not stand_in]
            self.of = {entry.index: self._aligned(entry) for entry in compared}
        self.caution = self._caution(report)

    def normalized(self, said: str) -> str:
        """Apply the report's normaliser; a text stays as it is where there is none of that name."""
        try:
            return normalize(said, self._normalizer)
        except ConfigError:
            self.unknown_normalizer = True
            return said

    def _aligned(self, entry: Entry) -> dict[str, Alignment]:
        heard = entry.hypotheses
        ids = [id_ for id_ in self.truth if id_ in heard]
        return dict(
            zip(
                ids,
                align([self.truth[id_] for id_ in ids], [self.normalized(heard[id_]) for id_ in ids]),
                strict=True,
            )
        )

    def _caution(self, report: ReportView) -> str:
        if self.unknown_normalizer:
            return (
                f"The texts are compared as written: this version of kdcompress has no normaliser named "
                f"{self._normalizer}."
            )
        for entry in report.measured:
            counted = mapping(entry.data, "accuracy", "wer")
            if entry.index not in self.of or report.agreement_with or not counted:
                continue
            reported = sum(
                number(counted, kind) or 0 for kind in ("substitutions", "insertions", "deletions")
            )
            if reported != (found := sum(a.errors for a in self.of[entry.index].values())):
                return (
                    f"The report counted {reported:.0f} errors of {entry.name}, these alignments {found}: "
                    f"the texts or the normaliser have changed."
                )
        return ""
