"""Score streaming students at each size of chunk: word errors, and how much later than the teacher they are.

    python recipes/streaming.py an4/test.jsonl --teacher recipes/demo/teacher --against runs/whole-0 \
        --results results.json --runs runs/fixed-0 runs/fixed-1 runs/window-0 runs/window-1

Runs whose names differ in what follows the last hyphen only are seeds of one row. Those of --against are
given whole utterances; differences to them, and to the first row, are paired by utterance, and by seed where
there are as many. With --phones the references are phones, and errors are of characters. What is in the
file of results already is not decoded again; without runs, all in it are shown.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kdcompress.analysis.student_score import (
    DecodedUtterance,
    character_errors,
    decode,
    spike_offsets,
    word_errors,
)
from kdcompress.audio.manifest import read_references
from kdcompress.audio.utterance import Reference
from kdcompress.files import write_file
from kdcompress.report.bootstrap import Interval, difference, rate
from kdcompress.students.weights import load_student
from kdcompress.teachers.open import open_teacher, resolve_teacher
from kdcompress.text.normalize import normalize

HEAD = (
    "| student | seeds | chunk [ms] | errors % [95 %] | to whole, points [95 %] | to the first row [95 %] | "
    "later than the teacher [ms], median (p95) | its chunk ends [ms], median (p95) |\n"
    "|---|---:|---:|---:|---:|---:|---:|---:|\n"
)


@dataclass(frozen=True)
class Decoded:
    """What a student made of the test set.

    Attributes:
        errors: of words or phones, by utterance.
        later: how many of the tokens that both have come so many milliseconds after the teacher's.
        printed: likewise the end of their chunk and its look-ahead; empty for whole utterances.
    """

    errors: list[int]
    later: dict[int, int]
    printed: dict[int, int]


class TestSet:
    """References, and what the teacher makes of their audio."""

    def __init__(self, references: Sequence[Reference], teacher: str, phones: bool = False) -> None:
        self.utterances = [reference.utterance for reference in references]
        self._normalizer = "none" if phones else "basic"
        self._errors = character_errors if phones else word_errors
        self.truth = [normalize(reference.text, self._normalizer) for reference in references]
        self.units = np.array([len(text) if phones else len(text.split()) for text in self.truth])
        self._teacher = teacher

    @cached_property
    def taught(self) -> tuple[float, dict[str, DecodedUtterance]]:
        """Return the teacher's frame shift [s] and what it decodes."""
        opened = open_teacher(resolve_teacher(self._teacher))

        def model(waveforms: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            found = opened.posteriors(waveforms, lengths)
            return found.log_probs, found.lengths

        shift = opened.frame_shift
        return shift, decode(model, opened.vocabulary, shift, self.utterances)

    def decoded(self, run: Path, chunk_ms: str) -> Decoded:
        """Run a student in chunks of so many milliseconds, or on whole utterances where that is `full`."""
        found = load_student(run)
        found.model.select_chunk(None if chunk_ms == "full" else int(chunk_ms))
        shift = found.model.frame_shift
        heard = decode(found.model, found.vocabulary, shift, self.utterances)
        texts = [normalize(heard[utterance.id].text, self._normalizer) for utterance in self.utterances]
        errors = [sum(edits) for edits in self._errors(self.truth, texts)]
        if chunk_ms == "full":
            return Decoded(errors, self._later(heard, shift, 0, 0), {})
        chunks = found.model.context
        return Decoded(
            errors, *(self._later(heard, shift, *ends) for ends in ((0, 0), (chunks.frames, chunks.ahead)))
        )

    def _later(
        self, heard: dict[str, DecodedUtterance], shift: float, chunk: int, ahead: int
    ) -> dict[int, int]:
        offsets = []
        teachers_shift, taught = self.taught
        for utterance in self.utterances:
            own, its = heard[utterance.id].hypothesis, taught[utterance.id].hypothesis
            if chunk:
                own = replace(own, starts=tuple((at // chunk + 1) * chunk + ahead for at in own.starts))
            offsets += spike_offsets(own, shift, its, teachers_shift)
        return dict(sorted(Counter(round(1000 * offset) for offset in offsets).items()))


class Results:
    """What was decoded, kept in a file of JSON: by run and size of chunk."""

    def __init__(self, test: TestSet, path: Path | None) -> None:
        self._test, self._path = test, path
        known = json.loads(path.read_text(encoding="utf-8")) if path and path.exists() else {}
        self.known: dict[str, dict[str, Any]] = known

    def decoded(self, run: Path, chunk_ms: str) -> Decoded:
        """Return what is known of a run, or decode."""
        if chunk_ms not in self.known.setdefault(run.name, {}):
            self.known[run.name][chunk_ms] = vars(self._test.decoded(run, chunk_ms))
            if self._path:
                lines = [f"{json.dumps(name)}: {json.dumps(found)}" for name, found in self.known.items()]
                write_file(self._path, "{\n" + ",\n".join(lines) + "\n}\n")
        kept = self.known[run.name][chunk_ms]
        later, printed = ({int(ms): n for ms, n in kept[key].items()} for key in ("later", "printed"))
        return Decoded(kept["errors"], later, printed)


def main() -> None:
    """Print a table in Markdown."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--runs", nargs="+", type=Path)
    parser.add_argument("--teacher", required=True)
    parser.add_argument("--against", nargs="+", type=Path, required=True)
    parser.add_argument("--chunk-ms", nargs="+", default=["160", "320", "640", "full"])
    parser.add_argument("--results", type=Path)
    parser.add_argument("--phones", action="store_true", help="references are phones")
    args = parser.parse_args()
    test = TestSet(read_references(args.manifest), args.teacher, args.phones)
    results = Results(test, args.results)
    shown = args.runs or [Path(name) for name in results.known if name not in {x.name for x in args.against}]
    whole = np.array([results.decoded(run, "full").errors for run in args.against])
    units = f"{test.units.sum()} {'characters' if args.phones else 'words'}"
    sys.stdout.write(f"{len(test.truth)} utterances, {units}; ")
    sys.stdout.write(f"whole utterances: {percent(rate(whole, test.units))}\n\n{HEAD}")
    first: dict[str, np.ndarray] = {}
    for name, group in groupby(shown, lambda run: run.name.rpartition("-")[0] or run.name):
        runs = list(group)
        for chunk_ms in args.chunk_ms:
            found = [results.decoded(run, chunk_ms) for run in runs]
            errors = np.array([one.errors for one in found])
            cells = (
                *(name, str(len(runs)), chunk_ms, percent(rate(errors, test.units))),
                paired(errors, whole, test.units),
                paired(errors, first[chunk_ms], test.units) if chunk_ms in first else "",
                spread(one.later for one in found),
                spread(one.printed for one in found),
            )
            first.setdefault(chunk_ms, errors)
            sys.stdout.write(f"| {' | '.join(cells)} |\n")
            sys.stdout.flush()


def paired(errors: np.ndarray, base: np.ndarray, words: np.ndarray) -> str:
    """Return the difference to a baseline, of as many seeds or of its first."""
    return percent(
        difference(errors, base if len(base) == len(errors) else base[:1].repeat(len(errors), 0), words)
    )


def percent(interval: Interval) -> str:
    """Return an interval in percent."""
    return f"{100 * interval.value:.1f} [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"


def spread(counted: Iterable[dict[int, int]]) -> str:
    """Return median and 95th percentile of times."""
    times = [ms for counts in counted for ms, n in counts.items() for _ in range(n)]
    return f"{np.median(times):.0f} ({np.percentile(times, 95):.0f})" if times else ""


if __name__ == "__main__":
    main()
