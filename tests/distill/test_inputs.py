"""A run that goes on says what is no longer as it was."""

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import soundfile
import torch

from kdcompress.config.recipe import Recipe
from kdcompress.distill.inputs import RECORD, Inputs
from kdcompress.distill.loop import distill
from kdcompress.errors import RunError
from kdcompress.students.weights import load_student, save_student

Make = Callable[..., Recipe]


def observer(said: list[str], stop_at: int | None = None) -> Any:
    def step(at: int, *_: object) -> None:
        if at == stop_at:
            os.kill(os.getpid(), signal.SIGTERM)

    def nothing(*_: object) -> None: ...

    return SimpleNamespace(stage=nothing, step=step, validated=nothing, say=said.append)


def stopped(recipe: Recipe, run: Path) -> Path:
    assert not distill(recipe, run, observer([], 1)).finished
    return run


def test_other_audio_and_another_teacher_are_named_or_accepted(
    recipe: Make, copied: dict[str, Any], tmp_path: Path
) -> None:
    made = recipe(**copied, training__steps=2, data__noise_share=0.1)
    run, audio, teacher = stopped(made, tmp_path / "run"), tmp_path / "audio", tmp_path / "teacher"
    samples, rate = soundfile.read(audio / "u00.wav")
    held = set(json.loads((run / RECORD).read_text())["held_out"])
    named = sorted({path.stem for path in audio.iterdir()} - held)
    shutil.copy(audio / f"{named[0]}.wav", audio / "v.wav")
    (audio / f"{named[1]}.wav").unlink()
    samples, rate = soundfile.read(audio / f"{named[2]}.wav")
    soundfile.write(audio / f"{named[2]}.wav", 0.5 * samples, rate)  # as long as before
    found = load_student(teacher)
    with torch.no_grad():
        next(found.model.parameters()).add_(0.1)
    shutil.rmtree(teacher)
    save_student(teacher, found.model, found.vocabulary, {})
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with pytest.raises(RunError) as refusal:
        distill(None, run, observer([]), resume=True)
    line = str(refusal.value)
    for part in (
        f"the teacher or cache is another ({found.fingerprint} before",
        "training audio: 1 new (first v)",
        f"1 gone (first {named[1]})",
        f"1 changed (first {named[2]})",
        f"--out {run} --resume --accept-changes",
    ):
        assert part in line
    assert "\n" not in line
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    said: list[str] = []
    assert distill(None, run, observer(said), resume=True, accept_changes=True).finished
    assert any(text.startswith("going on with other inputs: the teacher") for text in said)
    assert distill(None, run, observer([]), resume=True).finished  # what was accepted is what it goes on with


def test_other_transcripts_are_named(recipe: Make, audio_folder: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "m.jsonl"
    lines = [{"audio_filepath": str(p), "id": p.stem, "text": "a b"} for p in sorted(audio_folder.iterdir())]
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    made = recipe(data__audio=str(manifest), training__steps=2, objective={"kd_weight": 0})
    run = stopped(made, tmp_path / "run")
    manifest.write_text(manifest.read_text().replace("a b", "b a", 1))
    with pytest.raises(RunError, match=r"transcripts: 1 changed \(first u00\)"):
        distill(None, run, observer([]), resume=True)


def test_a_corpus_may_move_and_an_old_run_goes_on(
    recipe: Make, copied: dict[str, Any], tmp_path: Path
) -> None:
    run = stopped(recipe(**copied, training__steps=2), tmp_path / "run")
    (tmp_path / "audio").rename(tmp_path / "moved")
    (tmp_path / "audio").symlink_to(tmp_path / "moved")
    (run / RECORD).write_text("{")
    with pytest.raises(RunError, match=r"inputs\.json is damaged"):
        distill(None, run, observer([]), resume=True)
    (run / RECORD).unlink()
    with pytest.raises(RunError, match=r"inputs\.json is missing.*--accept-changes"):
        distill(None, run, observer([]), resume=True)
    about = json.loads((run / "environment.json").read_text())
    del about["inputs"]  # as runs of earlier versions have it
    (run / "environment.json").write_text(json.dumps(about))
    said: list[str] = []
    assert distill(None, run, observer(said), resume=True).finished
    assert any("no record of what audio and teacher" in text for text in said)
    assert Inputs.read(run) is not None
