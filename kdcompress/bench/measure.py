"""The measurement itself.

Every candidate is loaded, then hears everything once: that pass warms it up, gives the transcripts and finds
out who crashes, answers NaN or says nothing. Only who passed is timed. The timed passes are interleaved: the
utterances come in blocks, each block goes to every candidate before the next one's turn, and who begins
rotates, so that a machine that is slow for a while is slow for all.
"""

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from kdcompress.audio.utterance import SAMPLE_RATE
from kdcompress.bench.candidate import Candidate, Facts, Recognition, Waveform
from kdcompress.bench.timing import Clock

Progress: TypeAlias = Callable[[str, float, float], None]
"""Called with what is being done, the seconds of audio heard so far by all candidates, and their total."""

# Long enough that the untimed utterance before each block costs little, short enough that the machine's
# moods are shared.
BLOCK = 10


@dataclass
class Measured:
    """A candidate and what has been found about it so far."""

    candidate: Candidate
    facts: Facts | None = None
    failed: str | None = None
    load_seconds: float = 0.0
    texts: dict[str, str] = field(default_factory=dict)
    changed: set[str] = field(default_factory=set)
    total: list[float] = field(default_factory=list)  # [s] per repeat, like the next three
    features: list[float] = field(default_factory=list)
    model: list[float] = field(default_factory=list)
    decoding: list[float] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)  # [s] per call
    cpu: float = 0.0


@dataclass(frozen=True)
class Clip:
    """One utterance, decoded."""

    id: str
    text: str | None  # None: nobody knows
    samples: Waveform

    @property
    def seconds(self) -> float:
        return len(self.samples) / SAMPLE_RATE


class Teller:
    """Adds up the seconds of audio that were heard; candidates that fail shrink the total."""

    def __init__(
        self, on_progress: Progress | None, audio_seconds: float, candidates: int, repeats: int
    ) -> None:
        self._on_progress = on_progress
        self._audio_seconds = audio_seconds
        self._passes = 1 + repeats
        self._candidates = candidates
        self._done = 0.0

    def __call__(self, what: str, seconds: float = 0.0) -> None:
        self._done += seconds
        total = max(self._audio_seconds * self._candidates * self._passes, self._done)
        if self._on_progress is not None:
            self._on_progress(what, self._done, total)

    def drop(self) -> None:
        """Expect nothing more from one candidate."""
        self._candidates = max(self._candidates - 1, 0)


def load_and_listen(run: Measured, clips: Sequence[Clip], tell: Teller) -> None:
    """Load a candidate and let it hear everything once, untimed; notes down how it failed, if it did."""
    name = run.candidate.name
    tell(f"loading {name}")
    try:
        with Clock() as clock:
            run.candidate.load()
        run.load_seconds = clock.wall
        run.facts = run.candidate.facts()
    except Exception as error:  # whatever a runtime throws is a finding about it, not the end of the others
        run.failed = f"cannot be loaded: {_one_line(error)}"
    for clip in clips:
        if run.failed:
            break
        heard = _hear(run, clip)
        if heard is not None:
            run.texts[clip.id] = heard.text
            tell(f"warming up {name}", clip.seconds)
    spoken = [clip for clip in clips if clip.text is None or clip.text.strip()]
    if not run.failed and spoken and not any(run.texts[clip.id] for clip in spoken):
        known = spoken[0].text is not None
        run.failed = "every transcript is empty, though " + (
            f"{len(spoken)} references are not"
            if known
            else "no manifest says, with empty texts, that all is silence"
        )
    if run.failed:
        tell.drop()


def time_passes(runs: Sequence[Measured], clips: Sequence[Clip], repeats: int, tell: Teller) -> None:
    """Time interleaved passes over everything; who fails on the way is left out from there on."""
    blocks = [clips[i : i + BLOCK] for i in range(0, len(clips), BLOCK)]
    turn = 0
    for repeat in range(repeats):
        for run in runs:
            for sums in (run.total, run.features, run.model, run.decoding):
                sums.append(0.0)
        for block in blocks:
            alive = [run for run in runs if not run.failed]
            if not alive:
                return
            first = turn % len(alive)
            turn += 1
            for run in alive[first:] + alive[:first]:
                _time_block(run, block)
                tell(f"timing, pass {repeat + 1} of {repeats}", sum(clip.seconds for clip in block))
                if run.failed:
                    tell.drop()


def _time_block(run: Measured, block: Sequence[Clip]) -> None:
    # Untimed: the caches and the CPU's clock belong to whoever ran before.
    if _hear(run, block[0]) is None:
        return
    gc.disable()
    try:
        for clip in block:
            with Clock() as clock:
                heard = _hear(run, clip)
            if heard is None:
                return
            if heard.text != run.texts[clip.id]:
                run.changed.add(clip.id)
            run.total[-1] += clock.wall
            run.features[-1] += heard.features
            run.model[-1] += heard.model
            run.decoding[-1] += heard.decoding
            run.latencies.append(clock.wall)
            run.cpu += clock.cpu
    finally:
        gc.enable()


def _hear(run: Measured, clip: Clip) -> Recognition | None:
    try:
        return run.candidate.recognise(clip.samples)
    except Exception as error:  # as above: one bad utterance and the candidate is not timed
        run.failed = f"{clip.id}: {_one_line(error)}"
        return None


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
