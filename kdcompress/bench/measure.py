"""The measurement itself.

Every candidate is loaded, then hears everything once: that pass warms it up, gives the transcripts and finds
out who crashes, answers NaN or says nothing. Only who passed is timed. The timed passes are interleaved: the
utterances come in blocks, each block goes to every candidate before the next one's turn, and who begins
rotates, so that a machine that is slow for a while is slow for all.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kdcompress.aliases import StageProgress
from kdcompress.audio.utterance import SAMPLE_RATE
from kdcompress.bench.block_timing import IsolatedCandidate, TimedCall, listen, one_line, time_block
from kdcompress.bench.candidate import Candidate, Waveform
from kdcompress.bench.timing import Clock
from kdcompress.bench.validity import Verdict, check_empty_output, check_fallback, check_silence
from kdcompress.report.measured import Facts, Memory, Throughput

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
    walls: dict[str, list[float]] = field(default_factory=dict)  # [s] per utterance and repeat
    cpu: float = 0.0
    first_result_seconds: float = 0.0
    memory: Memory | None = None
    throughput: list[Throughput] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Clip:
    """One utterance, decoded."""

    id: str
    text: str | None  # None: nobody knows
    samples: Waveform
    audio: Path = Path()

    @property
    def seconds(self) -> float:
        return len(self.samples) / SAMPLE_RATE


class Teller:
    """Adds up the seconds of audio that were heard; candidates that fail shrink the total."""

    def __init__(
        self,
        on_progress: StageProgress | None,
        audio_seconds: float,
        candidates: int,
        repeats: int,
        sweeps: int = 0,
    ) -> None:
        self._on_progress = on_progress
        self._audio_seconds = audio_seconds
        self._passes = 1 + repeats * (1 + sweeps)
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


def load_and_listen(
    run: Measured, clips: Sequence[Clip], tell: Teller, *, allow_fallback: bool = False
) -> None:
    """Load a candidate and let it hear everything once, untimed; notes down how it failed, if it did."""
    candidate = run.candidate
    tell(f"loading {candidate.name}")
    try:
        with Clock() as clock:
            candidate.load()
        run.load_seconds = candidate.load_seconds if isinstance(candidate, IsolatedCandidate) else clock.wall
    except Exception as error:  # whatever a runtime throws is a finding about it, not the end of the others
        run.failed = f"cannot be loaded: {one_line(error)}"
    for clip in clips:
        heard = None if run.failed else _hear(run, clip)
        if heard is None:
            break
        if not run.texts:
            run.first_result_seconds = run.load_seconds + heard.wall
        run.texts[clip.id] = heard.texts[0]
        tell(f"warming up {candidate.name}", clip.seconds)
    if not run.failed:
        _note(run, check_silence({clip.id: clip.text for clip in clips}, run.texts))
    if run.texts:
        _look_into(run, allow_fallback)
    if run.failed:
        tell.drop()


def judge_by_others(runs: Sequence[Measured], clips: Sequence[Clip], tell: Teller) -> None:
    """Note down who hears nothing where the others hear speech, and nobody has written down what was said."""
    unknown = {clip.id for clip in clips} - {clip.id for clip in clips if clip.text is not None}
    texts = {run.candidate.name: run.texts for run in runs if not run.failed}
    verdicts = check_empty_output(texts, unknown)
    for run in runs:
        if verdict := verdicts.get(run.candidate.name):
            _note(run, verdict)
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
    turn = time_block(run.candidate, [[clip.samples] for clip in block])
    if turn.failed is not None:
        run.failed = whose_failure(turn.failed, [[clip] for clip in block])
        return
    for clip, call in zip(block, turn.calls, strict=True):
        if call.texts[0] != run.texts[clip.id]:
            run.changed.add(clip.id)
        run.total[-1] += call.wall
        run.features[-1] += call.features
        run.model[-1] += call.model
        run.decoding[-1] += call.decoding
        run.latencies.append(call.wall)
        run.walls.setdefault(clip.id, []).append(call.wall)
        run.cpu += call.cpu


def _look_into(run: Measured, allow_fallback: bool) -> None:
    """Ask for memory and facts, in this order: a profile loads the graph a second time."""
    try:
        run.memory = run.candidate.memory() if isinstance(run.candidate, IsolatedCandidate) else None
        run.facts = run.candidate.facts()
    except Exception as error:  # as above; who has failed already may have no process left to ask
        run.failed = run.failed or f"does not say how it runs: {one_line(error)}"
    else:
        if not run.failed:
            _note(run, check_fallback(run.facts, allow_fallback))


def _note(run: Measured, verdict: Verdict) -> None:
    run.failed = verdict.void
    if verdict.note:
        run.notes.append(verdict.note)


def whose_failure(failed: tuple[int | None, str], groups: Sequence[Sequence[Clip]]) -> str:
    """Say at which utterances a turn failed, and why."""
    index, reason = failed
    some = [clip.id for group in (groups if index is None else [groups[index]]) for clip in group]
    return f"{some[0]}: {reason}" if len(some) == 1 else f"between {some[0]} and {some[-1]}: {reason}"


def _hear(run: Measured, clip: Clip) -> TimedCall | None:
    try:
        return listen(run.candidate, clip.samples)
    except Exception as error:  # as above: one bad utterance and the candidate is not timed
        run.failed = f"{clip.id}: {one_line(error)}"
        return None
