"""Choose the utterances with the most errors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kdcompress.report.pages.alignment import Alignment, Alignments
from kdcompress.report.record import CandidateResult, Report

WORST = 12
"""How many utterances a report shows unless told otherwise."""


@dataclass(frozen=True)
class WorstUtterance:
    """An utterance that somebody got wrong.

    Attributes:
        duration: [s].
        said: what counts as right, normalised; `written` is the same as it was given.
        found: what each candidate made of it, with its raw transcript.
    """

    id: str
    duration: float
    said: str
    written: str
    found: tuple[tuple[CandidateResult, Alignment, str], ...]

    @property
    def normalised(self) -> bool:
        """Whether normalisation changed any of the texts."""
        plain = {self.said, *(" ".join(e.written for e in a.edits if e.written) for _, a, _ in self.found)}
        written = [self.written, *(text for _, _, text in self.found)]
        return any(" ".join(text.split()) not in plain for text in written)

    @property
    def errors(self) -> int:
        """Of all candidates together."""
        return sum(alignment.errors for _, alignment, _ in self.found)


def worst_utterances(report: Report, alignments: Alignments, most: int = WORST) -> list[WorstUtterance]:
    """Return the utterances with the most word errors, worst first.

    The candidates take turns in naming their worst one, so that each one's are among them however many
    errors another makes. Of equally many errors the shorter text comes first: more of it is wrong.
    """
    queues = [_ranked(of) for of in alignments.of.values()]
    chosen: dict[str, None] = {}
    for turn in range(max(map(len, queues), default=0)):
        for queue in queues:
            if turn < len(queue) and len(chosen) < most:
                chosen[queue[turn]] = None
    found = [_collected(report, alignments, id_) for id_ in chosen]
    return sorted(found, key=lambda utterance: (-utterance.errors, len(utterance.said), utterance.id))


def _ranked(of: Mapping[str, Alignment]) -> Sequence[str]:
    wrong = [id_ for id_, alignment in of.items() if alignment.errors]
    return sorted(wrong, key=lambda id_: (-of[id_].errors, of[id_].said, id_))


def _collected(report: Report, alignments: Alignments, id_: str) -> WorstUtterance:
    return WorstUtterance(
        id_,
        next(utterance.duration for utterance in report.utterances if utterance.id == id_),
        alignments.truth[id_],
        alignments.raw[id_],
        tuple(
            (result, alignments.of[result.name][id_], result.hypotheses[id_])
            for result in report.measured
            if result.name in alignments.of
        ),
    )
