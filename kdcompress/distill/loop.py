"""The main loop, top to bottom: audio and a teacher in, a student out."""

import time
from contextlib import nullcontext
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Literal

import torch

from kdcompress.audio.manifest import BadFile
from kdcompress.config.recipe import Recipe
from kdcompress.distill.augment import delay
from kdcompress.distill.checkpoint import Saving, checkpoint_files, random_state
from kdcompress.distill.data.audio_batch import Batch, silence
from kdcompress.distill.distributed import anywhere, gathered, processes, stop_on_signal, summed
from kdcompress.distill.objective.term import BatchTargets
from kdcompress.distill.observer import DistillResult, Observer
from kdcompress.distill.optim import learning_rate
from kdcompress.distill.posteriors.source import PosteriorSource
from kdcompress.distill.setup import Training, set_up
from kdcompress.distill.step_log import StepLog, StepNumbers
from kdcompress.distill.validate import ValidationFigures
from kdcompress.locks import locked
from kdcompress.students.student import Student
from kdcompress.teachers.teacher import Teacher


def distill(
    recipe: Recipe | None,
    out: Path,
    observer: Observer,
    *,
    resume: bool | Literal["auto"] = False,
    teacher: Teacher | None = None,
    source: PosteriorSource | None = None,
    student: Student | None = None,
    accept_changes: bool = False,
) -> DistillResult:
    """Train the recipe's student into the run directory `out`, which is locked meanwhile.

    Every process of a distributed run enters every collective of a step, whatever its batches hold.

    Args:
        recipe: None goes on with the run's own.
        resume: go on with the run in `out`; "auto" begins it where there is none.
        teacher: any object with the Teacher protocol, instead of the recipe's.
        source: of posteriors that several runs share, instead of a teacher.
        student: to be trained instead of the recipe's, as it is.
        accept_changes: go on with a run though its audio, transcripts or teacher are no longer the same.

    Raises:
        InUse: another process trains into it.
        KdcompressError: bad input, a bad teacher, or numbers that are not; see `kdcompress.errors`.
    """
    with locked(out) if processes().is_main_process else nullcontext():
        training = set_up(
            recipe,
            out,
            observer,
            resume=resume,
            teacher=teacher,
            source=source,
            student=student,
            accept_changes=accept_changes,
        )
        return _train(training, observer)


