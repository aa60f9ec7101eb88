"""Throughput at numbers of threads and batch sizes, interleaved across candidates like everything else."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from kdcompress.bench.block_timing import IsolatedCandidate, one_line, takes_batches, time_block
from kdcompress.bench.candidate import Candidate
from kdcompress.bench.measure import BLOCK, Clip, Measured, Teller, whose_failure
from kdcompress.report.measured import Spread, Throughput


@dataclass
class _Entry:
    """A candidate in one setting."""

    run: Measured
    candidate: Candidate
    seconds: list[float] = field(default_factory=list)  # per repeat
    changed: set[str] = field(default_factory=set)


def sweep(
    runs: Sequence[Measured],
    clips: Sequence[Clip],
    threads: Sequence[int],
    batches: Sequence[int],
    repeats: int,
    tell: Teller,
) -> None:
    """Measure every setting that the main passes did not, and note down the throughput in all of them.

    The first number of threads is that of the main passes, which heard one utterance after the other. Other
    numbers take another process each, so only candidates that have one are measured with them. Batches are
    of like duration; what a batch makes of the texts is noted.
    """
    for run in runs:
        if not run.failed:
            audio = sum(clip.seconds for clip in clips)
            alone = Spread.of([audio / seconds for seconds in run.total])
            run.throughput.append(Throughput(threads[0], 1, alone))
    for count in threads:
        alive = [run for run in runs if not run.failed]
        entries = (
            [_Entry(run, run.candidate) for run in alive] if count == threads[0] else _reopened(alive, count)
        )
        try:
            for batch in batches:
                if (count, batch) != (threads[0], 1):
                    _measure(entries, clips, count, batch, repeats, tell)
        finally:
            for entry in entries:
                if (
                    isinstance(entry.candidate, IsolatedCandidate)
                    and entry.candidate is not entry.run.candidate
                ):
                    entry.candidate.close()


def _reopened(runs: Sequence[Measured], threads: int) -> list[_Entry]:
    entries = []
    for run in runs:
        if not isinstance(run.candidate, IsolatedCandidate):
            run.notes.append(f"was not measured with {_threads(threads)}: it has no process of its own")
            continue
        other = run.candidate.with_threads(threads)
        try:
            other.load()
        except Exception as error:  # as everywhere: a finding about the candidate
            run.failed = f"cannot be loaded with {_threads(threads)}: {one_line(error)}"
            other.close()
        else:
            entries.append(_Entry(run, other))
    return entries


def _measure(
    entries: Sequence[_Entry], clips: Sequence[Clip], threads: int, batch: int, repeats: int, tell: Teller
) -> None:
    blocks = _blocks(clips, batch)
    taking = [entry for entry in entries if batch == 1 or takes_batches(entry.candidate)]
    for entry in entries:
        entry.seconds, entry.changed = [], set()
        if entry not in taking and not entry.run.failed:
            entry.run.notes.append(
                f"was not measured with batches of {batch}: it hears one utterance at a time"
            )
    turn = 0
    for repeat in range(repeats):
        for entry in taking:
            entry.seconds.append(0.0)
        for block in blocks:
            alive = [entry for entry in taking if not entry.run.failed]
            first = turn % max(len(alive), 1)
            turn += 1
            for entry in alive[first:] + alive[:first]:
                _take(entry, block, threads, batch)
                heard = sum(clip.seconds for group in block for clip in group)
                tell(f"{_threads(threads)}, batches of {batch}, pass {repeat + 1} of {repeats}", heard)
                if entry.run.failed:
                    tell.drop()
    audio = sum(clip.seconds for clip in clips)
    for entry in taking:
        if not entry.run.failed:
            rtfx = Spread.of([audio / seconds for seconds in entry.seconds])
            entry.run.throughput.append(Throughput(threads, batch, rtfx))
            if entry.changed:
                entry.run.notes.append(
                    f"{len(entry.changed)} of {len(clips)} transcripts differ in batches of {batch} "
                    f"({_threads(threads)}) from those of utterances heard alone"
                )


def _take(entry: _Entry, block: Sequence[Sequence[Clip]], threads: int, batch: int) -> None:
    turn = time_block(entry.candidate, [[clip.samples for clip in group] for group in block])
    if turn.failed is not None:
        entry.run.failed = f"{_threads(threads)}, batches of {batch}, {whose_failure(turn.failed, block)}"
        return
    for group, call in zip(block, turn.calls, strict=True):
        entry.seconds[-1] += call.wall
        for clip, text in zip(group, call.texts, strict=True):
            if text != entry.run.texts[clip.id]:
                entry.changed.add(clip.id)


def _blocks(clips: Sequence[Clip], batch: int) -> list[list[list[Clip]]]:
    """Group clips of like duration, and groups into what is heard in a row."""
    ordered = list(clips) if batch == 1 else sorted(clips, key=lambda clip: (clip.seconds, clip.id))
    groups = [ordered[i : i + batch] for i in range(0, len(ordered), batch)]
    size = max(1, BLOCK // batch)
    return [groups[i : i + size] for i in range(0, len(groups), size)]


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"
