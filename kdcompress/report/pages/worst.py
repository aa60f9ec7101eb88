"""Choose the utterances that are worth listening to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kdcompress.report.pages.alignment import Alignment, Alignments
from kdcompress.report.pages.view import Entry, ReportView, number

WORST = 12
"""How many utterances a report shows unless told otherwise."""


@dataclass(frozen=True)
class WorstUtterance:
    """An utterance that somebody got wrong.

    Attributes:
        duration: [s], None where unknown.
        said: what counts as right, normalised; `written` is the same as it was given.
        heard: what each candidate made of it, with its raw transcript.
    """

    id: str
    duration: float | None
    said: str
    written: str
    heard: tuple[tuple[Entry, Alignment, str], ...]

    @property
    def errors(self) -> int:
        """Of all candidates together."""
        return sum(alignment.errors for _, alignment, _ in self.heard)


def worst_utterances(report: ReportView, alignments: Alignments, most: int = WORST) -> list[WorstUtterance]:
    """Return the utterances with the most word errors, worst first.

    The candidates take turns in naming their worst one, so that each one's are among them however many
    errors another makes. Of equally many errors the shorter text comes first: more of it is wrong.
    """
    queues = [_ranked(alignments.of[index]) for index in sorted(alignments.of)]
    chosen: dict[str, None] = {}
    for turn in range(max(map(len, queues), default=0)):
        for queue in queues:
            if turn < len(queue) and len(chosen) < most:
                chosen[queue[turn]] = None
    found = [_gathered(report, alignments, id_) for id_ in chosen]
    return sorted(found, key=lambda utterance: (-utterance.errors, len(utterance.said), utterance.id))


def _ranked(of: Mapping[str, Alignment]) -> Sequence[str]:
    wrong = [id_ for id_, alignment in of.items() if alignment.errors]
    return sorted(wrong, key=lambda id_: (-of[id_].errors, of[id_].said, id_))


def _gathered(report: ReportView, alignments: Alignments, id_: str) -> WorstUtterance:
    return WorstUtterance(
        id_,
        number(report.utterances.get(id_), "duration"),
        alignments.truth[id_],
        alignments.raw[id_],
        tuple(
            (entry, alignments.of[entry.index][id_], entry.hypotheses.get(id_, ""))
            for entry in report.measured
            if id_ in alignments.of.get(entry.index, {})
        ),
    )
