"""From candidates and references to a report."""

import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timezone

from kdcompress.aliases import StageProgress
from kdcompress.audio.decode import read_utterance
from kdcompress.audio.utterance import Reference, Utterance
from kdcompress.bench.affinity import pinned
from kdcompress.bench.block_timing import IsolatedCandidate
from kdcompress.bench.buckets import by_duration
from kdcompress.bench.candidate import Candidate
from kdcompress.bench.machine import describe_machine
from kdcompress.bench.measure import (
    BLOCK,
    Clip,
    Measured,
    Teller,
    judge_by_others,
    load_and_listen,
    time_passes,
)
from kdcompress.bench.modes import find_modes
from kdcompress.bench.throughput import sweep
from kdcompress.bench.timing import paired_speed
from kdcompress.errors import BenchError
from kdcompress.report.differences import Difference, median_seconds, time_difference
from kdcompress.report.measured import Latency, Machine, Spread, Timing
from kdcompress.report.report import BenchReport, CandidateResult, Heard, Settings
from kdcompress.report.scoring import ReferenceText, Score, score_candidates
from kdcompress.text.normalize import NORMALIZER_VERSIONS, NormalizerName

# Cores busy on average while the clock ran, as parts of one: below, others had the CPU; that many above the
# stated threads, something did not keep to them.
_TOO_IDLE = 0.8
_TOO_MANY = 0.2


def run_bench(
    candidates: Sequence[Candidate],
    references: Sequence[Reference | Utterance],
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
    on_progress: StageProgress | None = None,
) -> BenchReport:
    """Measure accuracy and speed of candidates on the same utterances.

    All audio is held in memory: 64 kB per second of speech.

    Args:
        candidates: with different names.
        references: what to hear and what was said; an empty text is an utterance without speech. Utterances
            alone where nobody knows: the candidates are then compared with `reference` only.
        repeats: timed passes.
        normalizer: applied to both sides before they are compared.
        reference: name of the candidate that the others are compared with; None takes the first.
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
    utterances = [r.utterance if isinstance(r, Reference) else r for r in references]
    texts = [r.text if isinstance(r, Reference) else None for r in references]
    clips = [Clip(u.id, text, read_utterance(u), u.audio) for u, text in zip(utterances, texts, strict=True)]
    reading = time.perf_counter() - begin
    audio_seconds = sum(clip.seconds for clip in clips)

    runs = [Measured(candidate) for candidate in candidates]
    settings = [(count, batch) for count in threads or (0,) for batch in batches]
    sweeps = len({*settings} - {(threads[0] if threads else 0, 1)})
    tell = Teller(on_progress, audio_seconds, len(runs), repeats, sweeps)
    machine = describe_machine()
    for candidate in candidates:
        if isinstance(candidate, IsolatedCandidate):
            candidate.cores = affinity
    try:
        # What is timed is pinned, and this process only where it is what is timed.
        with pinned(
            None if all(isinstance(candidate, IsolatedCandidate) for candidate in candidates) else affinity
        ):
            for run in runs:
                load_and_listen(run, clips, tell, allow_fallback=allow_fallback)
            judge_by_others(runs, clips, tell)
            machine = _machine(machine, runs)
            time_passes(runs, clips, repeats, tell)
            threads = threads or _own_threads(runs)
            sweep(runs, clips, threads, batches, repeats, tell)
    finally:
        for candidate in candidates:
            if isinstance(candidate, IsolatedCandidate):
                candidate.close()

    reference_run = next(run for run in runs if run.candidate.name == reference)
    tell("scoring")
    scores = score_candidates(
        [ReferenceText(clip.id, clip.seconds, clip.text) for clip in clips],
        {run.candidate.name: run.texts for run in runs if not run.failed},
        normalizer=normalizer,
        reference=reference,
        seed=seed,
    )
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
            normalizer_version=NORMALIZER_VERSIONS[normalizer],
            reference=reference,
            seed=seed,
            affinity=None if affinity is None else tuple(affinity),
            threads=tuple(threads),
            batches=tuple(batches),
        ),
        audio_decoding_rtf=reading / audio_seconds,
        utterances=tuple(Heard(clip.id, clip.seconds, clip.text, str(clip.audio)) for clip in clips),
        results=tuple(_result(run, reference_run, clips, scores.of.get(run.candidate.name)) for run in runs),
        differences=(*scores.differences, *_time_differences(runs, reference_run, seed)),
    )


def _check(names: Sequence[str], references: Sequence[object], repeats: int, reference: str) -> None:
    if not names or not references:
        raise BenchError(f"{len(names)} candidates and {len(references)} utterances: expected some of each")
    if len(set(names)) != len(names):
        raise BenchError(f"candidates must have different names, found {', '.join(names)}")
    if reference not in names:
        raise BenchError(f"no candidate {reference!r} to compare with; there are {', '.join(names)}")
    if repeats < 1:
        raise BenchError(f"repeats must be 1 or more, found {repeats}")


def _result(
    run: Measured, reference: Measured, clips: Sequence[Clip], score: Score | None
) -> CandidateResult:
    candidate = run.candidate
    timing = None if run.failed else _timing(run, reference, clips)
    if timing and timing.bimodal:
        run.notes.append(f"has two speeds, and no figure describes both: {timing.bimodal}")
    notes = (*_notes(run), *(score.notes if score else ()))
    return CandidateResult(
        name=candidate.name,
        bytes=candidate.bytes,
        parameters=candidate.parameters,
        facts=run.facts and replace(run.facts, notes=(*run.facts.notes, *notes)),
        failed=run.failed,
        accuracy=score.accuracy if score else None,
        timing=timing,
        memory=None if run.failed else run.memory,
        hypotheses=run.texts,
        seconds={} if run.failed else median_seconds(run.walls),
        non_speech=score.non_speech if score else None,
        agreement=score.agreement if score else None,
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


def _time_differences(runs: Sequence[Measured], reference: Measured, seed: int) -> list[Difference]:
    if reference.failed:
        return []
    return [
        time_difference(
            (run.candidate.name, reference.candidate.name), run.walls, reference.walls, BLOCK, seed
        )
        for run in runs
        if run is not reference and not run.failed
    ]


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