def _train(training: Training, observer: Observer) -> DistillResult:
    config, data = training.recipe.training, training.recipe.data
    accelerator, device, state = training.accelerator, training.accelerator.device, training.state
    model, optimizer, objective = training.model, training.optimizer, training.objective
    exits = {"exits": True} if training.student.exits else {}
    best: ValidationFigures | None = None
    started, seconds, first_step = time.monotonic(), 0.0, state.step
    stream, log = training.stream(), StepLog(objective, accelerator)
    saving = Saving(training.run.folder, config.keep, config.checkpoint_minutes)
    training.student.train()
    with stop_on_signal() as stopped, saving:
        while state.step < config.steps:
            stop, due = anywhere([bool(stopped), saving.due and accelerator.is_main_process], accelerator)
            if stop:
                break
            if due and state.step > first_step:
                log.read()
                _save(training, saving)

            # ---- batches
            group: list[Batch] = []
            bad: list[BadFile] = []
            for batch in islice(stream, config.accumulate):
                bad += batch.bad
                if batch.ids:
                    group.append(batch)

            # ---- targets
            # Before the student: their counts are known before any of its output, so that every batch of the
            # group is divided by the count of the whole group on all devices, and accumulation is exact. In
            # the host's memory where the posteriors are there, so that counting waits for no device.
            targets = [
                objective.targets(batch, posteriors, training.student.output_lengths(batch.lengths))
                for batch, posteriors in (training.surround(batch, training.source) for batch in group)
            ]
            *counted, usable, unreadable = summed(
                [*objective.counts(targets), len(group), len(bad)], accelerator
            )
            if unreadable:  # on every process, so that they give up together
                training.run.skip(gathered(bad, accelerator), training.files, data.max_bad_share)
            if not usable:
                continue
            counts = torch.tensor(counted, device=device).clamp(min=1)
            pairs: list[tuple[Batch, BatchTargets | None]] = [
                (moved.batch, moved) for moved in (target.to(device) for target in targets)
            ]
            pairs = pairs or [(silence(device), None)]

            # ---- forward and backward
            for param_group in optimizer.param_groups:
                param_group["lr"] = learning_rate(state.step, config)
            sums = torch.zeros(len(counts), device=device, dtype=torch.float64)
            tally = objective.new_tally()
            for index, (batch, target) in enumerate(pairs):
                last = index == len(pairs) - 1
                with nullcontext() if last else accelerator.no_sync(model):
                    waveforms = delay(batch.waveforms, config.delay_ms).repeat(objective.views, 1)
                    samples = batch.lengths.repeat(objective.views)
                    full = {"full_rows": len(batch.lengths)} if objective.full_context else {}
                    log_probs, lengths = model(waveforms, samples, training.augment, **exits, **full)
                    log_probs = log_probs if exits else log_probs[None]
                    terms = objective.terms(log_probs, lengths, target)
                    loss = sum(
                        weight * term.total / count
                        for weight, term, count in zip(objective.weights, terms, counts, strict=True)
                    )
                    # Gradients are averaged over processes; each term is already divided by the global count.
                    accelerator.backward(loss * accelerator.num_processes)
                sums += torch.stack([term.total.detach().double() for term in terms])
                if target is not None:
                    tally.add(log_probs[-1].detach(), lengths, target)

            # ---- step
            rate = learning_rate(state.step, config)
            norm = torch.as_tensor(accelerator.clip_grad_norm_(model.parameters(), config.clip))
            losses = accelerator.reduce(sums, "sum") / counts
            optimizer.step()
            optimizer.zero_grad()
            state.step += 1
            training.averaged.update(state.step)

            # ---- figures
            # Read now and then only: it waits for the device. What is not finite ends the run then, before a
            # checkpoint in any case.
            known = {"step": state.step, "epoch": state.epoch, "learning_rate": rate}
            log.add(StepNumbers(known, pairs[0][0].ids, losses, norm, tally))
            seconds += sum(target.batch.seconds for target in targets)
            logs = state.step % config.log_every == 0 or state.step == config.steps
            validates = state.step % config.validate_every == 0 or state.step == config.steps
            if logs or validates or state.step == first_step + 1:
                log.read()
            observer.step(state.step, config.steps, {**log.figures, **known})
            if logs:
                elapsed = time.monotonic() - started
                audio = summed([round(1000 * seconds)], accelerator)[0] / 1000
                times = {"seconds": round(elapsed, 2), "audio_per_second": round(audio / elapsed, 1)}
                training.run.log({**log.figures, **times})

            # ---- validation and checkpoint
            if validates:
                best = _validate(training, observer, saving) or best
        if state.step < config.steps and state.step > first_step and state.step % config.validate_every:
            log.read()
            best = _validate(training, observer, saving) or best
    return DistillResult(training.run.folder, state.step, state.step >= config.steps, best)


def _validate(training: Training, observer: Observer, saving: Saving) -> ValidationFigures | None:
    """Validate and save; return the figures if these are the best so far."""
    state, lowest = training.state, training.state.lowest_score
    figures = training.validation(training.averaged.model, training.accelerator.device)
    is_best = figures.as_good_as(lowest)
    state.lowest_score = figures.score if lowest is None else min(figures.score, lowest)
    observer.validated(state.step, figures, is_best)
    training.run.log({"step": state.step, "validation": figures.to_json(), "best": is_best})
    _save(training, saving, figures, best=is_best)
    return figures if is_best else None


def _save(
    training: Training, saving: Saving, figures: ValidationFigures | None = None, *, best: bool = False
) -> None:
    """Save, beside the training unless there are figures; every process must call this."""
    state = training.state
    random = gathered([random_state()], training.accelerator)
    lanes = gathered([state.lanes or []], training.accelerator)
    of_all = replace(
        state, lanes=[list(one) for of_rank in zip(*lanes, strict=True) for one in of_rank] or None
    )
    if training.accelerator.is_main_process:
        files = checkpoint_files(
            training.averaged.model,
            training.vocabulary,
            training.optimizer.optimizer,
            of_all,
            training.record if figures is None else {**training.record, "figures": figures.to_json()},
            trained=training.student,
            random=random,
        )
        saving.write(of_all.step, files, best=best, wait=figures is not None)
    training.accelerator.wait_for_everyone()
