"""Recordings that are longer than an utterance may be become stretches that end at pauses.

The rule is the runtime's own, so that a student is trained on what it will be given. It needs the samples:
each long recording is decoded once before training, by as many threads as there are cores.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from kdcompress.aliases import Progress
from kdcompress.audio.decode import read_blocks
from kdcompress.audio.manifest import BadFile
from kdcompress.audio.utterance import SAMPLE_RATE, Utterance
from kdcompress.config.data import DataConfig
from kdcompress.cores import available_cores
from kdcompress.errors import AudioError
from kdcompress.runtime.chunks import LONGEST, Chunking, windows

_GRID = SAMPLE_RATE // 100
_SHORTEST_CHUNK = 1.0  # [s] `Chunking` makes none below


def fit(
    utterances: Sequence[Utterance],
    data: DataConfig,
    *,
    cut: bool = True,
    on_progress: Progress | None = None,
) -> tuple[list[Utterance], list[Utterance], list[BadFile]]:
    """Return what is as long as the recipe asks for, what is not, and what could not be decoded to be cut.

    Args:
        utterances: in any order, which stays; a long one's stretches take its place.
        data: the recipe's limits, and whether to cut.
        cut: False where transcripts are needed, which cannot be cut.
        on_progress: called with the long recordings done and their number.
    """
    cutting = cut and data.longer == "cut" and data.max_seconds >= _SHORTEST_CHUNK
    long = [u for u in utterances if u.duration > data.max_seconds] if cutting else []
    stretches: dict[str, list[Utterance] | BadFile] = {}
    if long:
        with ThreadPoolExecutor(available_cores()) as threads:
            for done, (one, found) in enumerate(
                zip(long, threads.map(lambda u: _stretches(u, data), long), strict=True), 1
            ):
                stretches[one.id] = found
                if on_progress is not None:
                    on_progress(done, len(long))
    kept: list[Utterance] = []
    outside: list[Utterance] = []
    bad: list[BadFile] = []
    for utterance in utterances:
        parts = stretches.get(utterance.id, [utterance])
        if isinstance(parts, BadFile):
            bad.append(parts)
            continue
        for part in parts:
            (kept if data.min_seconds <= part.duration <= data.max_seconds else outside).append(part)
    return kept, outside, bad


def _stretches(utterance: Utterance, data: DataConfig) -> list[Utterance] | BadFile:
    try:
        return list(_cut(utterance, min(data.max_seconds, LONGEST)))
    except AudioError as error:
        return BadFile(utterance.audio, str(error))


def _cut(utterance: Utterance, seconds: float) -> Iterator[Utterance]:
    chunking = Chunking(seconds, overlap=min(4.0, seconds / 4))
    blocks = read_blocks(
        utterance.audio, 10.0, utterance.start, utterance.duration, channel=utterance.channel
    )
    at = 0
    for window in windows(blocks, chunking, _GRID):
        if window.ends != "silence":
            start = utterance.start + at / SAMPLE_RATE
            id_ = f"{utterance.id}@{start:.2f}"
            yield replace(utterance, id=id_, start=start, duration=len(window.waveform) / SAMPLE_RATE)
        at += window.advance
