"""The loop as a whole, on real components: what it learns, how it stops, and that it goes on exactly."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from kdcompress.config.recipe import Recipe, dump_recipe, load_recipe
from kdcompress.config.student import ConformerConfig
from kdcompress.distill.data.training_data import load_training_data
from kdcompress.distill.loop import distill
from kdcompress.distill.observer import DistillResult
from kdcompress.distill.run import Run
from kdcompress.distill.tokenizer_setup import resolve_vocabulary
from kdcompress.distill.validate import ValidationFigures
from kdcompress.errors import ConfigError, NumericsError, RunError, TooManyBadFiles, VocabularyError
from kdcompress.students.conformer import ConformerStudent
from kdcompress.students.initialize import start_from
from kdcompress.students.weights import load_student, save_student
from kdcompress.teachers.open import open_teacher
from kdcompress.text.vocabulary import Vocabulary

Make = Callable[..., Recipe]


class Notes:
    """An observer that remembers, and may raise its hand at a step."""

    def __init__(self, at: int | None = None, act: Callable[[], None] = lambda: None) -> None:
        self.at, self.act = at, act
        self.steps: list[dict[str, Any]] = []
        self.validations: list[tuple[int, ValidationFigures, bool]] = []
        self.lines: list[str] = []

    def stage(self, name: str, done: int, total: int) -> None:
        self.lines.append(f"{name} {done}/{total}")

    def step(self, step: int, total: int, figures: dict[str, Any]) -> None:
        self.steps.append(figures)
        if step == self.at:
            self.act()

    def validated(self, step: int, figures: ValidationFigures, best: bool) -> None:
        self.validations.append((step, figures, best))

    def say(self, text: str) -> None:
        self.lines.append(text)


def losses(run: Path) -> list[tuple[int, float, float]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [(line["step"], line["loss"], line["gradient_norm"]) for line in lines if "loss" in line]


def weights(run: Path) -> dict[str, torch.Tensor]:
    return dict(load_student(run / "checkpoints" / (run / "last").read_text().strip()).model.state_dict())


def same_weights(one: Path, other: Path) -> bool:
    pairs = zip(weights(one).values(), weights(other).values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs") / "whole"


def run_whole(make: Make, whole: Path) -> DistillResult | None:
    """Train the uninterrupted run once for all tests that compare with it."""
    return None if whole.exists() else distill(make(), whole, Notes())


def test_a_run_describes_itself(recipe: Make, whole: Path) -> None:
    outcome = run_whole(recipe, whole)
    assert outcome is None or (outcome.finished and outcome.best is not None)
    loaded = load_student(whole)
    assert loaded.model.frame_shift == 0.04  # the teacher's
    assert loaded.record["teacher"] == open_teacher(recipe().teacher).fingerprint
    assert {"kl", "wer_against_teacher"} <= set(loaded.record["figures"])
    assert load_recipe(whole / "recipe.yaml") == recipe()
    figures = json.loads((whole / "metrics.jsonl").read_text().splitlines()[0])
    assert {"kd", "occupancy", "selected_share", "blank_rate", "teacher_blank_rate", "gradient_norm"} <= set(
        figures
    )
    assert len(list((whole / "checkpoints").iterdir())) <= 3  # best, last, one kept
    held = (whole / "data" / "held_out.jsonl").read_text().splitlines()
    assert len(held) == 2
    assert not {json.loads(line)["id"] for line in held} & {
        json.loads(line)["id"] for line in (whole / "data" / "train.jsonl").read_text().splitlines()
    }


@pytest.mark.parametrize(("at", "number"), [(2, signal.SIGTERM), (5, signal.SIGUSR1)])
def test_a_signal_saves_and_resume_goes_on_exactly(
    recipe: Make, whole: Path, tmp_path: Path, at: int, number: signal.Signals
) -> None:
    """Also where a scheduler gives the same command twice."""
    run_whole(recipe, whole)
    run = tmp_path / "run"
    stopped = distill(recipe(), run, Notes(at, lambda: os.kill(os.getpid(), number)), resume="auto")
    assert (stopped.finished, stopped.step) == (False, at)
    again = (None, True) if number == signal.SIGTERM else (recipe(), "auto")
    assert distill(again[0], run, Notes(), resume=again[1]).finished
    assert losses(run) == losses(whole)
    assert same_weights(run, whole)


@pytest.mark.slow
def test_a_kill_loses_only_the_steps_since_the_last_checkpoint(
    recipe: Make, whole: Path, tmp_path: Path
) -> None:
    run_whole(recipe, whole)
    run, program = tmp_path / "run", tmp_path / "killed.py"
    (tmp_path / "recipe.yaml").write_text(dump_recipe(recipe()))
    program.write_text(
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from types import SimpleNamespace\n"
        "from kdcompress.config.recipe import load_recipe\n"
        "from kdcompress.distill.loop import distill\n"
        "nothing = lambda *rest: None\n"
        "die = lambda step, total, figures: step == 5 and os.kill(os.getpid(), signal.SIGKILL)\n"
        "observer = SimpleNamespace(stage=nothing, step=die, validated=nothing, say=nothing)\n"
        "distill(load_recipe(Path(sys.argv[1])), Path(sys.argv[2]), observer)\n"
    )
    command = [sys.executable, str(program), str(tmp_path / "recipe.yaml"), str(run)]
    killed = subprocess.run(command, check=False, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert (run / "last").read_text() == "step-000003\n"
    with open(run / "metrics.jsonl", "a") as file:
        file.write('{"step": 5, "lo')  # what a kill in the middle of a write leaves
    distill(None, run, Notes(), resume=True)
    assert losses(run) == losses(whole)
    assert same_weights(run, whole)


def test_checkpoints_between_validations_change_no_number_and_are_resumed_from(
    recipe: Make, whole: Path, tmp_path: Path
) -> None:
    run_whole(recipe, whole)
    often, run = {"training__checkpoint_minutes": 1e-9, "training__keep": 9}, tmp_path / "run"
    distill(recipe(**often), run, Notes())
    assert losses(run) == losses(whole)
    kept = {path.name for path in (run / "checkpoints").iterdir()}
    assert kept == {f"step-{step:06}" for step in range(1, 9)}
    for step in (6, 7, 8):
        shutil.rmtree(run / "checkpoints" / f"step-{step:06}")
    (run / "last").write_text("step-000005\n")  # between the validations of 3 and 6
    (run / "best").write_text("step-000003\n")
    assert "figures" not in load_student(run / "checkpoints" / "step-000005").record
    distill(None, run, Notes(), resume=True)
    assert losses(run) == losses(whole)
    assert same_weights(run, whole)


def test_remembering_the_teacher_changes_no_number(recipe: Make, whole: Path, tmp_path: Path) -> None:
    """Asked once per utterance or for every batch, the teacher says the same (its rounding apart)."""
    run_whole(recipe, whole)
    distill(recipe(training__teacher_memory_mb=0), tmp_path / "run", Notes())
    remembered, asked = losses(whole), losses(tmp_path / "run")
    for (step, loss, _), (other_step, other, _) in zip(remembered, asked, strict=True):
        assert step == other_step
        assert other == pytest.approx(loss, rel=1e-3)


def test_accumulation_is_one_big_batch(recipe: Make, tmp_path: Path) -> None:
    """Two batches at a time give the gradient of their union, whatever the selection counts in each."""
    options = {
        "data__audio": str(recipe().data.audio),
        "data__surround": {"share": 0},  # which depends on what is in a batch
        "student__dropout": 0.0,
        "training__spec_augment": {"time_masks": 0, "band_masks": 0},
        "training__delay_ms": 0,
        "training__steps": 1,
    }
    notes = []
    for name, seconds, accumulate in (("big", 100, 1), ("small", 8, 3)):
        note = Notes()
        changed = recipe(**options)
        changed = changed.model_copy(
            update={
                "data": changed.data.model_copy(
                    update={"batch_seconds": seconds, "buckets": 1, "speed": (1.0,)}
                ),
                "training": changed.training.model_copy(update={"accumulate": accumulate}),
            }
        )
        distill(changed, tmp_path / name, note)
        notes.append(note.steps[0])
    for key in ("loss", "kd", "occupancy", "gradient_norm", "selected_share"):
        assert notes[1][key] == pytest.approx(notes[0][key], rel=1e-4)


def test_the_student_learns_to_agree(recipe: Make, tmp_path: Path) -> None:
    notes = Notes()
    distill(recipe(training__steps=40, training__validate_every=20), tmp_path / "run", notes)
    first, last = notes.steps[0]["loss"], notes.steps[-1]["loss"]
    assert last < 0.7 * first


def test_supervised_training_needs_no_teacher(audio_folder: Path, recipe: Make, tmp_path: Path) -> None:
    manifest = tmp_path / "train.jsonl"
    lines = [
        {"audio_filepath": str(path), "duration": 0.4, "text": "A b!"}
        for path in sorted(audio_folder.iterdir())
    ]
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    changed = recipe(
        teacher=None,
        student__frame_shift_ms=40,
        data__audio=str(manifest),
        objective={"kd_weight": 0},
        vocabulary={"alphabet": "ab"},
    )
    notes = Notes()
    outcome = distill(changed, tmp_path / "run", notes)
    assert set(notes.steps[0]) >= {"ctc"}
    assert "kd" not in notes.steps[0]
    assert outcome.best is not None
    assert outcome.best.wer is not None
    assert load_student(tmp_path / "run").vocabulary.tokens == ("<blk>", "|", "a", "b")


def test_mixed_objective_reports_all_terms(audio_folder: Path, recipe: Make, tmp_path: Path) -> None:
    manifest = tmp_path / "train.jsonl"
    lines = [
        {"audio_filepath": str(path), "duration": 0.4, "text": "abc a"}
        for path in sorted(audio_folder.iterdir())
    ]
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    notes = Notes()
    distill(recipe(data__audio=str(manifest), objective={"kd_weight": 0.25}), tmp_path / "run", notes)
    figures = notes.steps[0]
    expected = 0.25 * (figures["kd"] + figures["occupancy"] + figures["pseudo_label"]) + 0.75 * figures["ctc"]
    assert figures["loss"] == pytest.approx(expected, rel=1e-6)


def test_bad_files_are_listed_and_too_many_end_the_run(
    audio_folder: Path, recipe: Make, tmp_path: Path
) -> None:
    folder = tmp_path / "audio"
    folder.mkdir()
    for path in audio_folder.iterdir():
        (folder / path.name).symlink_to(path)
    (folder / "text.wav").write_text("not audio")
    distill(recipe(data__audio=str(folder)), tmp_path / "run", Notes())
    (entry,) = [json.loads(line) for line in (tmp_path / "run" / "skipped.jsonl").read_text().splitlines()]
    assert entry["path"].endswith("text.wav")
    (folder / "more.wav").write_text("not audio")
    with pytest.raises(TooManyBadFiles, match=r"2 of 22 .*text\.wav|2 of 22 .*more\.wav"):
        distill(recipe(data__audio=str(folder)), tmp_path / "other", Notes())


def test_an_existing_run_is_neither_overwritten_nor_mixed(recipe: Make, whole: Path, tmp_path: Path) -> None:
    run_whole(recipe, whole)
    before = (whole / "metrics.jsonl").read_bytes()
    with pytest.raises(RunError, match="exists already"):
        distill(recipe(), whole, Notes())
    with pytest.raises(ConfigError, match=r"training\.peak_lr was given anew"):
        distill(recipe(training__peak_lr=1e-4), whole, Notes(), resume=True)
    with pytest.raises(RunError, match="nothing to resume"):
        distill(None, tmp_path / "none", Notes(), resume=True)
    assert (whole / "metrics.jsonl").read_bytes() == before


def test_a_foreign_vocabulary_or_frame_shift_is_refused_before_anything_is_written(
    recipe: Make, tmp_path: Path
) -> None:
    with pytest.raises(VocabularyError, match="leave `vocabulary` out"):
        distill(recipe(vocabulary={"alphabet": "abxyz"}), tmp_path / "run", Notes())

    class Slow:
        """A teacher with frames that no student's fit into."""

        frame_shift = 0.05

        def __init__(self) -> None:
            self.inner = open_teacher(recipe().teacher)

        def __getattr__(self, name: str) -> Any:
            return getattr(self.inner, name)

    for asked in (20, 40, 80):
        with pytest.raises(ConfigError, match=f"frame_shift_ms is {asked}, the teacher's is 50"):
            distill(recipe(student__frame_shift_ms=asked), tmp_path / "run", Notes(), teacher=Slow())
    with pytest.raises(ConfigError, match="the teacher's frame shift is 50 ms"):
        distill(recipe(), tmp_path / "run", Notes(), teacher=Slow())
    assert not (tmp_path / "run").exists()


