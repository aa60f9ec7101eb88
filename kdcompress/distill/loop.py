"""The main loop, top to bottom: audio and a teacher in, a student out."""

import math
import time
from collections.abc import Iterator
from contextlib import nullcontext
from itertools import islice
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed

from kdcompress.config.recipe import Recipe
from kdcompress.distill.augment import SpecAugment, delay
from kdcompress.distill.checkpoint import LoopState, load_checkpoint, save_checkpoint
from kdcompress.distill.data.batches import Batch, Batches, write_cuts
from kdcompress.distill.data.training_data import load_training_data
from kdcompress.distill.distributed import processes, training_device
from kdcompress.distill.ema import AveragedStudent
from kdcompress.distill.objective.alignment import Alignment, check_ctc_feasible, student_frame_shift
from kdcompress.distill.objective.objective import Objective
from kdcompress.distill.objective.prior import resolve_prior
from kdcompress.distill.observer import Observer, Outcome
from kdcompress.distill.optim import learning_rate, make_optimizer
from kdcompress.distill.posteriors.cache import CachedPosteriors
from kdcompress.distill.posteriors.source import AlignedSource, Answers, open_answers, open_source, prefetch
from kdcompress.distill.run import Run, check_vacant
from kdcompress.distill.stop import stop_on_signal, stopped_anywhere
from kdcompress.distill.tokenizer_setup import keep_tokenizer, resolve_tokenizer
from kdcompress.distill.validate import Validation, ValidationFigures
from kdcompress.errors import ConfigError, NumericsError
from kdcompress.students.initialize import start_from
from kdcompress.students.student import Student, build_student, check_outputs, with_frame_shift


