"""Many files at once: those of like length in one run of the graph."""

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

from kdcompress.audio.decode import probe
from kdcompress.errors import AudioError, NumericsError
from kdcompress.runtime.recognizer import Recognizer
from kdcompress.runtime.transcript import Transcript

Outcome: TypeAlias = Transcript | AudioError | NumericsError

# Files are sorted by length among so many neighbours: the first texts need not wait for the last file.
_WINDOW = 128


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


def transcribe_files(
    recognizer: Recognizer,
    files: Sequence[Path],
    batch_seconds: float = 0.0,
    progress: Callable[[float], None] | None = None,
) -> Iterator[tuple[Path, Outcome]]:
    """Yield each file, in their order, with its transcript or with the error that it met.

    Args:
        recognizer: that listens.
        files: audio files.
        batch_seconds: of audio in one run of the graph, padding included [s]; 0 runs each file by itself,
            which keeps the text of an int8 graph independent of the files beside it: it takes the range of
            its activations from all that is in a run.
        progress: called with the seconds of audio that were read since the last call.
    """
    window = _WINDOW if batch_seconds > 0 else 1
    for first in range(0, len(files), window):
        some = files[first : first + window]
        durations = [_duration(file) for file in some] if batch_seconds > 0 else [0.0]
        outcomes: dict[int, Outcome] = {}
        for group in batches(durations, batch_seconds):
            outcomes |= zip(group, _heard(recognizer, [some[i] for i in group], progress), strict=True)
        yield from ((file, outcomes[index]) for index, file in enumerate(some))


def _heard(
    recognizer: Recognizer, files: Sequence[Path], progress: Callable[[float], None] | None
) -> list[Outcome]:
    try:
        return list(recognizer.transcribe_batch(files, progress=progress))
    except (AudioError, NumericsError) as error:
        if len(files) == 1:
            return [error]
    return [outcome for file in files for outcome in _heard(recognizer, [file], None)]


def _duration(file: Path) -> float:
    try:
        return probe(file).duration
    except AudioError:  # told where the file is heard, by itself
        return math.inf
