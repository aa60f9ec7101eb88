"""Whole runs with a student that has more or fewer frames than its teacher."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor, nn
from typing_extensions import Self

from kdcompress.audio.manifest import read_utterances
from kdcompress.config.recipe import Recipe
from kdcompress.distill.data.audio_batch import Batch, read_batch
from kdcompress.distill.loop import distill
from kdcompress.distill.objective.alignment import AlignedPosteriors, FrameAlignment
from kdcompress.distill.posteriors.memory import TeacherPosteriors
from kdcompress.distill.validate import Validation, ValidationFigures
from kdcompress.errors import ConfigError
from kdcompress.students.weights import load_student
from kdcompress.teachers.teacher import Posteriors
from kdcompress.text.decode import greedy
from kdcompress.text.vocabulary import Vocabulary

TONES = {"a": 500.0, "b": 1200.0, "c": 2600.0, "|": 5000.0}  # what `say` plays [Hz]
PAIRS = [(20, 40), (20, 80), (40, 80), (40, 20), (80, 20)]
Make = Callable[..., Recipe]


class SpikyTeacher:
    """Hears the tones of `say`, and says each in the second frame that sounds: one frame, as CTC does."""

    vocabulary = Vocabulary(("<blk>", *TONES), blank=0, word_boundary="|")
    sample_rate, fingerprint, parameters, bytes = 16_000, "spiky", 0, 0

    def __init__(self, shift_ms: int, restless: bool = False) -> None:
        self.frame_shift, self.samples, self.restless = shift_ms / 1000, 16 * shift_ms, restless

    def posteriors(self, waveforms: Tensor, lengths: Tensor) -> Posteriors:
        frames = nn.functional.pad(waveforms, (0, self.samples)).unfold(1, self.samples, self.samples)
        spectrum = torch.fft.rfft(frames, n=1280).abs()
        levels = spectrum[..., [round(hertz * 1280 / 16_000) for hertz in TONES.values()]]
        sounds = frames.square().mean(-1) > 1e-3
        before = nn.functional.pad(sounds, (2, 0))
        spike = sounds & before[:, 1:-1] & ~before[:, :-2]
        if self.restless:
            spike = torch.ones_like(spike)
            odd = torch.arange(spike.shape[1]) % 2
            levels[..., :2] = 1e6 * torch.stack((odd, 1 - odd), dim=-1)
        logits = torch.full((*spike.shape, len(self.vocabulary)), -6.0)
        logits[..., 0] = 0.0
        logits.scatter_(2, 1 + levels.argmax(-1, keepdim=True), torch.where(spike, 6.0, -3.0)[..., None])
        return Posteriors(logits.log_softmax(-1), lengths // self.samples, self.frame_shift)

    def to(self, device: torch.device | str) -> Self:
        return self


class Notes:
    def __init__(self, stop_at: int | None = None) -> None:
        self.stop_at = stop_at
        self.steps: list[dict[str, Any]] = []
        self.lines: list[str] = []

    def stage(self, name: str, done: int, total: int) -> None: ...

    def step(self, step: int, total: int, figures: dict[str, Any]) -> None:
        self.steps.append(figures)
        if step == self.stop_at:
            os.kill(os.getpid(), signal.SIGTERM)

    def validated(self, step: int, figures: ValidationFigures, best: bool) -> None: ...

    def say(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture(scope="module")
def tones(tmp_path_factory: pytest.TempPathFactory, say: Callable[[str], Any]) -> Path:
    """Return sixteen files that say two to four tokens each; the file's name ends with them."""
    folder = tmp_path_factory.mktemp("spoken")
    rng = np.random.default_rng(1)
    for index in range(16):
        text = "".join(rng.choice(["a", "b", "c"], rng.integers(2, 5)))
        soundfile.write(folder / f"{index:02}-{text}.wav", say(text), 16_000)
    return folder


def changed(recipe: Make, tones: Path, student_ms: int | None, **changes: Any) -> Recipe:
    """Return a recipe of 16 steps in which the student hears the sound and not a copy of it."""
    training = {"steps": 16, "validate_every": 8, "log_every": 1, "peak_lr": 2e-2}
    options = {"data__audio": str(tones), "data__speed": (1.0,), "student__frame_shift_ms": student_ms}
    return recipe(**options, training=training, **changes)


