"""Many recordings: several at a time, or those of like length in one run of the graph."""

import math
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from kdcompress.audio.decode import probe
from kdcompress.audio.sources import Source, on_disk
from kdcompress.audio.utterance import Stretch
from kdcompress.errors import AudioError, KdcompressError, NumericsError
from kdcompress.runtime.recognizer import Recognizer
from kdcompress.runtime.transcript import Transcript

if TYPE_CHECKING:
    from multiprocessing.synchronize import Event

Task = TypeVar("Task")
Outcome: TypeAlias = Transcript | AudioError | NumericsError
Result: TypeAlias = tuple[Source, Outcome]
Read: TypeAlias = Callable[[float], None]
"""Called with the seconds of audio that were read since the last call."""

# Files are sorted by length among so many neighbours: the first texts need not wait for the last file.
_WINDOW = 128

# Processes are handed so many at a time: what goes to and fro costs them a twentieth of a short recording.
_HANDED = 8

# So many results wait for an earlier one at most: behind an hour's recording others still come to an end.
_AHEAD = 4096


def batches(durations: Sequence[float], seconds: float) -> list[list[int]]:
    """Group recordings of like length so that each group, padded to its longest, has at most so many seconds.

    What is longer than that is alone. Returns indices, each once.
    """
    groups: list[list[int]] = []
    for index in sorted(range(len(durations)), key=lambda i: (durations[i], i)):
        # The newest is the longest of its group.
        if groups and (len(groups[-1]) + 1) * durations[index] <= seconds:
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups


def transcribe_sources(
    recognizer: Recognizer,
    sources: Iterable[Source],
    *,
    jobs: int = 1,
    batch_seconds: float = 0.0,
    split: bool = False,
    progress: Read | None = None,
    again: Callable[[], Recognizer] | None = None,
) -> Iterator[Result]:
    """Yield each recording, in their order, with its transcript or with the error that it met.

    Args:
        recognizer: shared by the jobs, which pays with one thread each: two threads of one recording took
            twice the CPU time of two recordings with one thread each.
        sources: what to transcribe.
        jobs: recordings at a time; not with batches.
        batch_seconds: of audio in one run of the graph, padding included [s]; 0 runs each file by itself,
            which keeps the text of an int8 graph independent of the files beside it: it takes the range of
            its activations from all that is in a run.
        split: each channel of a recording with several by itself.
        progress: told how much was read.
        again: opens the recogniser anew, in a process for each job; it must be possible to pickle. Threads
            share one interpreter, which a short recording needs for a quarter of its time. Of what processes
            read `progress` is not told.

    Raises:
        KdcompressError: a process ended before its time.
    """
    if batch_seconds > 0:
        yield from _in_batches(recognizer, sources, batch_seconds, split, progress)
    elif jobs == 1:
        for source in sources:
            yield from _one(recognizer, source, split, progress)
    elif again is not None:
        yield from _in_processes(again, sources, jobs, split)
    else:
        yield from _at_a_time(recognizer, sources, jobs, split, progress)


def _at_a_time(
    recognizer: Recognizer, sources: Iterable[Source], jobs: int, split: bool, progress: Read | None
) -> Iterator[Result]:
    stopped = threading.Event()

    def read(seconds: float) -> None:
        if stopped.is_set():
            raise KeyboardInterrupt  # within an hour's recording too
        if progress is not None:
            progress(seconds)

    with ThreadPoolExecutor(jobs) as pool:
        try:
            yield from _in_order(pool, lambda one: list(_one(recognizer, one, split, read)), sources)
        finally:
            stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)


def _in_processes(
    again: Callable[[], Recognizer], sources: Iterable[Source], jobs: int, split: bool
) -> Iterator[Result]:
    import multiprocessing  # not above, like the next: the start of a single recording is felt
    from concurrent.futures.process import BrokenProcessPool, ProcessPoolExecutor

    # Forked, they would inherit locks that threads of onnxruntime and numpy hold.
    context = multiprocessing.get_context("spawn")
    stopped = context.Event()
    rest = iter(sources)
    with ProcessPoolExecutor(jobs, context, _Worker.begin, (again, split, stopped)) as pool:
        try:
            yield from _in_order(pool, _Worker.work, iter(lambda: list(islice(rest, _HANDED)), []))
        except BrokenProcessPool as error:
            raise KdcompressError(
                f"one of {jobs} processes that transcribed ended before its time; if memory is short, fewer "
                "copies of the model may fit: --jobs"
            ) from error
        finally:
            stopped.set()
            pool.shutdown(cancel_futures=True)  # nothing is left to wait for but what was just stopped


