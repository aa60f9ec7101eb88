"""Teachers that print text only: their transcripts, filtered, become a manifest that CTC is trained on.

runs/NAME/data/  transcripts.jsonl   a manifest of what is kept
                 left_out.jsonl      what is not, and why
                 printed.jsonl       what a command printed, as it came: who begins again goes on from it
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias

import jiwer

from kdcompress.audio.manifest import read_texts, read_utterances
from kdcompress.audio.utterance import Utterance
from kdcompress.config.recipe import Recipe
from kdcompress.config.teacher import CommandTeacher, TextTeacherConfig, TranscriptsTeacher
from kdcompress.distill.data.long_recordings import fit
from kdcompress.distill.data.text_command import run_command
from kdcompress.distill.distributed import processes
from kdcompress.distill.observer import StageObserver
from kdcompress.errors import AudioError, ConfigError, TeacherError, TooManyBadFiles
from kdcompress.files import write_file
from kdcompress.text.normalize import normalize

TextTeacher: TypeAlias = CommandTeacher | TranscriptsTeacher
KEPT, LEFT_OUT, PRINTED = "transcripts.jsonl", "left_out.jsonl", "printed.jsonl"
_LONGEST_PHRASE = 8  # words


@dataclass(frozen=True)
class Printed:
    """What a teacher printed for an utterance: in one pass, or two; `failed` says why there is nothing."""

    text: str = ""
    second: str | None = None
    failed: str | None = None


class TextOnly:
    """Stands where other kinds of teachers open a model."""

    @classmethod
    def open(cls, config: TextTeacherConfig, device: object) -> "TextOnly":
        """Refuse.

        Raises:
            TeacherError: always: there are no posteriors.
        """
        raise TeacherError(f"a teacher of kind {config.kind} prints text only: distill can learn from it")


def trainable(recipe: Recipe, out: Path, observer: StageObserver, *, resume: bool) -> Recipe:
    """Return what is trained: the recipe, or where its teacher prints text only, CTC on its transcripts.

    Args:
        resume: the run goes on, and has them.

    Raises:
        ConfigError: the recipe names no audio.
        AudioError: no transcript is left.
        TooManyBadFiles: a command failed on more files than data.max_bad_share allows.
    """
    teacher = recipe.teacher
    if not isinstance(teacher, TextTeacher):
        if recipe.data.audio is None:
            raise ConfigError("the recipe names no audio: add --audio DIR or --audio MANIFEST.jsonl")
        return recipe
    manifest = out / "data" / KEPT
    if processes().is_main_process and not (resume and manifest.is_file()):
        _write(recipe, teacher, manifest, observer)
    processes().wait_for_everyone()
    data = recipe.data.model_copy(update={"audio": manifest.absolute(), "channels": "mix"})
    objective = recipe.objective.model_copy(update={"kd_weight": 0.0})
    return recipe.model_copy(update={"data": data, "objective": objective, "teacher": None})


def _write(recipe: Recipe, teacher: TextTeacher, manifest: Path, observer: StageObserver) -> None:
    data = recipe.data
    audio = teacher.manifest if data.audio is None and isinstance(teacher, TranscriptsTeacher) else data.audio
    if audio is None:
        raise ConfigError("the recipe names no audio: add --audio DIR or --audio MANIFEST.jsonl")
    found, bad = read_utterances(
        audio, channels=data.channels, on_progress=partial(observer.stage, "Reading audio")
    )
    # The ids of a manifest are those of whole utterances.
    cut = isinstance(teacher, CommandTeacher)
    usable, _, damaged = fit([one for one in found if one.duration > 0], data, cut=cut)
    bad = [*bad, *damaged]
    manifest.parent.mkdir(parents=True, exist_ok=True)
    printed = _printed(teacher, usable, manifest.with_name(PRINTED), observer)
    kept, left = [], []
    for utterance in usable:
        one = printed.get(utterance.id, Printed(failed="it has no transcript"))
        reason = one.failed or unfit(one, utterance.duration, teacher)
        line = _line(utterance) | {"text": one.text}
        if reason is None:
            kept.append(line)
        else:
            left.append(line | {"second": one.second, "reason": reason})
    write_file(manifest.with_name(LEFT_OUT), _jsonl(left))
    reasons = Counter(str(line["reason"]).partition(":")[0] for line in left)
    listed = "".join(f"; {count} {reason}" for reason, count in reasons.most_common())
    observer.say(
        f"the teacher's transcripts of {len(usable)} utterances: {len(kept)} are kept{listed}, see "
        f"{manifest.parent}"
    )
    failed = sum(one.failed is not None for one in printed.values()) + len(bad)
    if failed > data.max_bad_share * (len(usable) + len(bad)):
        first = next((one.failed for one in printed.values() if one.failed), "") or bad[0].reason
        raise TooManyBadFiles(
            f"{failed} of {len(usable) + len(bad)} utterances have no transcript, more than "
            f"data.max_bad_share {data.max_bad_share:.0%} allows; first: {first}; all: "
            f"{manifest.with_name(LEFT_OUT)}"
        )
    if len(kept) < 2:
        raise AudioError(
            f"{len(kept)} transcripts of the teacher are left, see {manifest.with_name(LEFT_OUT)}"
        )
    write_file(manifest, _jsonl(kept))


def _printed(
    teacher: TextTeacher,
    utterances: Sequence[Utterance],
    journal: Path,
    observer: StageObserver,
) -> Mapping[str, Printed]:
    if not isinstance(teacher, TranscriptsTeacher):
        progress = partial(observer.stage, "Running the teacher")
        lines = run_command(teacher, utterances, journal, progress)
        return {id_: Printed(**line) for id_, line in lines.items()}
    texts = read_texts(teacher.manifest)
    seconds = None if teacher.second is None else read_texts(teacher.second)
    if not any(one.id in texts for one in utterances):
        raise ConfigError(
            f"{teacher.manifest} has none of the utterances of data.audio, which begin with "
            f"{utterances[0].id!r}: ids must be the same"
            if utterances
            else f"{teacher.manifest}: no utterance can be used"
        )
    missing = "the second pass has no transcript"
    return {
        id_: Printed(text)
        if seconds is None
        else Printed(text, seconds.get(id_), None if id_ in seconds else missing)
        for id_, text in texts.items()
    }


def unfit(printed: Printed, seconds: float, limits: TextTeacherConfig) -> str | None:
    """Say why a transcript of so many seconds is not to be learned from; None where it may be.

    An empty one says that nobody speaks, and is kept where both passes are empty.
    """
    text = normalize(printed.text, "basic")
    if text:
        rate = len(text.replace(" ", "")) / max(seconds, 1e-3)
        if rate > limits.max_rate:
            return "has too many characters a second"
        if rate < limits.min_rate:
            return "has too few characters a second"
        if repeats(text.split()) > limits.max_repeats:
            return "repeats itself"
    if printed.second is not None:
        second = normalize(printed.second, "basic")
        if bool(text) != bool(second) or (text and jiwer.cer(text, second) > limits.max_disagreement):
            return "differs between the passes"
    return None


def repeats(words: Sequence[str]) -> int:
    """Return how often the most repeated phrase, of up to eight words, stands in a row; 0 without words."""
    most = min(1, len(words))
    for size in range(1, min(_LONGEST_PHRASE, len(words) // 2) + 1):
        run = 0
        for at in range(size, len(words)):
            run = run + 1 if words[at] == words[at - size] else 0
            most = max(most, 1 + run // size)
    return most


def _line(utterance: Utterance) -> dict[str, object]:
    line: dict[str, object] = {
        "audio_filepath": str(utterance.audio.absolute()),
        "offset": utterance.start,
        "duration": utterance.duration,
        "id": utterance.id,
    }
    return line if utterance.channel is None else {**line, "channel_selector": utterance.channel}


def _jsonl(lines: Iterable[Mapping[str, object]]) -> str:
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
