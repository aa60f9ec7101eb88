"""What is measured of a candidate that gives text while somebody speaks."""

from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher

import numpy as np
from pydantic import Field

from kdcompress.report.bootstrap import Interval, difference
from kdcompress.report.measured import Record


class StreamLoad(Record):
    """So many streams at once, each with a chunk at the same time.

    Attributes:
        streams: how many.
        p50, p99: of a chunk of all of them, samples to text [s].
        missed: share of chunks that took longer than they sound.
        per_core: streams that a core keeps up with: their audio / CPU time of all threads.
    """

    streams: int
    p50: float
    p99: float
    missed: float
    per_core: float


class Delay(Record):
    """How long after the reference candidate's spike something is shown, computing left out [s].

    A word's spike is where the reference candidate's last token of it ends, in the whole recording; the word
    is shown with the audio of the chunk in which it is complete.
    """

    p50: float
    p95: float


class Streaming(Record):
    """How a candidate streams.

    Attributes:
        chunk_seconds: audio of a chunk [s].
        word: delay of the words that reference candidate and candidate both have; None where the reference
            candidate tells no times.
        first: likewise, of the first text of each utterance after the first word's spike begins.
        words: how many.
        delays: of each utterance the mean over its words, by id [s].
        loads: for each number of streams that was asked for.
    """

    chunk_seconds: float = Field(gt=0)
    word: Delay | None = None
    first: Delay | None = None
    words: int = 0
    delays: Mapping[str, float] = {}
    loads: tuple[StreamLoad, ...] = ()


Words = Sequence[tuple[str, float, float]]
"""Each word with begin and end of its spikes [s]."""
Shown = Sequence[tuple[str, float]]
"""Each word and when it was there for good [s]."""


def with_delays(found: Streaming, shown: Mapping[str, Shown], spikes: Mapping[str, Words]) -> Streaming:
    """Add the delays of the words that are the same, in the same order, in both.

    Args:
        found: what else is known.
        shown: of the candidate, by utterance.
        spikes: of the reference candidate.
    """
    words, first, delays = [], [], {}
    for id_, ours in shown.items():
        theirs = spikes.get(id_, ())
        before, after = [one[0].casefold() for one in theirs], [one[0].casefold() for one in ours]
        matcher = SequenceMatcher(None, before, after, autojunk=False)
        here = [
            ours[block.b + i][1] - theirs[block.a + i][2]
            for block in matcher.get_matching_blocks()
            for i in range(block.size)
        ]
        if here:
            words += here
            delays[id_] = float(np.mean(here))
            first.append(ours[0][1] - theirs[0][1])
    if not words:
        return found
    changes = {"word": _delay(words), "first": _delay(first), "words": len(words), "delays": delays}
    return found.model_copy(update=changes)


def delay_change(new: Streaming | None, old: Streaming | None, *, seed: int = 0) -> Interval | None:
    """Return by how much words come later than in a baseline, over the utterances that both have [s]."""
    shared = sorted(new.delays.keys() & old.delays.keys()) if new and old else []
    if not new or not old or not shared:
        return None
    now, before = (
        np.array([[round(1e6 * one.delays[id_]) for id_ in shared]], np.int64) for one in (new, old)
    )
    change = difference(now, before, np.ones(len(shared), np.int64), seed=seed)
    return Interval(change.value * 1e-6, change.low * 1e-6, change.high * 1e-6)


def _delay(seconds: Sequence[float]) -> Delay:
    p50, p95 = np.percentile(seconds, [50, 95])
    return Delay(p50=float(p50), p95=float(p95))
