"""Students on disk: what is written comes back, what is damaged is refused."""

import json
import shutil
import threading
from pathlib import Path

import pytest
import torch

from kdcompress.config.student import ConformerConfig
from kdcompress.digests import write_digests
from kdcompress.errors import KdcompressError, RunError
from kdcompress.files import write_file
from kdcompress.students.conformer import ConformerStudent
from kdcompress.students.weights import RECORD, WEIGHTS, find_checkpoint, load_student, save_student
from kdcompress.text.vocabulary import Vocabulary

VOCABULARY = Vocabulary(("<blk>", "|", "a", "b"), blank=0, word_boundary="|")


def student(seed: int = 0) -> ConformerStudent:
    torch.manual_seed(seed)
    config = ConformerConfig(width=16, layers=1, heads=2, kernel=3, stem_channels=4, frame_shift_ms=40)
    return ConformerStudent(config, 4).eval()


@torch.no_grad()
def test_weights_vocabulary_and_record_come_back(tmp_path: Path) -> None:
    original = student()
    save_student(tmp_path / "c", original, VOCABULARY, {"step": 7})
    loaded = load_student(tmp_path / "c")
    assert (loaded.vocabulary, loaded.record["step"], loaded.model.training) == (VOCABULARY, 7, False)
    waveforms, lengths = torch.randn(1, 8000), torch.tensor([8000])
    assert torch.equal(original(waveforms, lengths)[0], loaded.model(waveforms, lengths)[0])


@torch.no_grad()
def test_half_precision_on_disk_is_single_in_memory(tmp_path: Path) -> None:
    save_student(tmp_path / "c", student(), VOCABULARY, {}, dtype=torch.float16)
    loaded = load_student(tmp_path / "c")
    assert {p.dtype for p in loaded.model.parameters()} == {torch.float32}
    waveforms, lengths = torch.randn(1, 8000), torch.tensor([8000])
    torch.testing.assert_close(
        student()(waveforms, lengths)[0], loaded.model(waveforms, lengths)[0], atol=1e-2, rtol=0
    )


def test_the_fingerprint_follows_weights_and_vocabulary(tmp_path: Path) -> None:
    renamed = Vocabulary(("<blk>", "|", "a", "c"), blank=0, word_boundary="|")
    prints = set()
    for index, (seed, vocabulary) in enumerate(
        [(0, VOCABULARY), (1, VOCABULARY), (0, renamed), (0, VOCABULARY)]
    ):
        save_student(tmp_path / str(index), student(seed), vocabulary, {})
        prints.add(load_student(tmp_path / str(index)).fingerprint)
    assert len(prints) == 3


def test_a_run_means_its_best_checkpoint(tmp_path: Path) -> None:
    for step in (1, 2):
        save_student(tmp_path / "checkpoints" / f"step-{step}", student(step), VOCABULARY, {"step": step})
    (tmp_path / "last").write_text("step-2\n")
    assert find_checkpoint(tmp_path).name == "step-2"
    (tmp_path / "best").write_text("step-1\n")
    assert load_student(tmp_path).record["step"] == 1
    assert find_checkpoint(tmp_path, "last").name == "step-2"


def _truncate(folder: Path) -> None:
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[: len(content) // 2])


def _other_schema(folder: Path) -> None:
    record = json.loads((folder / RECORD).read_text())
    (folder / RECORD).write_text(json.dumps({**record, "schema": 99}))


def _other_shape(folder: Path) -> None:
    record = json.loads((folder / RECORD).read_text())
    record["config"]["layers"] = 2
    (folder / RECORD).write_text(json.dumps(record))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_truncate, "damaged"),
        (_other_schema, "schema 99"),
        (_other_shape, "another shape"),
        (lambda folder: (folder / RECORD).write_text("{"), "damaged"),
        (lambda folder: (folder / WEIGHTS).unlink(), "damaged"),
        (lambda folder: (folder / RECORD).unlink(), "no run or checkpoint"),
    ],
)
def test_damage_is_refused_in_one_line(damage, message: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    folder = tmp_path / "c"
    save_student(folder, student(), VOCABULARY, {})
    damage(folder)
    with pytest.raises(RunError, match=message) as caught:
        load_student(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("digests", [True, False])
@pytest.mark.parametrize("name", [RECORD, WEIGHTS])
def test_no_flipped_byte_is_taken_for_another_value(tmp_path: Path, name: str, digests: bool) -> None:
    save_student(tmp_path, student(), VOCABULARY, {"step": 7})
    if digests:
        write_digests(tmp_path)
    whole = (tmp_path / name).read_bytes()
    expected = load_student(tmp_path)
    for position in range(0, len(whole), max(1, len(whole) // 60)):
        damaged = bytearray(whole)
        damaged[position] ^= 1
        (tmp_path / name).write_bytes(damaged)
        try:
            found = load_student(tmp_path)
        except KdcompressError:
            continue
        assert not digests  # before there were digests: what is not in the fingerprint
        assert found.fingerprint == expected.fingerprint


def test_a_student_is_opened_while_its_run_goes_on(tmp_path: Path) -> None:
    """The named checkpoint is removed after the name was read; the run names another one meanwhile."""
    for step in (1, 2):
        save_student(tmp_path / "checkpoints" / f"step-{step}", student(step), VOCABULARY, {"step": step})
    (tmp_path / "last").write_text("step-1\n")
    shutil.rmtree(tmp_path / "checkpoints" / "step-1")
    moved = threading.Timer(0.05, lambda: write_file(tmp_path / "last", "step-2\n"))
    moved.start()
    assert load_student(tmp_path).record["step"] == 2
    moved.join()
