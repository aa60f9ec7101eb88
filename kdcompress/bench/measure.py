"""The measurement itself.

Every candidate is loaded, then decodes everything once: that pass warms it up, gives the transcripts and
finds out which ones crash, answer NaN or say nothing. Only what passed is timed. The timed passes are
interleaved: the utterances come in blocks, each block goes to every candidate before the next one's turn, and
the first in turn rotates, so that a machine that is slow for a while is slow for all.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kdcompress.aliases import FloatArray, StageProgress
from kdcompress.audio.utterance import SAMPLE_RATE
from kdcompress.bench.process import IsolatedCandidate
from kdcompress.bench.timing import TimedCall, one_line
from kdcompress.bench.validity import Validity, check_empty_output, check_fallback, check_silence
from kdcompress.report.measured import Facts, Memory, Throughput


@dataclass(frozen=True)
class Clip:
    """One utterance with its samples; `text` is None where nobody knows what was said."""

    id: str
    text: str | None
    samples: FloatArray
    audio: Path = Path()

    @property
    def seconds(self) -> float:
        return len(self.samples) / SAMPLE_RATE


@dataclass
class Passes:
    """The timed passes of one candidate over everything, in one setting.

    Attributes:
        total, features, model, decoding: per pass [s].
        walls: of each utterance, per pass; of batches, of the first utterance in each [s].
        cpu: of all passes, all threads [s].
        changed: utterances whose text was not that of the first, untimed pass.
    """

    total: list[float] = field(default_factory=list)
    features: list[float] = field(default_factory=list)
    model: list[float] = field(default_factory=list)
    decoding: list[float] = field(default_factory=list)
    walls: dict[str, list[float]] = field(default_factory=dict)
    cpu: float = 0.0
    changed: set[str] = field(default_factory=set)

    def begin(self) -> None:
        """Begin another pass."""
        for sums in (self.total, self.features, self.model, self.decoding):
            sums.append(0.0)

    def add(self, clips: Sequence[Clip], call: TimedCall, texts: dict[str, str]) -> None:
        """Add one call to the pass that was begun last."""
        self.total[-1] += call.wall
        self.features[-1] += call.features
        self.model[-1] += call.model
        self.decoding[-1] += call.decoding
        self.cpu += call.cpu
        self.walls.setdefault(clips[0].id, []).append(call.wall)
        self.changed.update(
            clip.id for clip, text in zip(clips, call.texts, strict=True) if text != texts[clip.id]
        )


@dataclass
class Measured:
    """A candidate and what has been found about it so far."""

    candidate: IsolatedCandidate
    facts: Facts | None = None
    failed: str | None = None
    texts: dict[str, str] = field(default_factory=dict)
    first_result_seconds: float = 0.0
    memory: Memory | None = None
    passes: Passes = field(default_factory=Passes)
    throughput: list[Throughput] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def judge(self, validity: Validity) -> None:
        """Note down what makes it void, or doubtful."""
        self.failed = self.failed or validity.void
        if validity.note:
            self.notes.append(validity.note)


class AudioProgress:
    """Adds up the seconds of audio that were decoded; candidates that fail shrink the total."""

    def __init__(
        self, report: StageProgress | None, audio_seconds: float, candidates: int, passes: float
    ) -> None:
        self._report = report
        self._pass_seconds = audio_seconds * passes
        self._candidates = candidates
        self._done = 0.0

    def __call__(self, stage: str, seconds: float = 0.0) -> None:
        self._done += seconds
        if self._report is not None:
            self._report(stage, self._done, max(self._pass_seconds * self._candidates, self._done))

    def drop(self) -> None:
        """Expect nothing more from one candidate."""
        self._candidates = max(self._candidates - 1, 0)


def warm_up(
    runs: Sequence[Measured], clips: Sequence[Clip], progress: AudioProgress, *, fallback: bool
) -> None:
    """Load the candidates and decode everything once with each, untimed; notes down which of them fail.

    Args:
        runs: what is loaded.
        clips: what is decoded.
        progress: of it.
        fallback: models may compute elsewhere than on the provider asked for.
    """
    for run in runs:
        _warm_up(run, clips, progress)
        if not run.failed:
            run.judge(check_silence({clip.id: clip.text for clip in clips}, run.texts))
        if run.texts:
            _inspect(run, fallback)
        if run.failed:
            progress.drop()
    unknown = {clip.id for clip in clips if clip.text is None}
    alive = {run.candidate.name: run for run in runs if not run.failed}
    for name, validity in check_empty_output(
        {name: run.texts for name, run in alive.items()}, unknown
    ).items():
        alive[name].judge(validity)
        if alive[name].failed:
            progress.drop()


def _warm_up(run: Measured, clips: Sequence[Clip], progress: AudioProgress) -> None:
    candidate = run.candidate
    progress(f"loading {candidate.name}")
    try:
        candidate.load()
    except Exception as error:  # whatever a runtime throws is a finding about it, not the end of the others
        run.failed = f"cannot be loaded: {one_line(error)}"
        return
    for clip in clips:
        try:
            call = candidate.time_call([clip.samples])
        except Exception as error:  # as above: one bad utterance and the candidate is not timed
            run.failed = f"{clip.id}: {one_line(error)}"
            return
        if not run.texts:
            run.first_result_seconds = candidate.load_seconds + call.wall
        run.texts[clip.id] = call.texts[0]
        progress(f"warming up {candidate.name}", clip.seconds)


def _inspect(run: Measured, fallback: bool) -> None:
    """Ask for memory and facts, in this order: a profile loads the graph a second time."""
    try:
        run.memory = run.candidate.memory()
        run.facts = run.candidate.facts()
    except Exception as error:  # as above; what has failed already may have no process left to ask
        run.failed = run.failed or f"does not say how it runs: {one_line(error)}"
    else:
        if not run.failed:
            run.judge(check_fallback(run.facts, fallback))