def test_divergence_is_an_error_that_names_the_step(recipe: Make, tmp_path: Path) -> None:
    class Broken:
        """A teacher whose answers are not numbers once training has begun."""

        def __init__(self) -> None:
            self.inner = open_teacher(recipe().teacher)
            self.calls = 0

        def __getattr__(self, name: str) -> Any:
            return getattr(self.inner, name)

        def posteriors(self, waveforms: torch.Tensor, lengths: torch.Tensor) -> Any:
            answer = self.inner.posteriors(waveforms, lengths)
            self.calls += 1
            if self.calls > 1:  # the first is the validation's
                answer.log_probs[..., 0] = torch.nan
            return answer

    with pytest.raises(NumericsError, match="at step 1"):
        distill(recipe(training__teacher_memory_mb=0), tmp_path / "run", Notes(), teacher=Broken())


def test_a_student_can_start_from_another(recipe: Make, whole: Path, tmp_path: Path) -> None:
    run_whole(recipe, whole)
    notes = Notes()
    distill(recipe(training__start_from=str(whole), training__steps=2), tmp_path / "run", notes)
    fresh = Notes()
    distill(recipe(training__steps=2), tmp_path / "fresh", fresh)
    assert notes.steps[0]["loss"] < 0.7 * fresh.steps[0]["loss"]
    with pytest.raises(ConfigError, match="another shape"):
        distill(recipe(training__start_from=str(whole), student__layers=2), tmp_path / "other", Notes())


