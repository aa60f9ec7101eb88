"""Teachers that print text only: a script for a command, filters, and a second round on frames."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from kdcompress.config.recipe import Recipe, make_recipe
from kdcompress.config.teacher import CommandTeacher
from kdcompress.distill.data.teacher_texts import LEFT_OUT, PRINTED, Printed, repeats, trainable, unfit
from kdcompress.distill.loop import distill
from kdcompress.errors import TeacherError, TooManyBadFiles
from kdcompress.teachers.open import open_teacher, resolve_teacher

Say = Callable[[str], npt.NDArray[np.float32]]

TEXTS = ["ab c", "cab", "a c", "b cb", "c", "cc ab a", "ba", "aab b c"]
SCRIPT = """
import json, sys, time, soundfile
path, log, answers = sys.argv[1:4]
seconds = soundfile.info(path).duration
open(log, "a").write(path + chr(10))
text = min(json.loads(answers).items(), key=lambda pair: abs(float(pair[0]) - seconds))[1]
if text == "FAIL": sys.exit("no luck")
if text == "SLEEP": time.sleep(30)
print(" ", text, chr(10))
"""


class Notes:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def stage(self, *_: Any) -> None: ...
    def step(self, *_: Any) -> None: ...
    def validated(self, *_: Any) -> None: ...
    def say(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture
def spoken(tmp_path: Path, say: Say) -> dict[str, float]:
    """Write an utterance of each text, all of other lengths; return these by id."""
    (tmp_path / "audio").mkdir()
    seconds = {}
    for index, text in enumerate(TEXTS):
        sound = np.concatenate([say(text), np.zeros(800 * index, np.float32)])
        soundfile.write(tmp_path / "audio" / f"{index}.wav", sound, 16_000)
        seconds[str(index)] = len(sound) / 16_000
    return seconds


def command(tmp_path: Path, answers: dict[float, str], **keys: Any) -> Recipe:
    (tmp_path / "script.py").write_text(SCRIPT)
    program, log = f"{sys.executable} {tmp_path / 'script.py'}", tmp_path / "log; touch x"
    line = f"{program} {{audio}} '{log}' '{json.dumps(answers)}'"
    shape = {"width": 16, "layers": 1, "heads": 2, "kernel": 3, "stem_channels": 4, "frame_shift_ms": 40}
    layers = {
        "teacher": {"kind": "command", "command": line, "jobs": 2, "timeout": 20, **keys},
        "student": shape,
        "data": {"audio": str(tmp_path / "audio"), "batch_seconds": 8, "max_bad_share": 0.3},
        "training": {"steps": 2, "validate_every": 1},
    }
    return make_recipe(layers, [], "test")


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_command_teaches_and_its_failures_are_named(tmp_path: Path, spoken: dict[str, float]) -> None:
    answers = {seconds: TEXTS[int(id_)] for id_, seconds in spoken.items()}
    answers[spoken["3"]], answers[spoken["5"]] = "FAIL", "ab " * 9
    made, notes, run = command(tmp_path, answers), Notes(), tmp_path / "run"
    distill(made, run, notes)
    listed = lines(run / "data" / "transcripts.jsonl")
    kept = {Path(line["audio_filepath"]).stem: line["text"] for line in listed}
    assert kept == {str(index): text for index, text in enumerate(TEXTS) if index not in {3, 5}}
    left = {line["id"]: line["reason"] for line in lines(run / "data" / LEFT_OUT)}
    assert sorted(left.values()) == ["repeats itself", "the command ended with exit code 1: no luck"]
    assert any("8 utterances: 6 are kept; 1 " in line for line in notes.lines)
    assert made.teacher is not None
    assert f"kind: {made.teacher.kind}" in (run / "recipe.yaml").read_text()
    assert not (tmp_path / "x").exists()  # nothing of the command reached a shell
    calls = len(lines_of := (tmp_path / "log; touch x").read_text().splitlines())
    assert calls == len(TEXTS) == len(set(lines_of))

    # The next run in the same place asks for what failed only; the journal may end in the middle of a line.
    again = tmp_path / "again"
    (again / "data").mkdir(parents=True)
    journal = (run / "data" / PRINTED).read_text()
    cut = journal + '{"id": "9", "by": "", "text": 1}\n' + "[" * 100_000 + '\n{"id": "4", "text": "\u00e4'
    (again / "data" / PRINTED).write_bytes(cut.encode()[:-1])  # within a character
    trainable(made, again, notes, resume=False)
    assert len((tmp_path / "log; touch x").read_text().splitlines()) == calls + 1

    # Second round: the student's own posteriors, frame by frame, on silence and noise as well.
    second = made.model_dump(mode="json") | {"teacher": {"kind": "checkpoint", "path": str(run)}}
    sets = [f"training.start_from={run}", "data.surround.share=1"]
    assert distill(make_recipe(second, sets, "second"), tmp_path / "second", notes).finished


def test_too_many_failures_and_what_is_no_command(tmp_path: Path, spoken: dict[str, float]) -> None:
    answers = {spoken["0"]: "SLEEP", spoken["1"]: "FAIL", spoken["2"]: "FAIL", spoken["7"]: "a"}
    made = command(tmp_path, answers, timeout=0.8, jobs=8)
    with pytest.raises(TooManyBadFiles, match=r"of 8 utterances have no transcript, more than data.max_bad"):
        trainable(made, tmp_path / "run", Notes(), resume=False)
    reasons = {line["reason"].partition(":")[0] for line in lines(tmp_path / "run" / "data" / LEFT_OUT)}
    assert "the command took more than 0.8 s" in reasons
    for text, words in (
        ("echo", "no argument with {audio}"),
        ("'", "cannot be split"),
        ("no-such {audio}", "start"),
    ):
        broken = made.model_copy(update={"teacher": CommandTeacher(command=text)})
        with pytest.raises(TeacherError, match=words):
            trainable(broken, tmp_path / "run", Notes(), resume=False)
    with pytest.raises(TeacherError, match="prints text only"):
        open_teacher(CommandTeacher(command="x {audio}"))


def test_two_manifests_have_to_agree(tmp_path: Path, spoken: dict[str, float]) -> None:
    for name, change in (("one", {}), ("two", {"4": "a", "6": None})):
        texts = {id_: change.get(id_, TEXTS[int(id_)]) for id_ in spoken}
        found = [
            {"audio_filepath": f"audio/{id_}.wav", "id": id_, "text": text}
            for id_, text in texts.items()
            if text is not None
        ]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in found))
    named = resolve_teacher(f"transcripts:{tmp_path / 'one.jsonl'}").model_dump(mode="json")
    layers = {"teacher": {**named, "second": str(tmp_path / "two.jsonl")}, "data": {"max_bad_share": 0.2}}
    asked = make_recipe(layers, [], "test")
    made = trainable(asked, tmp_path / "run", Notes(), resume=False)
    assert (made.teacher, made.objective.kd_weight) == (None, 0)
    left = {line["id"]: line["reason"] for line in lines(tmp_path / "run" / "data" / LEFT_OUT)}
    assert left == {"4": "differs between the passes", "6": "the second pass has no transcript"}
    assert made.data.audio is not None
    assert len(lines(made.data.audio)) == 6


def test_limits_of_transcripts() -> None:
    limits = CommandTeacher(command="x")
    assert unfit(Printed("one two", "One, two!"), 2, limits) is None
    assert unfit(Printed("", ""), 9, limits) is None
    assert unfit(Printed("", "thank you"), 9, limits) == "differs between the passes"
    assert unfit(Printed("one"), 30, limits) == "has too few characters a second"
    assert unfit(Printed("one two three four five six"), 0.5, limits) == "has too many characters a second"
    assert unfit(Printed("thank you " * 5), 9, limits) == "repeats itself"


@given(st.lists(st.sampled_from("abc"), max_size=4), st.lists(st.sampled_from("xyz"), min_size=1, max_size=4),
       st.integers(2, 6))  # fmt: skip
def test_a_phrase_said_n_times_in_a_row_is_counted(before: list[str], phrase: list[str], times: int) -> None:
    assert repeats([*before, *phrase * times]) >= times
    assert repeats(before) <= len(before)
    assert repeats(["a", "b"] * times + ["c"]) == times
