"""The measurement itself.

Every candidate is loaded, then hears everything once: that pass warms it up, gives the transcripts and finds
out who crashes, answers NaN or says nothing. Only who passed is timed. The timed passes are interleaved: the
utterances come in blocks, each block goes to every candidate before the next one's turn, and who begins
rotates, so that a machine that is slow for a while is slow for all.
"""

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import TypeAlias

from kdcompress.audio.decode import read_audio
from kdcompress.audio.utterance import SAMPLE_RATE, Reference
from kdcompress.bench.accuracy import Accuracy, score
from kdcompress.bench.candidate import Candidate, Facts, Recognition, Waveform
from kdcompress.bench.machine import describe_machine
from kdcompress.bench.report import BenchReport, CandidateResult, Heard, Settings
from kdcompress.bench.timing import Clock, Latency, Spread, Timing, paired_speed
from kdcompress.errors import BenchError
from kdcompress.text.normalize import NORMALIZER_VERSION, NormalizerName, normalize

Progress: TypeAlias = Callable[[str, float, float], None]
"""Called with what is being done, the seconds of audio heard so far by all candidates, and their total."""

# Long enough that the untimed utterance before each block costs little, short enough that the machine's
# moods are shared.
BLOCK = 10

# Cores busy on average while the clock ran, as parts of one: below, others had the CPU; that many above the
# stated threads, something did not keep to them.
_TOO_IDLE = 0.8
_TOO_MANY = 0.2


@dataclass
class _Run:
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
class _Clip:
    """One utterance, decoded."""

    id: str
    text: str
    samples: Waveform

    @property
    def seconds(self) -> float:
        return len(self.samples) / SAMPLE_RATE


def run_bench(
    candidates: Sequence[Candidate],
    references: Sequence[Reference],
    *,
    repeats: int = 5,
    normalizer: NormalizerName = "basic",
    reference: str | None = None,
    source: str = "",
    seed: int = 0,
    on_progress: Progress | None = None,
) -> BenchReport:
    """Measure accuracy and speed of candidates on the same utterances.

    All audio is held in memory: 64 kB per second of speech.

    Args:
        candidates: with different names.
        references: what to hear and what was said; an empty text is an utterance without speech.
        repeats: timed passes.
        normalizer: applied to both sides before they are compared.
        reference: name of the candidate that speeds are compared with; None takes the first.
        source: where the references came from; for the report.
        seed: of the bootstrap.
        on_progress: told how far it is.

    Raises:
        BenchError: nothing to measure, equal names, an unknown reference, or repeats below 1.
        AudioError: an utterance cannot be read.
    """
    names = [candidate.name for candidate in candidates]
    reference = reference or next(iter(names), "")
    _check(names, references, repeats, reference)
    begin = time.perf_counter()
    clips = [
        _Clip(r.utterance.id, r.text, read_audio(r.utterance.audio, r.utterance.start, r.utterance.duration))
        for r in references
    ]
    reading = time.perf_counter() - begin
    audio_seconds = sum(clip.seconds for clip in clips)

    runs = [_Run(candidate) for candidate in candidates]
    tell = _Teller(on_progress, audio_seconds, len(runs), repeats)
    for run in runs:
        _load_and_listen(run, clips, tell)
    machine = describe_machine(gpu=any(run.facts and run.facts.provider == "cuda" for run in runs))
    _time(runs, clips, repeats, tell)

    reference_run = next(run for run in runs if run.candidate.name == reference)
    return BenchReport(
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        machine=machine,
        settings=Settings(
            source=source,
            utterances=len(clips),
            audio_seconds=audio_seconds,
            repeats=repeats,
            block=BLOCK,
            normalizer=normalizer,
            normalizer_version=NORMALIZER_VERSION,
            reference=reference,
            seed=seed,
        ),
        audio_decoding_rtf=reading / audio_seconds,
        utterances=tuple(Heard(clip.id, clip.seconds, clip.text) for clip in clips),
        results=tuple(_result(run, reference_run, clips, normalizer, seed) for run in runs),
    )


