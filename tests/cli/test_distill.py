"""`kdcompress distill` as a user meets it: what works, and one clear line for what cannot."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml

from kdcompress.cli.start import main
from kdcompress.config.student import ConformerConfig
from kdcompress.locks import NAME, locked
from kdcompress.students.conformer import ConformerStudent
from kdcompress.students.weights import load_student, save_student
from kdcompress.text.vocabulary import Vocabulary

TINY = ("width=16", "layers=1", "heads=2", "feed_forward=2", "kernel=3", "stem_channels=4")
QUICK = [part for item in TINY for part in ("--set", f"student.{item}")]
QUICK += ["--set", "training.steps=3", "--set", "training.validate_every=2", "--set", "data.batch_seconds=3"]

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def kdcompress(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """Return a caller of the command line: exit code, standard output, standard error."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["kdcompress", *map(str, arguments)])
        try:
            main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        out, err = capfd.readouterr()
        return code, out, err

    return call


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("teacher") / "checkpoint"
    torch.manual_seed(0)
    config = ConformerConfig(
        width=16, layers=1, heads=2, feed_forward=2, kernel=3, stem_channels=4, frame_shift_ms=40
    )
    save_student(folder, ConformerStudent(config, 4), Vocabulary(("<blk>", "|", "a", "b"), 0, "|"), {})
    return folder


@pytest.fixture
def audio(tmp_path: Path) -> Path:
    folder = tmp_path / "audio"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for index in range(6):
        soundfile.write(folder / f"{index}.wav", 0.1 * rng.standard_normal(12_000), 16_000)
    return folder