def test_means_of_the_training_audio_are_measured_once_and_kept(
    recipe: Make, whole: Path, tmp_path: Path
) -> None:
    run_whole(recipe, whole)
    fixed = {"training__start_from": str(whole), "student__normalize": "fixed"}
    distill(recipe(**fixed, training__steps=1), tmp_path / "run", Notes())
    kept = weights(tmp_path / "run")
    assert -20 < kept["scaling.mean"].mean() < 0 < kept["scaling.scale"].min()
    again = {**fixed, "training__start_from": str(tmp_path / "run")}
    distill(recipe(**again, training__steps=1), tmp_path / "again", Notes())
    assert torch.equal(weights(tmp_path / "again")["scaling.mean"], kept["scaling.mean"])


def test_a_streaming_student_learns_with_every_objective_of_its_own(recipe: Make, tmp_path: Path) -> None:
    """Delay, window and the pass with full context at once; the full pass alone is not pulled anywhere."""
    ways = {
        "student__streaming": {"chunk_ms": [160, 320], "left_ms": 320},
        "objective__delay_ms": 40,
        "objective__window_ms": 80,
        "objective__terms": {"full_context": {"weight": 0.5}},
        "training__steps": 3,
    }
    distill(recipe(**ways), tmp_path / "run", Notes())
    distill(recipe(**ways), tmp_path / "again", Notes())
    assert same_weights(tmp_path / "run", tmp_path / "again")
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert all(json.loads(line)["full_context"] > 0 for line in lines if "full_context" in line)
    assert any("full_context" in line for line in lines)
    with pytest.raises(ConfigError, match=r"set student\.streaming"):
        distill(recipe(objective__terms={"full_context": {"weight": 1}}), tmp_path / "offline", Notes())


