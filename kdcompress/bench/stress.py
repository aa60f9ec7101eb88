"""What candidates print when the same utterances come with silence, noise, codecs and the like; untimed."""

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np
import soundfile

from kdcompress.audio.stress import (
    EMPTY,
    JOINED,
    JOINED_GAP,
    JOINED_SECONDS,
    STRESSES,
    Samples,
    Stress,
    empty_clips,
)
from kdcompress.audio.utterance import SAMPLE_RATE
from kdcompress.bench.measure import AudioProgress, Clip, Measured
from kdcompress.bench.timing import one_line
from kdcompress.errors import BenchError, did_you_mean
from kdcompress.report.scored import Stressed

_CLIPS = sum(len(clip) for clip in empty_clips()) / SAMPLE_RATE


def read_stresses(text: str) -> tuple[str, ...]:
    """Read names of stresses separated by commas; `all` stands for every one.

    Raises:
        BenchError: there is none of a name.
    """
    if text == "all":
        return tuple(STRESSES)
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    if unknown := [name for name in names if name not in STRESSES]:
        raise BenchError(
            f"no stress {unknown[0]!r}{did_you_mean(unknown[0], STRESSES)}; there are all, "
            f"{', '.join(STRESSES)}"
        )
    return names


def stressed_seconds(names: Sequence[str], audio_seconds: float) -> float:
    """Return the audio that each candidate will decode [s], to within the silence that is added."""
    return sum(_CLIPS if name == EMPTY else audio_seconds for name in names)


def run_stresses(
    runs: Sequence[Measured], clips: Sequence[Clip], names: Sequence[str], progress: AudioProgress
) -> tuple[Stressed, ...]:
    """Let every candidate that did not fail decode the utterances under each stress.

    A candidate that fails under one is noted and left out of it, as is a stress whose codec libsndfile lacks.
    """
    alive = [run for run in runs if not run.failed]
    done = (_run(STRESSES[name], alive, clips, progress) for name in names)
    return tuple(one for one in done if one is not None)


def _run(
    stress: Stress, runs: Sequence[Measured], clips: Sequence[Clip], progress: AudioProgress
) -> Stressed | None:
    texts: dict[str, list[str]] = {run.candidate.name: [] for run in runs}
    groups: list[tuple[str, ...]] = []
    seconds = 0.0
    try:
        for ids, samples in _stressed(stress, clips):
            groups.append(ids)
            seconds += len(samples) / SAMPLE_RATE
            for run in runs:
                if run.candidate.name not in texts:
                    continue
                try:
                    call = run.candidate.time_call([samples.astype(np.float32)])
                except Exception as error:  # whatever a runtime throws is a finding about it
                    run.notes.append(f"failed under the stress {stress.name}, {ids[0]}: {one_line(error)}")
                    del texts[run.candidate.name]
                    continue
                texts[run.candidate.name].append(call.texts[0])
                progress(f"stress: {stress.name}", len(samples) / SAMPLE_RATE)
    except soundfile.LibsndfileError as error:
        for run in runs:
            run.notes.append(f"the stress {stress.name} was left out: {one_line(error)}")
        return None
    return Stressed(
        name=stress.name,
        about=stress.about,
        seconds=seconds,
        groups=tuple(groups),
        hypotheses={name: tuple(of) for name, of in texts.items()},
    )


def _stressed(stress: Stress, clips: Sequence[Clip]) -> Iterator[tuple[tuple[str, ...], Samples]]:
    """Yield the ids of utterances and what becomes of them."""
    if stress.name == EMPTY:
        for index, empty in enumerate(empty_clips()):
            yield (f"{EMPTY}-{index:02}",), empty
    elif stress.name == JOINED:
        yield from _joined(clips)
    else:
        for clip in clips:
            seed = hashlib.sha256(f"{stress.name}/{clip.id}".encode()).digest()[:8]
            rng = np.random.default_rng(int.from_bytes(seed, "big"))
            yield (clip.id,), stress.change(clip.samples.astype(np.float64), rng)


def _joined(clips: Sequence[Clip]) -> Iterator[tuple[tuple[str, ...], Samples]]:
    row: list[Clip] = []
    gap = np.zeros(round(JOINED_GAP * SAMPLE_RATE))
    for clip in (*clips, None):
        seconds = sum(one.seconds + JOINED_GAP for one in row)
        if row and (clip is None or seconds + clip.seconds > JOINED_SECONDS):
            parts = [part for one in row for part in (one.samples, gap)]
            yield tuple(one.id for one in row), np.concatenate(parts[:-1]).astype(np.float64)
            row = []
        if clip is not None:
            row.append(clip)
