"""From candidates and references to a report."""

import time
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

from kdcompress.aliases import StageProgress
from kdcompress.audio.decode import read_utterance
from kdcompress.audio.utterance import Reference, Utterance
from kdcompress.bench.machine import describe_gpus, describe_machine
from kdcompress.bench.measure import AudioProgress, Clip, Measured, warm_up
from kdcompress.bench.passes import BLOCK, time_settings
from kdcompress.bench.process import IsolatedCandidate
from kdcompress.bench.streaming import measure_streaming
from kdcompress.bench.stress import run_stresses, stressed_seconds
from kdcompress.bench.timing import by_duration, paired_speed
from kdcompress.errors import BenchError
from kdcompress.report.differences import median_seconds, time_difference
from kdcompress.report.live import Streaming
from kdcompress.report.measured import Latency, Spread, Timing
from kdcompress.report.record import CandidateResult, ReferenceText, Report, Settings
from kdcompress.report.scored import Difference
from kdcompress.report.scoring import score_report
from kdcompress.runtime.graph_file import gzip_bytes
from kdcompress.text.normalize import NormalizerName

# Cores busy on average while the clock ran, as parts of one: below, others had the CPU; that many above the
# stated threads, something did not keep to them.
_TOO_IDLE = 0.8
_TOO_MANY = 0.2


def run_bench(
    candidates: Sequence[IsolatedCandidate],
    references: Sequence[Reference | Utterance],
    *,
    repeats: int = 5,
    normalizer: NormalizerName = "basic",
    reference: str | None = None,
    source: str = "",
    seed: int = 0,
    threads: Sequence[int] = (),
    batches: Sequence[int] = (1,),
    streams: Sequence[int] = (),
    affinity: Sequence[int] | None = None,
    allow_fallback: bool = False,
    stresses: Sequence[str] = (),
    on_progress: StageProgress | None = None,
) -> Report:
    """Measure accuracy and speed of candidates on the same utterances.

    All audio is held in memory: 64 kB per second of speech.

    Args:
        candidates: with different names.
        references: what to decode and what was said; an empty text is an utterance without speech. Utterances
            alone where nobody knows: the candidates are then compared with `reference` only.
        repeats: timed passes.
        normalizer: applied to both sides before they are compared.
        reference: name of the candidate that the others are compared with; None takes the first.
        source: where the references came from; for the report.
        seed: of the bootstrap.
        threads: for which the throughput is measured; the first number is the candidates' own.
        batches: utterances at once, for which it is measured.
        streams: streams at once, for which those that stream are measured, with their delays; none does not.
        affinity: the cores to keep to; None leaves the choice to the system.
        allow_fallback: measure models whose nodes ran elsewhere than on the provider asked for.
        stresses: names of `kdcompress.audio.stress`, under which everything is decoded again, untimed.
        on_progress: called with the stage, and the seconds of audio that are done and that there are.

    Raises:
        BenchError: nothing to measure, equal names, an unknown reference, or a number below 1.
        AudioError: an utterance cannot be read.
    """
    names = [candidate.name for candidate in candidates]
    reference = reference or next(iter(names), "")
    _check(names, references, repeats, reference)
    if min((*threads, *batches, *streams), default=1) < 1:
        found = (*threads, *batches, *streams)
        raise BenchError(f"threads, batches and streams must be 1 or more, found {found}")
    if stresses and not all(isinstance(one, Reference) for one in references):
        raise BenchError("what a stress costs is counted in word errors: give a manifest with texts")
    threads = tuple(threads) or (candidates[0].spec.threads,)
    begin = time.perf_counter()
    clips = [_read(one) for one in references]
    reading = time.perf_counter() - begin
    audio_seconds = sum(clip.seconds for clip in clips)

    runs = [Measured(candidate) for candidate in candidates]
    settings = {(threads[0], 1), *((count, batch) for count in threads for batch in batches)}
    passes = 1 + repeats * len(settings) + stressed_seconds(stresses, audio_seconds) / audio_seconds
    progress = AudioProgress(on_progress, audio_seconds, len(runs), passes)
    machine = describe_machine()
    try:
        for candidate in candidates:
            candidate.cores = affinity
        warm_up(runs, clips, progress, fallback=allow_fallback)
        time_settings(runs, clips, threads, batches, repeats, progress)
        base = next(run for run in runs if run.candidate.name == reference)
        live = measure_streaming(runs, base, clips, streams, progress) if streams else {}
        stressed = run_stresses(runs, clips, stresses, progress)
    finally:
        for candidate in candidates:
            candidate.close()
    if any(run.facts and run.facts.provider == "cuda" for run in runs):
        machine = machine.model_copy(update={"gpu": describe_gpus()})

    progress("scoring")
    report = Report(
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        machine=machine,
        settings=Settings(
            source=source,
            utterances=len(clips),
            audio_seconds=audio_seconds,
            repeats=repeats,
            block=BLOCK,
            normalizer=normalizer,
            reference=reference,
            seed=seed,
            affinity=None if affinity is None else tuple(affinity),
            threads=threads,
            batches=tuple(batches),
        ),
        audio_decoding_rtf=reading / audio_seconds,
        utterances=tuple(
            ReferenceText(id=clip.id, duration=clip.seconds, reference=clip.text, audio=str(clip.audio))
            for clip in clips
        ),
        results=tuple(_result(run, base, clips, live.get(run.candidate.name)) for run in runs),
        differences=tuple(_time_differences(runs, base, seed)),
        stresses=stressed,
    )
    return score_report(report, normalizer)