def test_resuming_needs_no_start(recipe: Make, whole: Path, tmp_path: Path) -> None:
    """The checkpoint has the weights by then; the run that they began with may be gone."""
    run_whole(recipe, whole)
    shutil.copytree(whole, tmp_path / "start")
    asked = recipe(training__start_from=str(tmp_path / "start"), training__steps=2)
    distill(asked, tmp_path / "run", Notes())
    shutil.rmtree(tmp_path / "start")
    assert distill(None, tmp_path / "run", Notes(), resume=True).finished


@pytest.mark.parametrize(("exits", "taken"), [((), (0, 3, 6)), ((3,), (0, 1, 2)), ((2, 4), (0, 3, 6))])
def test_a_shallow_student_begins_with_layers_of_a_deep_one(
    exits: tuple[int, ...], taken: tuple[int, ...], tmp_path: Path
) -> None:
    shape = {"width": 16, "heads": 2, "kernel": 3, "stem_channels": 4, "frame_shift_ms": 40}
    deep = ConformerStudent(ConformerConfig(**shape, layers=7, exits=exits), 5)
    shallow = ConformerStudent(ConformerConfig(**shape, layers=3), 5)
    vocabulary = Vocabulary(("<blk>", "|", "a", "b", "c"), 0, "|")
    save_student(tmp_path, deep, vocabulary, {})
    start_from(tmp_path, shallow, vocabulary)
    for mine, theirs in enumerate(taken):
        blocks = shallow.encoder.blocks[mine], deep.encoder.blocks[theirs]
        pairs = zip(*(block.parameters() for block in blocks), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)
    assert torch.equal(shallow.head.weight, deep.head.weight)


