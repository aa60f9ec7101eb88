"""Make the student of a run from its teacher, or from another Hugging Face model."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kdcompress.aliases import StageProgress
from kdcompress.audio.utterance import Utterance
from kdcompress.config.student import PretrainedConfig
from kdcompress.config.teacher import CachedTeacher, CheckpointTeacher, HuggingFaceTeacher, TeacherConfig
from kdcompress.digests import write_digests
from kdcompress.distill.posteriors.cache import read_record
from kdcompress.errors import ConfigError, TeacherError
from kdcompress.files import writing_folder
from kdcompress.students.initialize import sample_waveforms
from kdcompress.students.pretrained import PretrainedStudent, check_family, chosen_layers, settings_of
from kdcompress.students.pruning.budget import Budget
from kdcompress.students.pruning.plot import plot_frontier
from kdcompress.students.pruning.search import Frontier, search
from kdcompress.students.student import Student
from kdcompress.students.weights import find_checkpoint, load_student, save_student
from kdcompress.teachers.huggingface import load_model
from kdcompress.teachers.huggingface_files import find_folder, weight_files
from kdcompress.teachers.huggingface_vocabulary import find_vocabulary
from kdcompress.teachers.open import resolve_teacher
from kdcompress.text.vocabulary import Vocabulary

FRONTIER = "frontier.json"
CUT = "cut"
"""Where a run keeps the student that it began with, after cuts for its budget."""


def make_pretrained(
    config: PretrainedConfig, teacher: TeacherConfig | None, vocabulary: Vocabulary, run: Path | None = None
) -> Student:
    """Make the student that a configuration of kind `pretrained` asks for, before cuts for its budget.

    Args:
        config: of the recipe.
        teacher: of the recipe.
        vocabulary: the student's units; a source of others gets a new head.
        run: to go on with; its own checkpoint, where it has one, stands for the source.

    Raises:
        ConfigError: no student can be made of the source.
        TeacherError: the source is missing or damaged.
    """
    if run is not None and (run / "last").is_file():
        return load_student(find_checkpoint(run, "last")).model
    return open_as_student(config, _origin(config, teacher), vocabulary)[0]


def open_as_student(
    config: PretrainedConfig, origin: TeacherConfig, vocabulary: Vocabulary | None = None
) -> tuple[Student, Vocabulary]:
    """Open a Hugging Face model, or a run of our own, as a student with all or some of its layers.

    Args:
        vocabulary: the student's units; None takes those of the origin.

    Raises:
        ConfigError: no student can be made of it.
        TeacherError: it is missing or damaged.
    """
    if isinstance(origin, CheckpointTeacher):
        return _of_run(config, origin, vocabulary)
    if not isinstance(origin, HuggingFaceTeacher):
        raise ConfigError(
            f"students are made of Hugging Face models and runs of kdcompress, not of teachers of kind "
            f"{origin.kind}: set student.source to the directory of one"
        )
    folder = find_folder(origin)
    try:
        weight_files(origin.path, folder)
        trained = True
    except TeacherError:
        if vocabulary is None or any(folder.glob("*.bin")) or any(folder.glob("*.pt")):
            raise  # says how to convert them
        trained = False
    model, extractor, tokenizer = load_model(origin, folder, weights=trained)
    check_family(model.config)
    theirs = None
    if trained:
        theirs = find_vocabulary(origin.path, tokenizer, model.config.pad_token_id, model.config.vocab_size)
    units = theirs if vocabulary is None else vocabulary
    assert units is not None
    return PretrainedStudent.of(config, model, extractor, units, head=theirs == units), units


def _of_run(
    config: PretrainedConfig, origin: CheckpointTeacher, vocabulary: Vocabulary | None
) -> tuple[Student, Vocabulary]:
    found = load_student(origin.path)
    if vocabulary not in (None, found.vocabulary):
        raise ConfigError(
            f"student.source {origin.path} has {len(found.vocabulary)} units, this run others: begin with a "
            "run of the same teacher"
        )
    if config.layers is not None:
        there = len(found.model.anatomy().layers)
        found.model.keep_layers(chosen_layers(config.layers, there))
    model = found.model if config.dropout is None else _with_dropout(found.model, config.dropout)
    return model, found.vocabulary


def _with_dropout(student: Student, dropout: float) -> Student:
    """Return a student of the same weights with another dropout in training."""
    shape = student.config
    update: dict[str, Any] = {"dropout": dropout}
    if isinstance(shape, PretrainedConfig):
        update = {"model": settings_of(shape.model or {}, dropout)}
    made = type(student)(shape.model_copy(update=update), student.vocabulary_size)
    made.load_state_dict(student.state_dict())
    return made.eval()


def cut_to_budget(
    student: Student,
    vocabulary: Vocabulary,
    budget: str,
    utterances: Sequence[Utterance],
    folder: Path,
    on_progress: StageProgress | None = None,
) -> Frontier:
    """Cut a student down to a budget, and write it and what was tried into a folder.

    Raises:
        ConfigError: it is no budget, or cannot be reached.
        AudioError: too little audio can be read.
    """
    asked = Budget.parse(budget)
    found = search(student, vocabulary, asked, list(sample_waveforms(utterances)), on_progress)
    with writing_folder(folder) as unfinished:
        chosen = found.chosen.student
        save_student(unfinished, chosen, vocabulary, {"step": 0, "frame_shift": chosen.frame_shift})
        (unfinished / FRONTIER).write_text(json.dumps(found.to_json(), indent=1) + "\n", encoding="utf-8")
        plot_frontier(found.to_json(), unfinished / "frontier.png")
        write_digests(unfinished)
    return found


def _origin(config: PretrainedConfig, teacher: TeacherConfig | None) -> TeacherConfig:
    """Return the model that a student is made of."""
    if config.source != "teacher":
        return resolve_teacher(config.source)
    if isinstance(teacher, CachedTeacher):
        cache = teacher.path
        try:
            teacher = resolve_teacher(read_record(cache).teacher_name)
        except TeacherError as error:
            raise ConfigError(
                f"{cache} does not say where its teacher is: set student.source to its directory"
            ) from error
    if teacher is None:
        raise ConfigError("student.source is the teacher, and there is none: name the directory of a model")
    return teacher