def _read(one: Reference | Utterance) -> Clip:
    utterance, text = (one.utterance, one.text) if isinstance(one, Reference) else (one, None)
    return Clip(utterance.id, text, read_utterance(utterance), utterance.audio)


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
    run: Measured, base: Measured, clips: Sequence[Clip], streaming: Streaming | None
) -> CandidateResult:
    candidate, facts = run.candidate, run.facts
    return CandidateResult(
        name=candidate.name,
        bytes=candidate.bytes,
        gzip_bytes=_gzip_bytes(candidate),
        parameters=candidate.parameters,
        facts=facts and facts.model_copy(update={"notes": (*facts.notes, *_notes(run))}),
        failed=run.failed,
        timing=None if run.failed else _timing(run, base, clips),
        memory=None if run.failed else run.memory,
        hypotheses=run.texts,
        seconds={} if run.failed else median_seconds(run.passes.walls),
        streaming=None if run.failed else streaming,
    )


def _gzip_bytes(candidate: IsolatedCandidate) -> int | None:
    graph = candidate.spec.graph
    return gzip_bytes(Path(graph)) if graph and Path(graph).is_file() else None


def _notes(run: Measured) -> list[str]:
    """Say what makes the figures doubtful, found while they were taken."""
    notes, passes = list(run.notes), run.passes
    if passes.changed:
        notes.append(f"{len(passes.changed)} transcripts changed between repeats")
    if run.failed or run.facts is None or run.facts.provider != "cpu":
        return notes
    busy = passes.cpu / sum(passes.total)
    if busy < _TOO_IDLE:
        notes.append(f"waited for the CPU: {busy:.2f} cores of it were got, so all times are too long")
    if busy > (run.facts.threads or 1) + _TOO_MANY:
        notes.append(f"kept {busy:.2f} cores busy, though threads is {run.facts.threads}")
    return notes


def _time_differences(runs: Sequence[Measured], base: Measured, seed: int) -> list[Difference]:
    if base.failed:
        return []
    return [
        time_difference(
            (run.candidate.name, base.candidate.name), run.passes.walls, base.passes.walls, BLOCK, seed
        )
        for run in runs
        if run is not base and not run.failed
    ]


def _timing(run: Measured, base: Measured, clips: Sequence[Clip]) -> Timing:
    passes = run.passes
    audio_seconds = sum(clip.seconds for clip in clips)

    def rtf(per_repeat: Sequence[float]) -> Spread:
        return Spread.of([seconds / audio_seconds for seconds in per_repeat])

    compare = run is not base and not base.failed
    return Timing(
        load_seconds=run.candidate.load_seconds,
        rtf=rtf(passes.total),
        model_rtf=rtf(passes.model),
        features_rtf=rtf(passes.features),
        decoding_rtf=rtf(passes.decoding),
        latency=Latency.of([wall for walls in passes.walls.values() for wall in walls]),
        cores_busy=passes.cpu / sum(passes.total),
        speed=paired_speed(base.passes.total, passes.total) if compare else None,
        model_speed=paired_speed(base.passes.model, passes.model) if compare else None,
        buckets=by_duration((clip.seconds, passes.walls[clip.id]) for clip in clips),
        first_result_seconds=run.first_result_seconds,
        cpu_seconds_per_hour=3600 * passes.cpu / (audio_seconds * len(passes.total)),
        throughput=tuple(run.throughput),
    )
