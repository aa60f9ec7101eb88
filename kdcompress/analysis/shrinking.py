"""Students cut out of a teacher without any training."""

from pathlib import Path

from kdcompress.aliases import StageProgress
from kdcompress.audio.manifest import read_utterances
from kdcompress.audio.utterance import Utterance
from kdcompress.config.data import DataConfig
from kdcompress.config.student import PretrainedConfig
from kdcompress.config.teacher import TeacherConfig
from kdcompress.distill.data.long_recordings import fit
from kdcompress.distill.observer import StageObserver
from kdcompress.distill.pretrained import cut_to_budget, open_as_student
from kdcompress.errors import AudioError, RunError
from kdcompress.students.initialize import sample_waveforms
from kdcompress.students.pruning.budget import Budget
from kdcompress.students.pruning.search import Frontier, search


def shrink(teacher: TeacherConfig, audio: Path, budget: str, out: Path, observer: StageObserver) -> Frontier:
    """Cut a teacher down to a budget, and write the student with the frontier of the search beside it.

    Args:
        teacher: a Hugging Face model or a run of our own.
        audio: to choose and refit by; eight minutes of it are read.
        budget: see `Budget.parse`.

    Raises:
        RunError: `out` exists.
        ConfigError: it is no budget, or cannot be reached, or no student can be made of the teacher.
        AudioError: there is no usable audio.
    """
    Budget.parse(budget)
    if out.exists():
        raise RunError(f"{out} exists already: choose another --out")
    student, vocabulary = open_as_student(PretrainedConfig(), teacher)
    return cut_to_budget(student, vocabulary, budget, _usable(audio), out, observer.stage)


def prospects(
    teacher: TeacherConfig, audio: Path, on_progress: StageProgress | None = None, budget: str = "0.25x"
) -> Frontier:
    """Return what students cut out of a teacher would cost, down to a budget; nothing is written.

    Raises:
        ConfigError: no student can be made of the teacher.
        AudioError: there is no usable audio.
    """
    student, vocabulary = open_as_student(PretrainedConfig(), teacher)
    sounds = list(sample_waveforms(_usable(audio)))
    return search(student, vocabulary, Budget.parse(budget), sounds, on_progress, strict=False)


def _usable(audio: Path) -> list[Utterance]:
    limits = DataConfig()
    usable, _, _ = fit(read_utterances(audio)[0], limits)
    if not usable:
        raise AudioError(
            f"{audio}: no file is readable and between {limits.min_seconds} and {limits.max_seconds} s long"
        )
    return usable
