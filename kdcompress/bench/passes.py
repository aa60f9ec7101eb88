"""The timed passes, interleaved across candidates, in every setting of threads and batch size."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from kdcompress.bench.measure import AudioProgress, Clip, Measured, Passes
from kdcompress.bench.process import IsolatedCandidate
from kdcompress.bench.timing import one_line
from kdcompress.report.measured import Spread, Throughput

# Utterances in a row. Long enough that the untimed call before each block costs little, short enough that a
# slow spell of the machine meets all candidates.
BLOCK = 10


def time_settings(
    runs: Sequence[Measured],
    clips: Sequence[Clip],
    threads: Sequence[int],
    batches: Sequence[int],
    repeats: int,
    progress: AudioProgress,
) -> None:
    """Time the main passes, one utterance after the other, then every other setting for its throughput.

    The first number of threads is that of the main passes. Other numbers take another process each. Batches
    are of like duration; what a batch makes of the texts is noted. A candidate that fails on the way is left
    out from there on.
    """
    for count in threads:
        main = count == threads[0]
        alive = [run for run in runs if not run.failed]
        opened = [(run, run.candidate) for run in alive] if main else _reopened(alive, count)
        try:
            for batch in dict.fromkeys((1, *batches) if main else batches):
                label = "" if main and batch == 1 else f"{_threads(count)}, batches of {batch}"
                taking = [
                    _Timed(run, candidate) for run, candidate in opened if _takes(run, candidate, batch)
                ]
                _time_passes(taking, _blocks(clips, batch), repeats, progress, label)
                _note_throughput(taking, clips, count, batch)
                if not label:
                    for timed in taking:
                        timed.run.passes = timed.passes
        finally:
            if not main:
                for _, candidate in opened:
                    candidate.close()


@dataclass(eq=False)
class _Timed:
    """A candidate in one setting: the one that was warmed up, or the same model with other threads."""

    run: Measured
    candidate: IsolatedCandidate
    passes: Passes = field(default_factory=Passes)


def _time_passes(
    candidates: Sequence[_Timed],
    blocks: Sequence[Sequence[Sequence[Clip]]],
    repeats: int,
    progress: AudioProgress,
    label: str,
) -> None:
    """Time every candidate over all blocks; `label` names the setting, "" the main one."""
    turn = 0
    for repeat in range(repeats):
        for timed in candidates:
            timed.passes.begin()
        for block in blocks:
            alive = [timed for timed in candidates if not timed.run.failed]
            first = turn % max(len(alive), 1)
            turn += 1
            for timed in alive[first:] + alive[:first]:
                found = timed.candidate.time_block([[clip.samples for clip in group] for group in block])
                if found.failed is None:
                    for group, call in zip(block, found.calls, strict=True):
                        timed.passes.add(group, call, timed.run.texts)
                else:
                    where = f"{label}, " if label else ""
                    timed.run.failed = where + _failure(found.failed, block)
                    progress.drop()
                seconds = sum(clip.seconds for group in block for clip in group)
                progress(f"{label or 'timing'}, pass {repeat + 1} of {repeats}", seconds)


def _note_throughput(taking: Sequence[_Timed], clips: Sequence[Clip], threads: int, batch: int) -> None:
    audio = sum(clip.seconds for clip in clips)
    for run, passes in ((timed.run, timed.passes) for timed in taking if not timed.run.failed):
        rtfx = Spread.of([audio / seconds for seconds in passes.total])
        run.throughput.append(Throughput(threads=threads, batch=batch, rtfx=rtfx))
        if passes.changed and batch > 1:
            run.notes.append(
                f"{len(passes.changed)} of {len(clips)} transcripts differ in batches of {batch} "
                f"({_threads(threads)}) from those of utterances decoded alone"
            )


def _reopened(runs: Sequence[Measured], threads: int) -> list[tuple[Measured, IsolatedCandidate]]:
    opened = []
    for run in runs:
        other = run.candidate.with_threads(threads)
        try:
            other.load()
        except Exception as error:  # as everywhere: a finding about the candidate
            run.failed = f"cannot be loaded with {_threads(threads)}: {one_line(error)}"
            other.close()
        else:
            opened.append((run, other))
    return opened


def _takes(run: Measured, candidate: IsolatedCandidate, batch: int) -> bool:
    """Tell whether a candidate can be measured with a batch; notes down if it cannot take one."""
    takes = batch == 1 or candidate.batches
    note = f"was not measured with batches of {batch}: it takes one utterance at a time"
    if not takes and note not in run.notes:
        run.notes.append(note)
    return takes and not run.failed


def _blocks(clips: Sequence[Clip], batch: int) -> list[list[list[Clip]]]:
    """Group clips of like duration, and groups into what is decoded in a row."""
    ordered = list(clips) if batch == 1 else sorted(clips, key=lambda clip: (clip.seconds, clip.id))
    groups = [ordered[i : i + batch] for i in range(0, len(ordered), batch)]
    size = max(1, BLOCK // batch)
    return [groups[i : i + size] for i in range(0, len(groups), size)]


def _failure(failed: tuple[int | None, str], groups: Sequence[Sequence[Clip]]) -> str:
    """Say at which utterances a block failed, and why."""
    index, reason = failed
    some = [clip.id for group in (groups if index is None else [groups[index]]) for clip in group]
    return f"{some[0]}: {reason}" if len(some) == 1 else f"between {some[0]} and {some[-1]}: {reason}"


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"