def trajectory(run: Path) -> list[tuple[int, float, float]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [(line["step"], line["loss"], line["gradient_norm"]) for line in lines if "loss" in line]


@pytest.mark.slow
@pytest.mark.parametrize(("teacher_ms", "student_ms"), PAIRS[:-1])
def test_a_student_learns_at_its_own_rate_and_goes_on_exactly(
    recipe: Make, tones: Path, tmp_path: Path, teacher_ms: int, student_ms: int
) -> None:
    teacher, made, notes = SpikyTeacher(teacher_ms), changed(recipe, tones, student_ms), Notes()
    assert distill(made, tmp_path / "whole", notes, teacher=teacher).finished
    assert load_student(tmp_path / "whole").model.frame_shift == student_ms / 1000
    assert notes.steps[-1]["loss"] < 0.6 * notes.steps[0]["loss"]
    if student_ms > teacher_ms:
        assert {(step["collisions"], step["crowded"]) for step in notes.steps} == {(0.0, 0.0)}
        assert sum(line.startswith(f"at {student_ms} ms 0.0%") for line in notes.lines) == 1
    else:
        assert "collisions" not in notes.steps[0]
    run = tmp_path / "run"
    assert not distill(made, run, Notes(stop_at=7), teacher=teacher).finished
    assert distill(None, run, Notes(), resume=True, teacher=teacher).finished
    assert trajectory(run) == trajectory(tmp_path / "whole")


@pytest.mark.parametrize(("teacher_ms", "student_ms"), PAIRS)
def test_aligned_posteriors_say_what_the_teacher_says(
    recipe: Make, tones: Path, tmp_path: Path, teacher_ms: int, student_ms: int
) -> None:
    """Of real sound, through the student's own lengths; and the validation judges by the same posteriors."""
    teacher = SpikyTeacher(teacher_ms)
    made = changed(recipe, tones, student_ms).model_copy(
        update={"training": recipe().training.model_copy(update={"steps": 1})}
    )
    distill(made, tmp_path / "run", Notes(), teacher=teacher)
    student = load_student(tmp_path / "run").model
    alignment = FrameAlignment.between(teacher.frame_shift, student.frame_shift, 0)
    source = TeacherPosteriors(teacher, torch.device("cpu"))
    utterances, _ = read_utterances(tones)
    batch = read_batch(utterances)

    def aligned_to(batch: Batch) -> AlignedPosteriors:
        return alignment(source(batch), student.output_lengths(batch.lengths), batch.ids)

    aligned = aligned_to(batch)
    rows = zip(batch.ids, aligned.log_probs.numpy(), aligned.lengths.tolist(), strict=True)
    for id_, log_probs, length in rows:
        assert greedy(log_probs[:length], teacher.vocabulary).text(teacher.vocabulary) == id_.split("-")[-1]

    class Parrot(nn.Module):
        """A student whose output is its target."""

        def forward(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
            wanted = aligned_to(read_batch(order.pop(0)))
            return wanted.log_probs, wanted.lengths

    validation = Validation(utterances, teacher.vocabulary, source, None, 60, alignment)
    by_id = {utterance.id: utterance for utterance in utterances}
    order = [[by_id[id_] for id_ in held.ids] for held, _ in validation.batches]
    figures = validation(Parrot(), torch.device("cpu"))  # type: ignore[arg-type]
    assert figures.wer_against_teacher == figures.ter_against_teacher == 0
    assert figures.kl == pytest.approx(0, abs=1e-6)
    assert figures.blank_rate == figures.teacher_blank_rate


def test_a_student_with_too_few_frames_is_refused_before_the_first_step(
    recipe: Make, tones: Path, tmp_path: Path
) -> None:
    teacher = SpikyTeacher(20, restless=True)
    with pytest.raises(ConfigError, match=r"at 40 ms the student has too few frames .* 2 of 2 held-out"):
        distill(changed(recipe, tones, 40), tmp_path / "run", Notes(), teacher=teacher)
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_the_teachers_rate_is_the_default(recipe: Make, tones: Path, tmp_path: Path) -> None:
    made = recipe(data__audio=str(tones), training__steps=1)
    distill(made, tmp_path / "run", Notes(), teacher=SpikyTeacher(80))
    assert load_student(tmp_path / "run").model.frame_shift == 0.08