def refused(result: tuple[int, str, str], *words: str) -> None:
    """Hold a refusal against its rules: exit code 1, one line on standard error that names the matter."""
    code, out, err = result
    assert code == 1
    assert out == ""
    (line,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in err
    for word in words:
        assert word in line


def test_flags_alone_train_a_student(kdcompress: Command, teacher: Path, audio: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    code, out, err = kdcompress("distill", "--teacher", teacher, "--audio", audio, "--out", run, *QUICK)
    assert code == 0, err
    assert "3 steps" in out
    assert "kdcompress export" in err
    assert load_student(run).record["step"] in {2, 3}
    written = yaml.safe_load((run / "recipe.yaml").read_text())
    assert written["objective"]["selection"]["kind"] == "symmetric"


def test_a_recipe_file_with_overrides_and_its_own_output_repeats_it(
    kdcompress: Command, teacher: Path, audio: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine.yaml").write_text("description: mine\ndata: {audio: audio}\n")
    arguments = ["--teacher", teacher, *QUICK, "--set", "objective.selection={kind: eliminate}"]
    assert kdcompress("distill", tmp_path / "mine.yaml", "--out", tmp_path / "a", *arguments)[0] == 0
    assert kdcompress("distill", tmp_path / "a" / "recipe.yaml", "--out", tmp_path / "b")[0] == 0
    one, other = (
        [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in "ab"
    )
    assert [line.get("loss") for line in one] == [line.get("loss") for line in other]


def test_an_existing_run_is_left_alone(
    kdcompress: Command, teacher: Path, audio: Path, tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "precious").write_text("x")
    result = kdcompress("distill", "--teacher", teacher, "--audio", audio, "--out", tmp_path / "run")
    refused(result, "exists already", "--resume")
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["precious"]


def empty_folder(audio: Path) -> Path:
    (audio / "nothing").mkdir()
    return audio / "nothing"


def text_named_wav(audio: Path) -> Path:
    (audio / "text.wav").write_text("This is not audio.")
    return audio


def truncated_flac(audio: Path) -> Path:
    samples = 0.1 * np.random.default_rng(1).standard_normal(32_000)
    soundfile.write(audio / "cut.flac", samples, 16_000)
    content = (audio / "cut.flac").read_bytes()
    (audio / "cut.flac").write_bytes(content[: len(content) // 2])
    return audio


def zero_length_wav(audio: Path) -> Path:
    soundfile.write(audio / "empty.wav", np.zeros(0), 16_000)
    return audio


def manifest_of_prose(audio: Path) -> Path:
    (audio / "m.jsonl").write_text('{"audio_filepath": "0.wav", "duration": 0.75}\nnot json\n')
    return audio / "m.jsonl"


def missing_folder(audio: Path) -> Path:
    return audio / "absent"


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (empty_folder, ("nothing", "wav")),
        (text_named_wav, ("1 of 7", "text.wav", "max_bad_share")),
        (truncated_flac, ("cut.flac", "max_bad_share")),
        (zero_length_wav, ("1 of 7", "empty.wav", "max_bad_share")),
        (manifest_of_prose, ("m.jsonl:2", "JSON")),
        (missing_folder, ("absent",)),
    ],
)
def test_bad_audio_is_one_line(
    spoil: Callable[[Path], Path],
    words: tuple[str, ...],
    kdcompress: Command,
    teacher: Path,
    audio: Path,
    tmp_path: Path,
) -> None:
    spoiled = spoil(audio)
    before = sorted(p.name for p in audio.rglob("*"))
    result = kdcompress(
        "distill", "--teacher", teacher, "--audio", spoiled, "--out", tmp_path / "run", *QUICK
    )
    refused(result, *words)
    assert sorted(p.name for p in audio.rglob("*")) == before


def test_a_few_bad_files_are_skipped_where_that_is_allowed(
    kdcompress: Command, teacher: Path, audio: Path, tmp_path: Path
) -> None:
    truncated_flac(audio)
    run = tmp_path / "run"
    arguments = ["--teacher", teacher, "--audio", audio, "--out", run, "--set", "data.max_bad_share=0.5"]
    assert kdcompress("distill", *arguments, *QUICK)[0] == 0
    assert [
        Path(json.loads(line)["path"]).name for line in (run / "skipped.jsonl").read_text().splitlines()
    ] == ["cut.flac"]


def test_other_mistakes_are_one_line(kdcompress: Command, teacher: Path, audio: Path, tmp_path: Path) -> None:
    known = ["--audio", audio, "--out", tmp_path / "run"]
    refused(kdcompress("distill", "--teacher", tmp_path / "nobody", *known), "nobody", "Hugging Face")
    refused(
        kdcompress("distill", "--teacher", teacher, *known, "--set", "vocabulary.alphabet=xyz"),
        "'x'",
        "teacher",
    )
    refused(
        kdcompress("distill", "--teacher", teacher, *known, "--set", "training.stepz=1"), "training.stepz"
    )
    refused(kdcompress("distill", "--teacher", teacher, *known, "--set", "steps"), "KEY=VALUE")
    refused(kdcompress("distill", "--teacher", teacher, *known, "--preset", "9T"), "9T", "0.6M")
    refused(kdcompress("distill", "no-such-recipe", *known), "no-such-recipe", "an4")
    refused(kdcompress("distill", "--audio", audio), "--teacher")
    refused(kdcompress("distill", "an4-teacher", "--out", tmp_path / "run"), "--audio")
    refused(kdcompress("distill", "--out", tmp_path / "run", "--resume"), "nothing to resume")
    (tmp_path / "file").write_text("")
    out = ["--audio", audio, "--out", tmp_path / "file" / "run"]
    refused(kdcompress("distill", "--teacher", teacher, *out), "cannot write", "choose another --out")
    assert not (tmp_path / "run").exists()


def test_a_run_that_never_began_can_be_tried_again(
    kdcompress: Command, teacher: Path, audio: Path, tmp_path: Path
) -> None:
    text_named_wav(audio)
    arguments = ["--teacher", teacher, "--audio", audio, "--out", tmp_path / "run", *QUICK]
    refused(kdcompress("distill", *arguments), "max_bad_share")
    assert (tmp_path / "run" / "skipped.jsonl").is_file()
    assert kdcompress("distill", *arguments, "--set", "data.max_bad_share=0.5")[0] == 0


def test_transcripts_that_the_vocabulary_cannot_write_are_refused(
    kdcompress: Command, teacher: Path, audio: Path, tmp_path: Path
) -> None:
    lines = [{"audio_filepath": f"{index}.wav", "duration": 0.75, "text": "abc"} for index in range(6)]
    (audio / "m.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    arguments = ["--teacher", teacher, "--audio", audio / "m.jsonl", "--out", tmp_path / "run", *QUICK]
    refused(kdcompress("distill", *arguments, "--set", "objective.kd_weight=0.5"), "'c'", "abc")
    assert kdcompress("distill", *arguments[:-1], arguments[-1], "--out", tmp_path / "free")[0] == 0


def transcribed(audio: Path, text: str) -> Path:
    lines = [{"audio_filepath": f"{index}.wav", "duration": 0.75, "text": text} for index in range(6)]
    manifest = audio / f"{text}.jsonl"
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return manifest


def test_transcripts_alone_train_a_teacher_that_writes_their_characters(
    kdcompress: Command, audio: Path, tmp_path: Path
) -> None:
    tiny = "student={width: 16, layers: 1, heads: 2, feed_forward: 2, kernel: 3, stem_channels: 4}"
    alone = ["--set", "objective.kd_weight=0", "--set", tiny, *QUICK]
    letters = "'abcdefghijklmnopqrstuvwxyz"
    for name, text, characters in (("own", "Да, нет!", "адент"), ("default", "a b", letters)):
        run = tmp_path / name
        code, _, err = kdcompress("distill", "--audio", transcribed(audio, text), "--out", run, *alone)
        assert code == 0, err
        assert f"units, as in the transcripts: {characters}\n" in err
        made = load_student(run)
        assert made.vocabulary.tokens == ("<blk>", "|", *characters)
        assert made.model.frame_shift == 0.04
    code, _, err = kdcompress("distill", "--out", tmp_path / "own", "--resume")
    assert code == 0, err
    start = ["--set", f"training.start_from={tmp_path / 'own'}", "--out", tmp_path / "more"]
    assert kdcompress("distill", "--audio", transcribed(audio, "нет"), *alone, *start)[0] == 0
    assert load_student(tmp_path / "more").vocabulary == load_student(tmp_path / "own").vocabulary
    other = transcribed(audio, "на ёж")
    refused(kdcompress("distill", "--audio", other, *alone, *start[:2]), "'ж', 'ё'", "start_from")
    other_units = ["--set", "vocabulary.alphabet=abc", "--out", tmp_path / "letters"]
    refused(
        kdcompress("distill", "--audio", other, *alone, *other_units),
        "'а', 'ж', 'н', 'ё'",
        "vocabulary.alphabet",
    )
    refused(kdcompress("distill", "--audio", audio, "--out", tmp_path / "folder", *alone), "manifest")


def test_one_process_trains_into_a_run(
    kdcompress: Command, teacher: Path, audio: Path, tmp_path: Path
) -> None:
    arguments = ("distill", "--teacher", teacher, "--audio", audio, "--out", tmp_path / "run", *QUICK)
    with locked(tmp_path / "run"):
        code, _, err = kdcompress(*arguments)
        assert (code, err.count("\n")) == (1, 1)
        assert f"run is being written by process {os.getpid()} on " in err
        assert [path.name for path in (tmp_path / "run").iterdir()] == [NAME]
    assert kdcompress(*arguments)[0] == 0
    assert not (tmp_path / "run" / NAME).exists()
    with locked(tmp_path / "run"):
        code, _, err = kdcompress("distill", "--out", tmp_path / "run", "--resume")
        assert (code, "is being written by" in err) == (1, True)
