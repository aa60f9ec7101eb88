from pathlib import Path

import pytest

from kdcompress.errors import BundleError, TeacherError
from kdcompress.runtime.bundle import open_bundle
from kdcompress.runtime.identify import Kind, graphs_in, identify

FOLDERS = {
    Kind.CHECKPOINT: ["student.json", "model.safetensors"],
    Kind.RUN: ["recipe.yaml", "environment.json", "last", "best", "checkpoints/step-000010/student.json"],
    Kind.UNFINISHED_RUN: ["recipe.yaml", "environment.json", "metrics.jsonl"],
    Kind.CACHE: ["cache.json", "shard-00000.safetensors"],
    Kind.BUNDLE: ["bundle.json", "model.onnx", "config.json"],  # config.json is onnx-asr's
    Kind.ONNX_FOLDER: ["model.onnx", "tokens.txt", "config.json"],
    Kind.HUGGING_FACE: ["config.json", "model.safetensors", "model.onnx"],
    Kind.AUDIO_FOLDER: ["speaker/a.FLAC", "notes.txt"],
    Kind.OTHER_FOLDER: ["thesis.tex"],
}
FILES = {
    "model.onnx": Kind.ONNX_FILE,
    "mine.yaml": Kind.RECIPE,
    "test.jsonl": Kind.MANIFEST,
    "hello.WAV": Kind.AUDIO_FILE,
    "thesis.tex": Kind.OTHER_FILE,
}


@pytest.mark.parametrize("kind", FOLDERS)
def test_folders_are_known_by_the_names_in_them(tmp_path: Path, kind: Kind) -> None:
    for name in FOLDERS[kind]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert identify(tmp_path) is kind
    if kind is not Kind.BUNDLE:
        with pytest.raises(BundleError, match=f"is not a bundle: it has no bundle.json and is {kind.value}"):
            open_bundle(tmp_path)


@pytest.mark.parametrize("name", FILES)
def test_files_are_known_by_their_names(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    assert identify(tmp_path / name) is FILES[name]
    assert identify(tmp_path / "nothing" / name) is Kind.NOTHING


def test_a_manifest_may_have_any_name(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text('\ufeff{"audio_filepath": "a.wav"}\n', encoding="utf-8")
    assert identify(tmp_path / "list.txt") is Kind.MANIFEST
    (tmp_path / "list.txt").write_text("[" * 100_000)
    assert identify(tmp_path / "list.txt") is Kind.OTHER_FILE


def test_graphs_of_optimum_lie_one_folder_down(tmp_path: Path) -> None:
    (tmp_path / "onnx").mkdir()
    (tmp_path / "config.json").touch()
    (tmp_path / "onnx" / "model.onnx").touch()
    assert identify(tmp_path) is Kind.ONNX_FOLDER
    assert [path.name for path in graphs_in(tmp_path)] == ["model.onnx"]


def test_what_is_no_teacher_is_named(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from kdcompress.teachers.open import resolve_teacher

    (tmp_path / "a.wav").touch()
    with pytest.raises(TeacherError, match="is no teacher but a folder of audio files"):
        resolve_teacher(str(tmp_path))