def test_exits_learn_with_the_share_they_were_given(recipe: Make, tmp_path: Path) -> None:
    """The loss is the end's and the exits' in the stated proportion, and training lowers both."""
    deep = {"student__layers": 2, "student__exits": (1,), "student__dropout": 0.0, "training__delay_ms": 0}
    masks = {"training__spec_augment": {"time_masks": 0, "band_masks": 0}, "training__steps": 1}
    losses = []
    for share in (0.0, 0.5, 0.25):
        notes = Notes()
        made = recipe(objective={"exit_weight": share}, **deep, **masks)
        distill(made, tmp_path / f"run-{share}", notes)
        losses.append(notes.steps[0]["loss"])
    end, half, quarter = losses
    assert half != pytest.approx(end, rel=1e-3)
    assert quarter == pytest.approx((end + half) / 2, rel=1e-5)


def test_noise_is_heard_beside_the_audio(audio_folder: Path, recipe: Make, tmp_path: Path) -> None:
    notes = Notes()
    distill(recipe(data__noise_share=0.5), tmp_path / "run", notes)
    clips = sorted((tmp_path / "run" / "data" / "noise").glob("*.flac"))
    assert len(clips) == 9  # two of twenty files are held out
    assert str(clips[0].resolve()) in (tmp_path / "run" / "data" / "train.jsonl").read_text()
    assert str(clips[0].resolve()) not in (tmp_path / "run" / "data" / "held_out.jsonl").read_text()


def test_noise_has_an_empty_transcript(audio_folder: Path, recipe: Make, tmp_path: Path) -> None:
    manifest = tmp_path / "train.jsonl"
    lines = [
        {"audio_filepath": str(path), "duration": 0.4, "text": "ab"}
        for path in sorted(audio_folder.iterdir())
    ]
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    made = recipe(data__audio=str(manifest), data__noise_share=1.0, objective={"kd_weight": 0})
    vocabulary = resolve_vocabulary(made, None)
    material = load_training_data(made, vocabulary, Run.create(tmp_path / "run", made), with_texts=True)
    assert material.labels is not None
    assert set(material.labels) == {u.id for u in material.training}
    assert material.labels["noise-0000"] == []
    assert sum(not labels for labels in material.labels.values()) == len(material.training) / 2


def test_the_best_checkpoint_is_the_last_that_chance_may_explain() -> None:
    """Among scores within one standard error of the lowest the later wins; a clear rise does not."""

    def figures(wer: float, units: int = 400) -> ValidationFigures:
        return ValidationFigures(None, None, 0.5, None, wer, units)

    assert figures(50.0).as_good_as(None)
    assert figures(21.9).as_good_as(20.0)  # sqrt(0.2 · 0.8 / 400) is 2 %
    assert not figures(22.1).as_good_as(20.0)
    assert not figures(21.9, units=40_000).as_good_as(20.0)
    assert figures(0.0).as_good_as(0.0)
    assert not figures(0.1).as_good_as(0.0)
    assert figures(150.0).as_good_as(160.0)
    assert not figures(170.0).as_good_as(160.0)
    both = ValidationFigures(0.1, 30.0, 0.5, 0.5, 10.0, 100)
    assert both.score == 30.0  # with a teacher it is the agreement, whatever the references say
    phones = replace(both, ter_against_teacher=12.0)
    assert (phones.score, replace(phones, unit="tokens").score) == (30.0, 12.0)
