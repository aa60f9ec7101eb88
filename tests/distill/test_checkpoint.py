"""Checkpoints: no damage is taken for another value, and no kill leaves a worse one as the best."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from kdcompress.config.student import ConformerConfig
from kdcompress.distill.checkpoint import (
    LoopState,
    Saving,
    checkpoint_files,
    load_checkpoint,
    write_checkpoint,
)
from kdcompress.distill.run import Run
from kdcompress.errors import RunError
from kdcompress.students.conformer import ConformerStudent
from kdcompress.students.weights import load_student
from kdcompress.text.vocabulary import Vocabulary

VOCABULARY = Vocabulary(("<blk>", "|", "a", "b"), blank=0, word_boundary="|")
TINY = ConformerConfig(width=16, layers=1, heads=2, kernel=3, stem_channels=4, frame_shift_ms=40)


def trained() -> tuple[ConformerStudent, torch.optim.Optimizer]:
    torch.manual_seed(0)
    student = ConformerStudent(TINY, 4)
    optimizer = torch.optim.AdamW(student.parameters())
    waveforms, lengths = torch.randn(1, 8000), torch.tensor([8000])
    student(waveforms, lengths)[0].sum().backward()
    optimizer.step()
    return student, optimizer


@pytest.fixture
def run(tmp_path: Path) -> Path:
    student, optimizer = trained()
    files = checkpoint_files(student, VOCABULARY, optimizer, LoopState(3, 1, 2, 0.5), {})
    write_checkpoint(tmp_path, 3, files, best=True, keep=1)
    return tmp_path


def test_it_comes_back(run: Path) -> None:
    assert load_checkpoint(run, *trained()) == LoopState(3, 1, 2, 0.5)


@pytest.mark.parametrize("name", ["state.json", "optimizer.safetensors", "model.safetensors", "digests.json"])
def test_no_flipped_byte_is_resumed_from(run: Path, name: str) -> None:
    path = run / "checkpoints" / "step-000003" / name
    whole = path.read_bytes()
    for position in range(0, len(whole), max(1, len(whole) // 25)):
        damaged = bytearray(whole)
        damaged[position] ^= 1
        path.write_bytes(damaged)
        try:
            state = load_checkpoint(run, *trained())
        except RunError:
            continue
        assert name == "digests.json"  # a space of the digests' own layout
        assert state == LoopState(3, 1, 2, 0.5)


def test_digests_that_are_gone_are_missed_but_where_there_were_none(run: Path) -> None:
    (run / "checkpoints" / "step-000003" / "digests.json").unlink()
    with pytest.raises(RunError, match=r"digests\.json is missing"):
        load_checkpoint(run, *trained())
    with pytest.raises(RunError, match=r"digests\.json is missing: student\.json names it"):
        load_student(run)
    record = run / "checkpoints" / "step-000003" / "student.json"
    about = json.loads(record.read_text())
    del about["digests"]  # as checkpoints of earlier versions have it
    record.write_text(json.dumps(about))
    assert load_checkpoint(run, *trained()).step == 3
    assert load_student(run).record["step"] == 3


def test_the_best_is_named_before_the_last(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between the two names, the run does the step again, and nothing worse is kept as the best."""
    (run / "last").unlink()
    (run / "last").mkdir()  # so that it cannot be written
    student, optimizer = trained()
    files = checkpoint_files(student, VOCABULARY, optimizer, LoopState(6), {})
    with pytest.raises(OSError, match="last"):
        write_checkpoint(run, 6, files, best=True, keep=1)
    assert (run / "best").read_text() == "step-000006\n"


def test_saving_beside_the_training_keeps_what_there_was(run: Path) -> None:
    student, optimizer = trained()
    before = {name: tensor.clone() for name, tensor in student.state_dict().items()}
    with Saving(run, 1, minutes=1e-6) as saving:
        files = checkpoint_files(student, VOCABULARY, optimizer, LoopState(6), {})
        saving.write(6, files, best=False, wait=False)
        for parameter in student.parameters():
            parameter.data.zero_()
        assert saving.due
    assert load_checkpoint(run, student, optimizer).step == 6
    assert all(torch.equal(tensor, before[name]) for name, tensor in student.state_dict().items())
    assert (run / "best").read_text() == "step-000003\n"
    assert not Saving(run, 1, minutes=1000).due
    assert not Saving(run, 1, minutes=None).due


def test_what_could_not_be_saved_beside_the_training_ends_it(run: Path) -> None:
    (run / "last").unlink()
    (run / "last").mkdir()
    with pytest.raises(OSError, match="last"), Saving(run, 1, None) as saving:
        saving.write(3, {}, best=False, wait=False)


def test_an_altered_recipe_is_not_resumed(tmp_path: Path, recipe_of_a_run: Path) -> None:
    text = recipe_of_a_run.read_text()
    Run.resume(recipe_of_a_run.parent, None)
    recipe_of_a_run.write_text(text[: len(text) // 2])
    with pytest.raises(RunError, match="altered or cut short"):
        Run.resume(recipe_of_a_run.parent, None)
    environment = recipe_of_a_run.with_name("environment.json")
    about = json.loads(environment.read_text())
    del about["recipe_sha256"]  # as runs of earlier versions have it
    environment.write_text(json.dumps(about))
    recipe_of_a_run.write_text(text)
    Run.resume(recipe_of_a_run.parent, None)
    environment.unlink()
    Run.resume(recipe_of_a_run.parent, None)
    checkpoint = recipe_of_a_run.parent / "checkpoints" / "step-000001"
    checkpoint.mkdir(parents=True)
    recipe_of_a_run.with_name("last").write_text("step-000001\n")
    (checkpoint / "student.json").write_text("{}")  # of an earlier version
    Run.resume(recipe_of_a_run.parent, None)
    (checkpoint / "student.json").write_text('{"digests": "digests.json"}')
    with pytest.raises(RunError, match=r"environment\.json is missing"):
        Run.resume(recipe_of_a_run.parent, None)


@pytest.fixture
def recipe_of_a_run(tmp_path: Path) -> Path:
    from kdcompress.config.recipe import load_recipe
    from kdcompress.resources import recipe_path

    Run.create(tmp_path / "begun", load_recipe(recipe_path("demo")))
    return tmp_path / "begun" / "recipe.yaml"


def test_lines_that_were_cut_are_left_out(recipe_of_a_run: Path) -> None:
    folder = recipe_of_a_run.parent
    cut = b'{"path": "a.wav", "reason": "empty"}\n\xff\xfe{"pa\n[1]\n{"path": "b.wa'
    (folder / "skipped.jsonl").write_bytes(cut)
    run, _ = Run.resume(folder, None)
    assert run.bad == {Path("a.wav"): "empty"}
    (folder / "metrics.jsonl").write_bytes(
        b'{"step": 1, "loss": 2.5}\n\x00\x00\n{"step": 9}\n{"step": 2, "lo}\n'
    )
    run.forget_after(4)
    assert run.metrics.read_text() == '{"step": 1, "loss": 2.5}\n'


def test_what_a_killed_writer_left_does_not_block_a_new_run(recipe_of_a_run: Path) -> None:
    folder = recipe_of_a_run.parent
    (folder / ".kdcompress-0123456789abcdef.partial").write_text("half a recipe")
    shutil.copy(recipe_of_a_run, folder.parent / "mine.yaml")
    from kdcompress.config.recipe import load_recipe

    Run.create(folder, load_recipe(folder.parent / "mine.yaml"))
    assert not list(folder.glob(".*"))