class _Worker:
    """What a process has between its tasks."""

    recognizer: Recognizer
    split: bool
    read: Read

    @classmethod
    def begin(cls, again: Callable[[], Recognizer], split: bool, stopped: "Event") -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; one is to answer
        threading.Thread(target=cls.follow, daemon=True).start()

        def read(seconds: float) -> None:
            if stopped.is_set():
                raise KeyboardInterrupt

        cls.recognizer, cls.split, cls.read = again(), split, staticmethod(read)

    @staticmethod
    def follow() -> None:
        """End with the process that this one works for, even if that one is killed."""
        from multiprocessing import parent_process

        parent = parent_process()
        assert parent is not None
        parent.join()
        os._exit(1)

    @classmethod
    def work(cls, sources: Sequence[Source]) -> list[Result]:
        return [result for one in sources for result in _one(cls.recognizer, one, cls.split, cls.read)]


def _in_order(
    pool: Executor, work: Callable[[Task], list[Result]], tasks: Iterable[Task]
) -> Iterator[Result]:
    """Yield the results of each task as soon as those of all before it are there."""
    waiting: deque[Future[list[Result]]] = deque()
    for task in tasks:
        waiting.append(pool.submit(work, task))
        while waiting and (len(waiting) >= _AHEAD or waiting[0].done()):
            yield from waiting.popleft().result()
    while waiting:
        yield from waiting.popleft().result()


def _one(recognizer: Recognizer, source: Source, split: bool, progress: Read | None) -> Iterator[Result]:
    """Transcribe one recording, which may be a pipe and have several channels."""
    try:
        with on_disk(source.stretch.audio) as path:
            for part in _split(source, path) if split else [source]:
                stretch = replace(part.stretch, audio=path)
                try:
                    [outcome] = recognizer.transcribe_batch([stretch], progress=progress)
                except (AudioError, NumericsError) as error:
                    yield part, type(error)(str(error).replace(str(path), str(source.stretch.audio)))
                else:
                    yield part, outcome
    except AudioError as error:
        yield source, error


def _split(source: Source, path: Path) -> list[Source]:
    if source.stretch.channel is not None:
        return [source]
    channels = probe(path).channels
    if channels == 1:
        return [source]
    return [
        Source(f"{source.name}.{channel}", replace(source.stretch, channel=channel))
        for channel in range(channels)
    ]


def _in_batches(
    recognizer: Recognizer,
    sources: Iterable[Source],
    seconds: float,
    split: bool,
    progress: Read | None,
) -> Iterator[Result]:
    rest = iter(sources)
    while window := list(islice(rest, _WINDOW)):
        some: list[Source] = []
        for source in window:
            try:
                some += _split(source, source.stretch.audio) if split else [source]
            except AudioError:  # told where it is read, by itself
                some.append(source)
        durations = [_duration(source.stretch) for source in some]
        results: dict[int, list[Result]] = {}
        for group in batches(durations, seconds):
            if len(group) == 1:
                results[group[0]] = list(_one(recognizer, some[group[0]], False, progress))
                continue
            try:
                stretches = [some[i].stretch for i in group]
                outcomes: list[Transcript] = recognizer.transcribe_batch(stretches, progress=progress)
            except (AudioError, NumericsError):
                for i in group:
                    results[i] = list(_one(recognizer, some[i], False, None))
            else:
                results |= {i: [(some[i], outcome)] for i, outcome in zip(group, outcomes, strict=True)}
        for index in range(len(some)):
            yield from results[index]


def _duration(stretch: Stretch) -> float:
    if stretch.duration is not None:
        return stretch.duration
    try:
        return probe(stretch.audio).duration - stretch.start
    except AudioError:  # a pipe, or told where the file is read, by itself
        return math.inf
