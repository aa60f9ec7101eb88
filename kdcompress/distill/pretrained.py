"""Make the student of a run from its teacher, or from another Hugging Face model."""

from pathlib import Path

from kdcompress.config.student import PretrainedConfig
from kdcompress.config.teacher import CachedTeacher, HuggingFaceTeacher, TeacherConfig
from kdcompress.distill.posteriors.cache import read_record
from kdcompress.errors import ConfigError, TeacherError
from kdcompress.students.pretrained import PretrainedStudent, check_family
from kdcompress.students.student import Student
from kdcompress.students.weights import find_checkpoint, load_student
from kdcompress.teachers.huggingface import load_model
from kdcompress.teachers.huggingface_files import find_folder, weight_files
from kdcompress.teachers.huggingface_vocabulary import find_vocabulary
from kdcompress.teachers.open import resolve_teacher
from kdcompress.text.vocabulary import Vocabulary


def make_pretrained(
    config: PretrainedConfig, teacher: TeacherConfig | None, vocabulary: Vocabulary, run: Path | None = None
) -> Student:
    """Make the student that a configuration of kind `pretrained` asks for.

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
    origin = _origin(config, teacher)
    folder = find_folder(origin)
    try:
        weight_files(origin.path, folder)
        trained = True
    except TeacherError:
        if any(folder.glob("*.bin")) or any(folder.glob("*.pt")):
            raise  # says how to convert them
        trained = False
    model, extractor, tokenizer = load_model(origin, folder, weights=trained)
    check_family(model.config)
    head = False
    if trained:
        shape = model.config
        head = find_vocabulary(origin.path, tokenizer, shape.pad_token_id, shape.vocab_size) == vocabulary
    return PretrainedStudent.of(config, model, extractor, vocabulary, head=head)


def _origin(config: PretrainedConfig, teacher: TeacherConfig | None) -> HuggingFaceTeacher:
    """Return the model that a student is made of."""
    if config.source != "teacher":
        return HuggingFaceTeacher(path=config.source)
    if isinstance(teacher, CachedTeacher):
        cache = teacher.path
        try:
            teacher = resolve_teacher(read_record(cache).teacher_name)
        except TeacherError as error:
            raise ConfigError(
                f"{cache} does not say where its teacher is: set student.source to its directory"
            ) from error
    if not isinstance(teacher, HuggingFaceTeacher):
        found = "there is none" if teacher is None else f"it is of kind {teacher.kind}"
        raise ConfigError(
            f"student.source is the teacher, and {found}: expected a Hugging Face model; name its directory"
        )
    return teacher
