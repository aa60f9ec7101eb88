"""Pieces of words from a teacher that knows letters: from its transcripts to text out of a bundle."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from kdcompress.audio.decode import read_audio
from kdcompress.config.recipe import Recipe, make_recipe
from kdcompress.config.vocabulary import Characters, SentencePiece
from kdcompress.distill.loop import distill
from kdcompress.errors import ConfigError, RunError, VocabularyError
from kdcompress.graph.write import export_run
from kdcompress.runtime.recognizer import Recognizer
from kdcompress.students.weights import load_student, save_student
from kdcompress.text.decode import greedy
from kdcompress.text.tokenizer import SentencePieceTokenizer

Make = Callable[..., Recipe]
PSEUDO_ONLY = {"frame_weight": 0, "occupancy_weight": 0, "pseudo_label": {"weight": 1}}


class Notes:
    def __init__(self) -> None:
        self.steps: list[dict[str, Any]] = []
        self.stages: list[str] = []

    def observer(self) -> Any:
        def nothing(*rest: Any) -> None: ...

        return SimpleNamespace(
            stage=lambda name, done, total: self.stages.append(name),
            step=lambda step, total, figures: self.steps.append(figures),
            validated=nothing,
            say=nothing,
        )


def pieces(make: Make, **changes: Any) -> Recipe:
    options = {
        "vocabulary": {"kind": "sentencepiece", "size": 10},
        "objective": PSEUDO_ONLY,
        "student__frame_shift_ms": 80,
        "training__steps": 2,
        "training__validate_every": 1,
    }
    return make(**(options | changes))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs") / "pieces"


def trained(make: Make, run: Path) -> Path:
    """Train once for all tests that read it."""
    if not run.exists():
        notes = Notes()
        distill(pieces(make), run, notes.observer())
        assert "Learning units from the teacher" in notes.stages
        assert notes.steps[0]["pseudo_label"] > 0
        assert notes.steps[0]["pseudo_label_share"] > 0.5
        assert "kd" not in notes.steps[0]
    return run


def test_a_student_has_pieces_at_a_frame_shift_of_its_own(recipe: Make, run: Path) -> None:
    trained(recipe, run)
    tokenizer = SentencePieceTokenizer((run / "tokenizer.model").read_bytes())
    loaded = load_student(run)
    assert loaded.vocabulary == tokenizer.vocabulary
    assert (len(loaded.vocabulary), loaded.model.frame_shift) == (10, 0.08)
    assert {"a", "b", "c"} <= set("".join(loaded.vocabulary.tokens[1:]))
    assert {"wer_against_teacher"} <= set(loaded.record["figures"])
    assert "kl" not in loaded.record["figures"]


@pytest.mark.slow
def test_its_bundle_prints_words(recipe: Make, run: Path, audio_folder: Path, tmp_path: Path) -> None:
    loaded = load_student(trained(recipe, run))
    tones = [read_audio(path) for path in sorted(audio_folder.iterdir())]

    def listen(samples: np.ndarray) -> torch.Tensor:
        with torch.no_grad():
            return loaded.model(torch.from_numpy(samples)[None], torch.tensor([len(samples)]))[0][0]

    # Two steps teach nobody to speak: let it say each token where that is more likely than usual.
    with torch.no_grad():
        loaded.model.head.weight.normal_(std=5, generator=torch.Generator().manual_seed(0))
        loaded.model.head.bias -= listen(np.concatenate(tones)).mean(dim=0)
    save_student(tmp_path / "loud", loaded.model, loaded.vocabulary, {})
    export_run(tmp_path / "loud", tmp_path / "bundle", quantize=())
    recognizer = Recognizer(tmp_path / "bundle", "fp32", threads=1)
    texts = []
    for first in range(3):
        samples = np.concatenate(tones[first::3])
        transcript = recognizer.transcribe(samples)
        expected = greedy(listen(samples).numpy(), loaded.vocabulary).text(loaded.vocabulary)
        assert transcript.text == expected
        assert " ".join(word.text for word in transcript.words) == transcript.text
        texts.append(transcript.text)
    assert all(len(text.split()) > 1 for text in texts)
    assert not any("▁" in text for text in texts)
    lines = (tmp_path / "bundle" / "tokens.txt").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "<blk> 0"
    assert any(line.startswith("▁") for line in lines)


def test_a_resumed_run_keeps_its_pieces(recipe: Make, run: Path, tmp_path: Path) -> None:
    trained(recipe, run)
    made = pieces(recipe, training__steps=2)
    other = tmp_path / "other"
    distill(made, other, Notes().observer())
    (other / "last").write_text((other / "checkpoints" / "step-000001").name + "\n")
    (other / "best").unlink()
    notes = Notes()
    distill(None, other, notes.observer(), resume=True)
    assert "Learning units from the teacher" not in notes.stages
    ends = [
        load_student(folder / "checkpoints" / "step-000002").model.state_dict() for folder in (run, other)
    ]
    assert all(torch.equal(ends[0][key], ends[1][key]) for key in ends[0])
    model = (other / "tokenizer.model").read_bytes()
    (other / "tokenizer.model").write_bytes(model + b"\xa2\x06\0")  # a field that sentencepiece skips
    with pytest.raises(RunError, match=r"the units \(tokenizer\.model\) are others"):
        distill(None, other, Notes().observer(), resume=True)
    (other / "tokenizer.model").write_bytes(b"\xff")
    with pytest.raises(VocabularyError, match="damaged"):
        distill(None, other, Notes().observer(), resume=True)


def test_what_a_run_left_before_its_first_step_is_not_taken_over(recipe: Make, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "tokenizer.model").write_bytes(b"of another recipe")
    distill(pieces(recipe), folder, Notes().observer())
    assert len(load_student(folder).vocabulary) == 10
    with pytest.raises(RunError, match="exists already"):
        distill(pieces(recipe), folder, Notes().observer())


def test_references_give_the_pieces_of_supervised_training(
    recipe: Make, audio_folder: Path, tmp_path: Path
) -> None:
    manifest = tmp_path / "train.jsonl"
    texts = ["The dog!", "the cat", "A dog", "the dog"]
    lines = [
        {"audio_filepath": str(path), "duration": 0.4, "text": texts[index % 4]}
        for index, path in enumerate(sorted(audio_folder.iterdir()))
    ]
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    made = pieces(
        recipe,
        teacher=None,
        data__audio=str(manifest),
        objective={"kd_weight": 0},
        vocabulary={"kind": "sentencepiece", "size": 16},
    )
    notes = Notes()
    distill(made, tmp_path / "run", notes.observer())
    vocabulary = load_student(tmp_path / "run").vocabulary
    assert len(vocabulary) == 16
    assert "▁the" in vocabulary.tokens
    assert notes.steps[0]["ctc"] > 0


@pytest.mark.parametrize("left_on", [{"frame_weight": 1}, {"occupancy_weight": 1}])
def test_frames_of_other_units_cannot_be_matched(left_on: dict[str, Any]) -> None:
    layers = {"vocabulary": {"kind": "sentencepiece", "size": 100}, "objective": PSEUDO_ONLY | left_on}
    with pytest.raises(ConfigError, match=r"set objective\.frame_weight=0"):
        make_recipe(layers, [], "test")


def test_given_characters_must_write_what_the_teacher_says(recipe: Make, tmp_path: Path) -> None:
    made = pieces(recipe, vocabulary={"alphabet": "abx"})
    with pytest.raises(VocabularyError, match=r"the teacher has \['c'\]"):
        distill(made, tmp_path / "run", Notes().observer())
    assert not (tmp_path / "run").exists()
    distill(pieces(recipe, vocabulary={"alphabet": "zcbax"}), tmp_path / "run", Notes().observer())
    assert load_student(tmp_path / "run").vocabulary.tokens == ("<blk>", "|", *"zcbax")


def test_kind_may_be_left_out_for_characters() -> None:
    assert make_recipe({"vocabulary": {"alphabet": "ab"}}, [], "test").vocabulary == Characters(alphabet="ab")
    asked = {"kind": "sentencepiece", "size": 50}
    made = make_recipe({"vocabulary": asked, "objective": PSEUDO_ONLY}, [], "test")
    assert made.vocabulary == SentencePiece(kind="sentencepiece", size=50)
    with pytest.raises(ConfigError, match="vocabulary"):
        make_recipe({"vocabulary": {"kind": "words"}}, [], "test")
