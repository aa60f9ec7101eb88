"""Score streaming students at each size of chunk: word errors, and how much later than the teacher they are.

    python recipes/streaming.py an4/test.jsonl --teacher recipes/demo/teacher --against runs/whole-0 -- \
        runs/window-0 runs/window-1 runs/shift-0

Runs whose names differ in what follows the last hyphen only are seeds of one row. Those of --against are
given whole utterances; differences to them are paired by utterance, and by seed where there are as many.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

import numpy as np
import torch

from kdcompress.analysis.student_score import DecodedUtterance, decode, spike_offsets, word_errors
from kdcompress.audio.manifest import read_references
from kdcompress.audio.utterance import Reference
from kdcompress.report.bootstrap import Interval, difference, rate
from kdcompress.students.weights import load_student
from kdcompress.teachers.open import open_teacher, resolve_teacher
from kdcompress.text.normalize import normalize

HEAD = (
    "| student | seeds | chunk [ms] | WER % [95 %] | to whole, points [95 %] | later than the teacher [ms], "
    "median (p95) | its chunk ends [ms], median (p95) |\n|---|---:|---:|---:|---:|---:|---:|\n"
)


@dataclass(frozen=True)
class Decoded:
    """What a student made of the test set.

    Attributes:
        errors: of words, by utterance.
        later: of each token that both have, its first frame minus the teacher's [ms].
        printed: likewise, the end of its chunk; empty for whole utterances.
    """

    errors: list[int]
    later: list[float]
    printed: list[float]


class TestSet:
    """References, and what the teacher makes of their audio."""

    def __init__(self, references: Sequence[Reference], teacher: str) -> None:
        self.utterances = [reference.utterance for reference in references]
        self.truth = [normalize(reference.text, "basic") for reference in references]
        self.words = np.array([len(text.split()) for text in self.truth])
        opened = open_teacher(resolve_teacher(teacher))
        self.shift = opened.frame_shift

        def model(waveforms: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            found = opened.posteriors(waveforms, lengths)
            return found.log_probs, found.lengths

        self.taught = decode(model, opened.vocabulary, self.shift, self.utterances)

    def decoded(self, run: Path, chunk_ms: str) -> Decoded:
        """Run a student in chunks of so many milliseconds, or on whole utterances where that is `full`."""
        found = load_student(run)
        found.model.select_chunk(None if chunk_ms == "full" else int(chunk_ms))
        shift = found.model.frame_shift
        heard = decode(found.model, found.vocabulary, shift, self.utterances)
        texts = [normalize(heard[utterance.id].text, "basic") for utterance in self.utterances]
        errors = [sum(edits) for edits in word_errors(self.truth, texts)]
        frames = 1 if chunk_ms == "full" else round(int(chunk_ms) / 1000 / shift)
        later, printed = (self._later(heard, shift, count) for count in (0, frames))
        return Decoded(errors, later, [] if chunk_ms == "full" else printed)

    def _later(self, heard: dict[str, DecodedUtterance], shift: float, chunk: int) -> list[float]:
        offsets = []
        for utterance in self.utterances:
            own, its = heard[utterance.id].hypothesis, self.taught[utterance.id].hypothesis
            if chunk:
                own = replace(own, starts=tuple((at // chunk + 1) * chunk for at in own.starts))
            offsets += spike_offsets(own, shift, its, self.shift)
        return [1000 * offset for offset in offsets]


def main() -> None:
    """Print a table in Markdown."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("manifest", type=Path)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--teacher", required=True)
    parser.add_argument("--against", nargs="+", type=Path, required=True)
    parser.add_argument("--chunk-ms", nargs="+", default=["160", "320", "640", "full"])
    args = parser.parse_args()
    test = TestSet(read_references(args.manifest), args.teacher)
    whole = np.array([test.decoded(run, "full").errors for run in args.against])
    sys.stdout.write(f"{len(test.truth)} utterances, {test.words.sum()} words; ")
    sys.stdout.write(f"whole utterances: {percent(rate(whole, test.words))}\n\n{HEAD}")
    for name, group in groupby(args.runs, lambda run: run.name.rpartition("-")[0] or run.name):
        runs = list(group)
        for chunk_ms in args.chunk_ms:
            found = [test.decoded(run, chunk_ms) for run in runs]
            errors = np.array([one.errors for one in found])
            base = whole if len(whole) == len(errors) else np.tile(whole[:1], (len(errors), 1))
            cells = (
                *(name, str(len(runs)), chunk_ms, percent(rate(errors, test.words))),
                percent(difference(errors, base, test.words)),
                spread([time for one in found for time in one.later]),
                spread([time for one in found for time in one.printed]),
            )
            sys.stdout.write(f"| {' | '.join(cells)} |\n")
            sys.stdout.flush()


def percent(interval: Interval) -> str:
    """Return an interval in percent."""
    return f"{100 * interval.value:.1f} [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"


def spread(times: Sequence[float]) -> str:
    """Return median and 95th percentile."""
    return f"{np.median(times):.0f} ({np.percentile(times, 95):.0f})" if times else ""


if __name__ == "__main__":
    main()
