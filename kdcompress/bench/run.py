"""From candidates and references to a report."""

import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timezone

from kdcompress.audio.decode import read_audio
from kdcompress.audio.utterance import Reference
from kdcompress.bench.accuracy import Accuracy, score
from kdcompress.bench.affinity import pinned
from kdcompress.bench.buckets import by_duration
from kdcompress.bench.candidate import Candidate
from kdcompress.bench.machine import Machine, describe_machine
from kdcompress.bench.measure import (
    BLOCK,
    Clip,
    Measured,
    Progress,
    Teller,
    judge_by_others,
    load_and_listen,
    time_passes,
)
from kdcompress.bench.modes import find_modes
from kdcompress.bench.report import BenchReport, CandidateResult, Heard, Settings
from kdcompress.bench.throughput import sweep
from kdcompress.bench.timing import Latency, Spread, Timing, paired_speed
from kdcompress.bench.turn import Apart
from kdcompress.errors import BenchError
from kdcompress.text.normalize import NORMALIZER_VERSION, NormalizerName, normalize

# Cores busy on average while the clock ran, as parts of one: below, others had the CPU; that many above the
# stated threads, something did not keep to them.
_TOO_IDLE = 0.8
_TOO_MANY = 0.2


def run_bench(
    candidates: Sequence[Candidate],
    references: Sequence[Reference],
    *,
    repeats: int = 5,
    normalizer: NormalizerName = "basic",
    reference: str | None = None,
    source: str = "",
    seed: int = 0,
    threads: Sequence[int] = (),
    batches: Sequence[int] = (1,),
    affinity: Sequence[int] | None = None,
    allow_fallback: bool = False,
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
        threads: for which the throughput is measured; the first number is the candidates' own. Other numbers
            are measured of candidates in processes of their own.
        batches: utterances at once, for which it is measured.
        affinity: the cores to keep to; None leaves the choice to the system.
        allow_fallback: measure models whose nodes ran elsewhere than on the provider asked for.
        on_progress: told how far it is.

    Raises:
        BenchError: nothing to measure, equal names, an unknown reference, or a number below 1.
        AudioError: an utterance cannot be read.
    """
    names = [candidate.name for candidate in candidates]
    reference = reference or next(iter(names), "")
    _check(names, references, repeats, reference)
    if min((*threads, *batches), default=1) < 1:
        raise BenchError(f"threads and batches must be 1 or more, found {(*threads, *batches)}")
    begin = time.perf_counter()
    clips = [
        Clip(
            r.utterance.id,
            r.text,
            read_audio(r.utterance.audio, r.utterance.start, r.utterance.duration),
            r.utterance.audio,
        )
        for r in references
    ]
    reading = time.perf_counter() - begin
    audio_seconds = sum(clip.seconds for clip in clips)

    runs = [Measured(candidate) for candidate in candidates]
    settings = [(count, batch) for count in threads or (0,) for batch in batches]
    sweeps = len({*settings} - {(threads[0] if threads else 0, 1)})
    tell = Teller(on_progress, audio_seconds, len(runs), repeats, sweeps)
    machine = describe_machine()
    for candidate in candidates:
        if isinstance(candidate, Apart):
            candidate.cores = affinity
    try:
        # What is timed is pinned, and this process only where it is what is timed.
        with pinned(None if all(isinstance(candidate, Apart) for candidate in candidates) else affinity):
            for run in runs:
                load_and_listen(run, clips, tell, allow_fallback=allow_fallback)
            judge_by_others(runs, clips, tell)
            machine = _machine(machine, runs)
            time_passes(runs, clips, repeats, tell)
            threads = threads or _own_threads(runs)
            sweep(runs, clips, threads, batches, repeats, tell)
    finally:
        for candidate in candidates:
            if isinstance(candidate, Apart):
                candidate.close()

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
            affinity=None if affinity is None else tuple(affinity),
            threads=tuple(threads),
            batches=tuple(batches),
        ),
        audio_decoding_rtf=reading / audio_seconds,
        utterances=tuple(Heard(clip.id, clip.seconds, clip.text, str(clip.audio)) for clip in clips),
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


def _result(
    run: Measured, reference: Measured, clips: Sequence[Clip], normalizer: str, seed: int
) -> CandidateResult:
    candidate = run.candidate
    timing = None if run.failed else _timing(run, reference, clips)
    if timing and timing.bimodal:
        run.notes.append(f"has two speeds, and no figure describes both: {timing.bimodal}")
    return CandidateResult(
        name=candidate.name,
        bytes=candidate.bytes,
        parameters=candidate.parameters,
        facts=run.facts and replace(run.facts, notes=(*run.facts.notes, *_notes(run))),
        failed=run.failed,
        accuracy=None if run.failed else _accuracy(run, clips, normalizer, seed),
        timing=timing,
        memory=None if run.failed else run.memory,
        hypotheses=run.texts,
    )


def _notes(run: Measured) -> list[str]:
    """Say what makes the figures doubtful, found while they were taken."""
    notes = list(run.notes)
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


def _accuracy(run: Measured, clips: Sequence[Clip], normalizer: str, seed: int) -> Accuracy:
    references = [normalize(clip.text, normalizer) for clip in clips]
    hypotheses = [normalize(run.texts[clip.id], normalizer) for clip in clips]
    return score(references, hypotheses, seed=seed)


def _timing(run: Measured, reference: Measured, clips: Sequence[Clip]) -> Timing:
    durations = {clip.id: clip.seconds for clip in clips}
    audio_seconds = sum(durations.values())

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
        buckets=by_duration((durations[name], walls) for name, walls in run.walls.items()),
        first_result_seconds=run.first_result_seconds,
        cpu_seconds_per_hour=3600 * run.cpu / (audio_seconds * len(run.total)),
        throughput=tuple(run.throughput),
        bimodal=find_modes(durations, run.walls),
    )


def _machine(machine: Machine, runs: Sequence[Measured]) -> Machine:
    """Ask for the GPUs where one takes part; what is usable was found out before the process was pinned."""
    if not any(run.facts and run.facts.provider == "cuda" for run in runs):
        return machine
    return replace(machine, gpu=describe_machine(gpu=True).gpu)


def _own_threads(runs: Sequence[Measured]) -> tuple[int, ...]:
    return next(((run.facts.threads,) for run in runs if run.facts), (1,))