def _check(names: Sequence[str], references: Sequence[Reference], repeats: int, reference: str) -> None:
    if not names or not references:
        raise BenchError(f"{len(names)} candidates and {len(references)} utterances: expected some of each")
    if len(set(names)) != len(names):
        raise BenchError(f"candidates must have different names, found {', '.join(names)}")
    if reference not in names:
        raise BenchError(f"no candidate {reference!r} to compare with; there are {', '.join(names)}")
    if repeats < 1:
        raise BenchError(f"repeats must be 1 or more, found {repeats}")


def _load_and_listen(run: _Run, clips: Sequence[_Clip], tell: "_Teller") -> None:
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
    spoken = [clip for clip in clips if clip.text.strip()]
    if not run.failed and spoken and not any(run.texts[clip.id] for clip in spoken):
        run.failed = f"every transcript is empty, though {len(spoken)} references are not"
    if run.failed:
        tell.drop()


def _time(runs: Sequence[_Run], clips: Sequence[_Clip], repeats: int, tell: "_Teller") -> None:
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


def _time_block(run: _Run, block: Sequence[_Clip]) -> None:
    # Untimed: the caches and the CPU's clock belong to whoever ran before.
    if _hear(run, block[0]) is None:
        return
    gc.collect()
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


def _hear(run: _Run, clip: _Clip) -> Recognition | None:
    try:
        return run.candidate.recognise(clip.samples)
    except Exception as error:  # as above: one bad utterance and the candidate is not timed
        run.failed = f"{clip.id}: {_one_line(error)}"
        return None


def _result(
    run: _Run, reference: _Run, clips: Sequence[_Clip], normalizer: str, seed: int
) -> CandidateResult:
    candidate = run.candidate
    return CandidateResult(
        name=candidate.name,
        bytes=candidate.bytes,
        parameters=candidate.parameters,
        facts=run.facts and replace(run.facts, notes=(*run.facts.notes, *_notes(run))),
        failed=run.failed,
        accuracy=None if run.failed else _accuracy(run, clips, normalizer, seed),
        timing=None if run.failed else _timing(run, reference, sum(clip.seconds for clip in clips)),
        hypotheses=run.texts,
    )


def _notes(run: _Run) -> list[str]:
    """Say what makes the figures doubtful, found while they were taken."""
    notes = []
    if run.changed:
        notes.append(f"{len(run.changed)} transcripts changed between repeats")
    if run.failed or run.facts is None or run.facts.provider != "cpu":
        return notes
    busy = run.cpu / sum(run.total)
    if busy < _TOO_IDLE:
        notes.append(f"waited for the CPU: {busy:.2f} cores of it were got, so all times are too long")
    if busy > run.facts.threads + _TOO_MANY:
        notes.append(f"kept {busy:.2f} cores busy, though threads is {run.facts.threads}")
    return notes


def _accuracy(run: _Run, clips: Sequence[_Clip], normalizer: str, seed: int) -> Accuracy:
    references = [normalize(clip.text, normalizer) for clip in clips]
    hypotheses = [normalize(run.texts[clip.id], normalizer) for clip in clips]
    return score(references, hypotheses, seed=seed)


def _timing(run: _Run, reference: _Run, audio_seconds: float) -> Timing:
    def rtf(per_repeat: Sequence[float]) -> Spread:
        return Spread.of([seconds / audio_seconds for seconds in per_repeat])

    compare = run is not reference and not reference.failed
    return Timing(
        load_seconds=run.load_seconds,
        rtf=rtf(run.total),
        model_rtf=rtf(run.model),
        features_rtf=rtf(run.features),
        decoding_rtf=rtf(run.decoding),
        latency=Latency.of(run.latencies),
        cores_busy=run.cpu / sum(run.total),
        speed=paired_speed(reference.total, run.total) if compare else None,
        model_speed=paired_speed(reference.model, run.model) if compare else None,
    )


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


class _Teller:
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
