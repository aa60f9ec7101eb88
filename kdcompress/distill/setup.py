"""Everything before the first step: open, check and read what a run needs, and take up an old one."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed

from kdcompress.config.recipe import Recipe
from kdcompress.config.student import PretrainedConfig
from kdcompress.distill.augment import SpecAugment
from kdcompress.distill.budget import describe_budget
from kdcompress.distill.checkpoint import LoopState, check_world, load_checkpoint, prune
from kdcompress.distill.data.audio_batch import Batch
from kdcompress.distill.data.batches import Batches, write_cuts
from kdcompress.distill.data.packed_audio import PackedAudio
from kdcompress.distill.data.shard_batches import ShardBatches
from kdcompress.distill.data.surround import Surround
from kdcompress.distill.data.teacher_texts import trainable
from kdcompress.distill.data.training_data import TrainingData, load_training_data
from kdcompress.distill.distributed import processes, training_device
from kdcompress.distill.fake_quantization import RoundedStudent, round_linear_layers
from kdcompress.distill.inputs import Inputs, check_inputs
from kdcompress.distill.objective.alignment import FrameAlignment, check_ctc_feasible, student_frame_shift
from kdcompress.distill.objective.label_rate import resolve_label_rate
from kdcompress.distill.objective.objective import Objective
from kdcompress.distill.objective.prior import resolve_prior
from kdcompress.distill.observer import Observer
from kdcompress.distill.optim import AveragedStudent, make_optimizer
from kdcompress.distill.posteriors.memory import TeacherPosteriors
from kdcompress.distill.posteriors.source import PosteriorSource, open_source
from kdcompress.distill.pretrained import CUT, cut_to_budget, make_pretrained
from kdcompress.distill.run import Run, check_vacant
from kdcompress.distill.tokenizer_setup import keep_tokenizer, resolve_tokenizer
from kdcompress.distill.validate import Validation
from kdcompress.errors import ConfigError
from kdcompress.students.initialize import sample_waveforms, start_from
from kdcompress.students.student import Student, build_student, check_outputs, with_frame_shift
from kdcompress.students.weights import LoadedStudent, find_checkpoint, load_student
from kdcompress.teachers.teacher import Posteriors, Teacher
from kdcompress.text.vocabulary import Vocabulary

SHIFT_MS = 40.0  # of a student that has no teacher to take it from [ms]


@dataclass
class Training:
    """All that the loop works with.

    Attributes:
        model: the student as it is called in training: on its device, and over several processes in DDP.
        files: number of audio files that were found, usable or not.
        record: for each checkpoint, beside weights and step.
    """

    recipe: Recipe
    run: Run
    accelerator: Accelerator
    source: PosteriorSource | None
    student: Student
    vocabulary: Vocabulary
    batches: Batches | ShardBatches
    surround: Surround
    objective: Objective
    validation: Validation
    model: Any
    optimizer: Any
    averaged: AveragedStudent
    augment: SpecAugment
    state: LoopState
    files: int
    record: dict[str, Any]

    def stream(self) -> Iterator[Batch]:
        """Yield batches for ever, keeping `state` at the position after the batch just taken."""
        return self.batches.stream(self.state)


def set_up(
    recipe: Recipe | None,
    out: Path,
    observer: Observer,
    *,
    resume: bool | Literal["auto"],
    teacher: Teacher | None,
    source: PosteriorSource | None,
    student: Student | None,
    accept_changes: bool,
) -> Training:
    """Prepare a run; see `distill` for the arguments."""
    # ---- recipe: a run that goes on has its own
    if resume == "auto":
        resume = (out / "recipe.yaml").is_file()
        processes().wait_for_everyone()  # all have looked before one writes
    if resume:
        run, recipe = Run.resume(out, recipe)
    elif recipe is None:
        raise ConfigError("no recipe: name one, or give --teacher and --audio")
    elif processes().is_main_process:  # the others would find what it has made meanwhile
        check_vacant(out)
    own, recipe = recipe, trainable(recipe, out, observer, resume=bool(resume))
    config, shape = recipe.training, recipe.student if student is None else student.config
    accelerator = _accelerator(config.precision)
    device = training_device()
    main = accelerator.is_main_process

    # ---- teacher, units, frame shift: most mistakes are made here, so nothing is written before
    if source is None:
        source = _open(recipe, teacher, device)
    progress = partial(observer.stage, "Learning units from the teacher")
    origin = _origin(recipe, out if resume else None) if source is None and student is None else None
    units = None if origin is None else origin.vocabulary
    tokenizer = resolve_tokenizer(recipe, source, out if resume else None, progress, units)
    vocabulary = tokenizer.vocabulary
    if student is None and isinstance(shape, PretrainedConfig):
        set_seed(recipe.seed)
        student = make_pretrained(shape, recipe.teacher, vocabulary, out if resume else None)
    if source is None and student is None and shape.frame_shift_ms is None:
        shape = with_frame_shift(shape, SHIFT_MS if origin is None else 1000 * origin.model.frame_shift)
    compares = source is not None and recipe.objective.compares_frames
    alignment = None
    if source is not None and (compares or shape.frame_shift_ms is None):
        asked = shape.frame_shift_ms if student is None else 1000 * student.frame_shift
        shift = student_frame_shift(asked, source.frame_shift)
        if student is None:
            shape = with_frame_shift(shape, shift)
        if compares:
            source.check(recipe.objective.selection, shift / 1000)
            alignment = FrameAlignment.between(
                source.frame_shift, shift / 1000, vocabulary.blank, recipe.objective.delay_ms
            )
    taught, top_k = (None, None) if source is None else (source.vocabulary, source.top_k)
    objective = Objective(recipe.objective, tokenizer, taught, top_k, alignment, recipe.seed)
    set_seed(recipe.seed)
    if student is None:
        student = build_student(shape, vocabulary)
    check_outputs(student, vocabulary)
    if objective.full_context and not student.streams:
        raise ConfigError(
            "objective.terms.full_context compares chunks with whole utterances: set student.streaming"
        )

    # ---- run directory and audio
    if not resume:
        run = Run.create(out, own) if main else Run(out)
    run.writes = main
    if main:
        keep_tokenizer(tokenizer, out)
    accelerator.wait_for_everyone()
    with accelerator.main_process_first():  # it writes clips of noise, the others find them
        progress = partial(observer.stage, "Reading audio")
        with_texts = recipe.objective.kd_weight < 1
        data = load_training_data(recipe, tokenizer, run, progress, with_texts=with_texts)
    if data.cut:
        observer.say(data.cut)
    resuming = resume and (out / "last").is_file()
    progress = partial(observer.stage, "Comparing audio with before")
    inputs = Inputs.of(data, source, recipe.seed, tokenizer, progress)
    if resuming:
        check_inputs(run, inputs, observer.say, accept_changes)
    accelerator.wait_for_everyone()  # nobody compares with what another has written
    if main:
        inputs.write(out)
    if isinstance(recipe.student, PretrainedConfig) and recipe.student.budget is not None and not resuming:
        with accelerator.main_process_first():  # cut by one, and taken by the others
            if main and not (resume and (out / CUT).is_dir()):
                cut_to_budget(
                    student, vocabulary, recipe.student.budget, data.sample, out / CUT, observer.stage
                )
            student = load_student(out / CUT).model
    if config.start_from is not None and not resuming:
        progress = partial(observer.stage, "Narrowing the layers to start from")
        start_from(config.start_from, student, vocabulary, data.sample, progress)
    if not resuming:
        student.measure(sample_waveforms(data.sample))
    batches = _batches(data, recipe, out, accelerator)
    hours = data.seconds / 3600
    observer.say(
        f"{len(data.training)} utterances ({hours:.2f} h) to train on, "
        f"{len(data.held_out)} held out, {len(run.bad)} files skipped; "
        f"student {student.parameter_count() / 1e6:.2f} M parameters at "
        f"{1000 * student.frame_shift:g} ms"
    )
    if source is None:
        observer.say(f"units, as in the transcripts: {''.join(vocabulary.characters)}")
    observer.say(describe_budget(recipe, hours, accelerator.num_processes, device.type == "cpu"))

    # ---- the teacher's posteriors
    if source is not None:
        source.prefetch(data, recipe, observer.stage)
    validation = Validation(
        data.held_out,
        vocabulary,
        source,
        data.references,
        recipe.data.batch_seconds,
        alignment,
        accelerator,
    )
    progress, spoken = partial(observer.stage, "Counting labels"), validation.is_spoken
    objective.label_rate = resolve_label_rate(recipe, data, source, tokenizer, progress, is_spoken=spoken)
    if alignment is not None and alignment.pool > 1:
        observer.say(check_ctc_feasible(validation.collisions(), student.frame_shift))
    if source is not None and alignment is not None:
        objective.log_prior = resolve_prior(
            recipe,
            data.sample,
            partial(_aligned, source, alignment, student),
            out / "data" / "prior.json",
            partial(observer.stage, "Estimating the prior"),
            resume=resume,
            write=main,
        )

    # ---- optimiser, average, checkpoint
    optimizer = make_optimizer(student, config)
    if config.quantize is None:
        averaged = AveragedStudent(student, config.ema_decay, device)
    else:
        averaged = RoundedStudent(round_linear_layers(student, str(config.quantize.bits)), device)
    state = LoopState()
    # Everything random before this line may differ between a fresh and a resumed run; nothing after it may.
    set_seed(recipe.seed, device_specific=True)  # or dropout, masks and delays would be the same everywhere
    state.world_size = accelerator.num_processes
    if resuming:
        state = load_checkpoint(out, averaged.model, optimizer, student, accelerator.process_index)
        check_world(out, state, accelerator.num_processes)
        if state.lanes is not None:
            state.lanes = state.lanes[accelerator.process_index :: accelerator.num_processes]
        observer.say(f"resuming from step {state.step}")
    if resume and main:
        run.forget_after(state.step)
        if resuming:
            prune(out, config.keep)  # which a kill may have kept from being done
    model, optimizer = accelerator.prepare(student, optimizer)
    augment, files = SpecAugment(config.spec_augment), len(data.training) + len(run.bad)
    record = {
        "teacher": None if source is None else source.fingerprint,
        "frame_shift": student.frame_shift,
        "objective": recipe.objective.model_dump(mode="json"),
    }
    around = Surround(recipe.data, recipe.seed, student.frame_shift, vocabulary)
    parts = (source, student, vocabulary, batches, around, objective, validation, model, optimizer)
    return Training(recipe, run, accelerator, *parts, averaged, augment, state, files, record)


def _batches(
    data: TrainingData, recipe: Recipe, out: Path, accelerator: Accelerator
) -> Batches | ShardBatches:
    """Return the training batches; every process must call this."""
    place = accelerator.process_index, accelerator.num_processes
    cuts = out / "data" / "train.jsonl"
    if accelerator.is_main_process:
        cuts.parent.mkdir(exist_ok=True)
        if not isinstance(data.training, PackedAudio):
            write_cuts(data.training, cuts)
        write_cuts(data.held_out, cuts.with_name("held_out.jsonl"))
    accelerator.wait_for_everyone()
    if isinstance(data.training, PackedAudio):
        return ShardBatches(data.training, recipe.data, recipe.seed, recipe.training.accumulate, *place)
    return Batches(cuts, len(data.training), recipe.data, recipe.seed, data.labels, *place, data.memory)


def _accelerator(precision: str) -> Accelerator:
    if precision == "auto":
        precision = "bf16" if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else "fp32"
    processes()  # the first call decides which processes belong together
    return Accelerator(mixed_precision="bf16" if precision == "bf16" else "no")


def _open(recipe: Recipe, teacher: Teacher | None, device: torch.device) -> PosteriorSource | None:
    if teacher is not None:
        return TeacherPosteriors(teacher, device)
    if recipe.objective.kd_weight == 0:
        return None
    if recipe.teacher is None:
        raise ConfigError(
            "no teacher to imitate: add --teacher, or train on transcripts by objective.kd_weight=0"
        )
    return open_source(recipe.teacher, device)


def _origin(recipe: Recipe, run: Path | None) -> LoadedStudent | None:
    """Return the student whose weights a run without teacher takes over: its own, or that to start from."""
    if run is not None and (run / "last").is_file():
        return load_student(find_checkpoint(run, "last"))
    return None if recipe.training.start_from is None else load_student(recipe.training.start_from)


def _aligned(
    source: PosteriorSource, alignment: FrameAlignment, student: Student, batch: Batch
) -> Posteriors:
    """Return a batch's posteriors at the student's frame shift, as long as both have frames."""
    found = source(batch)
    return alignment(found, student.output_lengths(batch.lengths.to(found.lengths.device)), batch.ids)