def distill(
    recipe: Recipe | None,
    out: Path,
    observer: Observer,
    *,
    resume: bool = False,
    teacher: Answers | None = None,
    student: Student | None = None,
) -> Outcome:
    """Train the recipe's student into the run directory `out`.

    Args:
        recipe: None goes on with the run's own.
        teacher: any object with the Teacher protocol, or a source of its answers, instead of the recipe's.
        student: to be trained instead of the recipe's, as it is.

    Raises:
        KdcompressError: bad input, a bad teacher, or numbers that are not; see `kdcompress.errors`.
    """
    if resume:
        run, recipe = Run.resume(out, recipe)
    elif recipe is None:
        raise ConfigError("no recipe: name one, or give --teacher and --audio")
    elif processes().is_main_process:  # the others would find what it has made meanwhile
        check_vacant(out)
    if recipe.data.audio is None:
        raise ConfigError("the recipe names no audio: add --audio DIR or --audio MANIFEST.jsonl")
    config, objective_config = recipe.training, recipe.objective
    precision = config.precision
    if precision == "auto":
        precision = "bf16" if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else "fp32"
    accelerator = Accelerator(mixed_precision="bf16" if precision == "bf16" else "no")
    device = training_device()

    # The teacher is opened before anything is written: most mistakes are made in naming it.
    if objective_config.kd_weight > 0 and teacher is None:
        if recipe.teacher is None:
            raise ConfigError(
                "no teacher to imitate: add --teacher, or train on transcripts by objective.kd_weight=0"
            )
        teacher = open_answers(recipe.teacher, device)
    source = None if teacher is None else open_source(teacher, device)
    tokenizer = resolve_tokenizer(
        recipe,
        source,
        out if resume else None,
        lambda done, total: observer.stage("Learning units from the teacher", done, total),
    )
    vocabulary = tokenizer.vocabulary
    shape = recipe.student if student is None else student.config
    if teacher is not None and (objective_config.compares_frames or shape.frame_shift_ms is None):
        asked = shape.frame_shift_ms if student is None else 1000 * student.frame_shift
        shift = student_frame_shift(asked, teacher.frame_shift)
        if student is None:
            shape = with_frame_shift(shape, shift)
        if isinstance(teacher, CachedPosteriors) and objective_config.compares_frames:
            teacher.check_serves(objective_config.selection, shift / 1000)
    set_seed(recipe.seed)
    if student is None:
        student = build_student(shape, vocabulary)
    check_outputs(student, vocabulary)
    if not resume:
        run = Run.create(out, recipe) if accelerator.is_main_process else Run(out)
    run.rank = accelerator.process_index
    if accelerator.is_main_process:
        keep_tokenizer(tokenizer, out)
    accelerator.wait_for_everyone()

    with accelerator.main_process_first():  # it writes clips of noise, the others find them
        material = load_training_data(
            recipe, tokenizer, run, lambda done, total: observer.stage("Reading audio", done, total)
        )
    resuming = resume and (run.folder / "last").is_file()
    if config.start_from is not None and not resuming:
        start_from(
            config.start_from,
            student,
            vocabulary,
            material.training,
            lambda done, total: observer.stage("Narrowing the layers to start from", done, total),
        )
    cuts = run.folder / "data" / "train.jsonl"
    if accelerator.is_main_process:
        cuts.parent.mkdir(exist_ok=True)
        write_cuts(material.training, cuts)
        write_cuts(material.held_out, cuts.with_name("held_out.jsonl"))
    accelerator.wait_for_everyone()
    batches = Batches(
        cuts,
        len(material.training),
        recipe.data,
        recipe.seed,
        material.labels,
        accelerator.process_index,
        accelerator.num_processes,
    )
    hours = sum(u.duration for u in material.training) / 3600
    observer.say(
        f"{len(material.training)} utterances ({hours:.2f} h) to train on, "
        f"{len(material.held_out)} held out, {len(run.bad)} files skipped; "
        f"student {student.parameter_count() / 1e6:.2f} M parameters at "
        f"{1000 * student.frame_shift:g} ms"
    )

    if source is not None:
        prefetch(source, material, recipe, observer.stage)
    alignment = None
    if teacher is not None and objective_config.compares_frames:
        alignment = Alignment.between(teacher.frame_shift, student.frame_shift, vocabulary.blank)
    validation = Validation(
        material.held_out, vocabulary, source, material.references, recipe.data.batch_seconds, alignment
    )
    if alignment is not None and alignment.pool > 1:
        observer.say(check_ctc_feasible(validation.collisions(), student.frame_shift))
    log_prior = resolve_prior(
        recipe,
        material.training,
        None if source is None or alignment is None else AlignedSource(source, alignment, student),
        run.folder / "data" / "prior.json",
        lambda done, total: observer.stage("Estimating the prior", done, total),
        resume=resume,
        write=accelerator.is_main_process,
    )

    optimizer = make_optimizer(student, config)
    averaged = AveragedStudent(student, config.ema_decay, device)
    state = LoopState()
    # Everything random before this line may differ between a fresh and a resumed run; nothing after it may.
    set_seed(recipe.seed)
    if resuming:
        state = load_checkpoint(run.folder, averaged.model, optimizer, student)
        observer.say(f"resuming from step {state.step}")
    if resume and accelerator.is_main_process:
        run.forget_after(state.step)
    model, optimizer = accelerator.prepare(student, optimizer)
    augment = SpecAugment(config.spec_augment)
    objective = Objective(objective_config, tokenizer, source, alignment, recipe.seed, log_prior)
    record = {
        "teacher": None if teacher is None else teacher.fingerprint,
        "frame_shift": student.frame_shift,
        "objective": objective_config.model_dump(mode="json"),
    }
    best: ValidationFigures | None = None
    total_files = len(material.training) + len(run.bad)
    started, heard, first_step = time.monotonic(), 0.0, state.step

    def checkpoint() -> None:
        nonlocal best
        figures = validation(averaged.model, device)
        is_best = figures.as_good_as(state.lowest_score)
        if is_best:
            best = figures
        lowest = state.lowest_score
        state.lowest_score = figures.score if lowest is None else min(figures.score, lowest)
        observer.validated(state.step, figures, is_best)
        if accelerator.is_main_process:
            run.log({"step": state.step, "validation": figures.to_json(), "best": is_best})
            save_checkpoint(
                run.folder,
                averaged.model,
                vocabulary,
                optimizer.optimizer,
                state,
                {**record, "figures": figures.to_json()},
                best=is_best,
                keep=config.keep,
                trained=student,
            )
        accelerator.wait_for_everyone()

    stream = _stream(batches, state)
    student.train()
    with stop_on_signal() as stopped:
        while state.step < config.steps and not stopped_anywhere(stopped, accelerator):
            group: list[Batch] = []
            for batch in islice(stream, config.accumulate):
                run.skip(batch.bad, total_files, recipe.data.max_bad_share)
                if batch.ids:
                    group.append(batch.to(device))
            if not group:
                continue

            # Targets first: their counts are known before any student output, so that every batch of the
            # group is divided by the count of the whole group on all devices, and accumulation is exact.
            targets = [
                objective.targets(
                    batch, None if source is None else source(batch), student.output_lengths(batch.lengths)
                )
                for batch in group
            ]
            counts = objective.counts(targets)
            counts = accelerator.reduce(torch.tensor(counts, device=device), "sum").clamp(min=1)

            for param_group in optimizer.param_groups:
                param_group["lr"] = learning_rate(state.step, config)
            sums = torch.zeros(len(counts), device=device, dtype=torch.float64)
            tally = objective.new_tally()
            for index, (batch, target) in enumerate(zip(group, targets, strict=True)):
                last = index == len(group) - 1
                with nullcontext() if last else accelerator.no_sync(model):
                    waveforms = delay(batch.waveforms, config.delay_ms).repeat(objective.views, 1)
                    samples = batch.lengths.repeat(objective.views)
                    every = {"exits": True} if student.exits else {}
                    log_probs, lengths = model(waveforms, samples, augment, **every)
                    log_probs = log_probs if student.exits else log_probs[None]
                    terms = objective.terms(log_probs, lengths, batch, target)
                    loss = sum(
                        weight * term.total / count
                        for weight, term, count in zip(objective.weights, terms, counts, strict=True)
                    )
                    # Gradients are averaged over processes; each term is already divided by the global count.
                    accelerator.backward(loss * accelerator.num_processes)
                sums += torch.stack([term.total.detach().double() for term in terms])
                tally.add(log_probs[-1].detach(), lengths, target)
            norm = float(accelerator.clip_grad_norm_(model.parameters(), config.clip))
            losses = (accelerator.reduce(sums, "sum") / counts).tolist()
            value = sum(w * term for w, term in zip(objective.weights, losses, strict=True))
            if not math.isfinite(value) or not math.isfinite(norm):
                raise NumericsError(
                    f"the loss is {value} with gradient norm {norm} at step {state.step + 1}; batch: "
                    f"{', '.join(group[0].ids[:3])}…; the last checkpoint is untouched: resume with a lower "
                    "training.peak_lr in a new run, or look at these files"
                )
            optimizer.step()
            optimizer.zero_grad()
            state.step += 1
            averaged.update(state.step)
            heard += sum(batch.seconds for batch in group)
            figures = {
                "step": state.step,
                "epoch": state.epoch,
                "loss": value,
                **dict(zip(objective.names, losses, strict=True)),
                **tally.figures(),
                "gradient_norm": norm,
                "learning_rate": learning_rate(state.step - 1, config),
            }
            observer.step(state.step, config.steps, figures)
            if accelerator.is_main_process and (
                state.step % config.log_every == 0 or state.step == config.steps
            ):
                elapsed = time.monotonic() - started
                run.log(
                    {**figures, "seconds": round(elapsed, 2), "audio_per_second": round(heard / elapsed, 1)}
                )
            if state.step % config.validate_every == 0 or state.step == config.steps:
                checkpoint()
        if state.step < config.steps and state.step > first_step and state.step % config.validate_every:
            checkpoint()
    return Outcome(run.folder, state.step, state.step >= config.steps, best)


def _stream(batches: Batches, state: LoopState) -> Iterator[Batch]:
    """Yield batches for ever, keeping `state` at the position after the batch just taken."""
    while True:
        empty = True
        for batch in batches.epoch(state.epoch, state.position):
            empty = False
            state.position += 1
            yield batch
        if empty and state.position == 0:
            raise ConfigError("no batch could be made: data.batch_seconds is shorter than every utterance")
        state.epoch, state.position = state.epoch + 1, 0
