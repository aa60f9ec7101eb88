"""The corpora's recipes on an imitation of each corpus's layout: two utterances of noise a part."""

import json
import os
import runpy
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from kdcompress.audio.manifest import read_references, read_texts
from kdcompress.cli.start import main
from kdcompress.config.recipe import load_recipe
from kdcompress.distill.validate import error_rate
from kdcompress.resources import recipe_path, resource_dir
from kdcompress.students.weights import load_student
from kdcompress.text.word_spacing import unspaced

SCRIPT = resource_dir("recipes") / "corpora" / "prepare.py"
RATE = 16_000
LETTERS = ["<pad>", "<s>", "</s>", "<unk>", "|", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ'"]
HAN = ["<pad>", "<s>", "</s>", "<unk>", "|", *"甚至出现交易几乎停滞的情况一二线城市"]
QUICK = {
    "student": "{width: 16, layers: 1, heads: 2, feed_forward: 2, kernel: 3, stem_channels: 4}",
    "student.frame_shift_ms": "40",
    "training.steps": "2",
    "training.accumulate": "1",
    "data.workers": "0",
    "data.batch_seconds": "3",
}


def sound(path: Path, seconds: float, seed: int, **form: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).standard_normal(round(seconds * RATE))
    soundfile.write(path, 0.1 * noise * np.sin(np.linspace(0, 20, len(noise))), RATE, **form)


def librispeech(root: Path, parts: tuple[str, ...]) -> Path:
    """LibriSpeech/PART/SPEAKER/CHAPTER/SPEAKER-CHAPTER-NNNN.flac, one SPEAKER-CHAPTER.trans.txt a chapter."""
    for number, part in enumerate(parts):
        speaker, chapter = f"{100 + number}", f"{2000 + number}"
        folder = root / "LibriSpeech" / part / speaker / chapter
        texts = ["ALSO A POPULAR CONTRIVANCE", "DON'T SAY SO"]
        for index in range(2):
            name = f"{speaker}-{chapter}-{index:04}"
            sound(folder / f"{name}.flac", 0.8 + 0.1 * index, number + index)
        (folder / f"{speaker}-{chapter}.trans.txt").write_text(
            "".join(f"{speaker}-{chapter}-{i:04} {text}\n" for i, text in enumerate(texts))
        )
    return root / "LibriSpeech"


def tedlium2(root: Path) -> Path:
    """TEDLIUM_release2/PART/{sph/TALK.sph, stm/TALK.stm}: one talk, two segments and one not to be scored."""
    for number, part in enumerate(("train", "dev", "test")):
        talk = f"Speaker{number}_2010"
        folder = root / "TEDLIUM_release2" / part
        sound(folder / "sph" / f"{talk}.sph", 3.0, number, format="NIST", subtype="PCM_16")
        (folder / "stm").mkdir(parents=True)
        (folder / "stm" / f"{talk}.stm").write_text(
            f"{talk} 1 {talk} 0.25 1.25 <o,f0,male> and <sil> it 's {{BREATH}} what they read(2)\n"
            f"{talk} 1 {talk} 1.25 1.50 <o,,unknown> ignore_time_segment_in_scoring\n"
            f"{talk} 1 {talk} 1.50 2.80 <o,f0,male> we <unk> know that\n"
        )
    return root / "TEDLIUM_release2"


def aishell1(root: Path) -> Path:
    """aishell/data_aishell/{wav/PART/SPEAKER/*.wav, transcript/aishell_transcript_v0.8.txt}."""
    data = root / "aishell" / "data_aishell"
    lines = []
    for number, part in enumerate(("train", "dev", "test")):
        for index, text in enumerate(("甚至 出现 交易 几乎 停滞 的 情况", "一二 线 城市")):
            name = f"BAC009S{number:04}W{index:04}"
            sound(data / "wav" / part / f"S{number:04}" / f"{name}.wav", 0.8 + 0.1 * index, number + index)
            lines.append(f"{name} {text}\n")
    (data / "transcript").mkdir()
    (data / "transcript" / "aishell_transcript_v0.8.txt").write_text("".join(lines), encoding="utf-8")
    return root / "aishell"


ALL = (
    "train-clean-100",
    "train-clean-360",
    "train-other-500",
    "dev-clean",
    "dev-other",
    "test-clean",
    "test-other",
)
IMITATIONS: dict[str, Callable[[Path], Path]] = {
    "librispeech-960": lambda root: librispeech(root, ALL),
    "librispeech-100": lambda root: librispeech(root, (ALL[0], *ALL[3:])),
    "tedlium2": tedlium2,
    "aishell1": aishell1,
}  # fmt: skip


def prepare(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *map(str, arguments)])
    runpy.run_path(str(SCRIPT), run_name="__main__")


@pytest.fixture(scope="module")
def teachers(hugging_face: Callable[..., Path]) -> dict[str, Path]:
    """Return random tiny models of the teachers' families, with letters and with Han characters."""
    # Without the bias they say more than a student of 40 ms has frames for.
    return {
        "Hubert": hugging_face(LETTERS, "Hubert", blank_bias=6.0),
        "Wav2Vec2": hugging_face(HAN, blank_bias=5.0),
    }


def distill(monkeypatch: pytest.MonkeyPatch, corpus: str, out: Path, teacher: Path, **more: str) -> Path:
    manifests = out / "manifests"
    settings = QUICK | {"data.validation.references": str(manifests / "validation.jsonl")} | more
    words = ["--teacher", str(teacher), "--audio", str(manifests / "train.jsonl"), "--out", str(out / "run")]
    words += [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    monkeypatch.setattr(sys, "argv", ["kdcompress", "distill", f"corpora/{corpus}", *words])
    with pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code
    return out / "run"


@pytest.mark.parametrize("corpus", IMITATIONS)
def test_a_corpus_becomes_manifests_and_the_recipe_trains_on_them(
    corpus: str, teachers: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, manifests = IMITATIONS[corpus](tmp_path / "corpus"), tmp_path / "manifests"
    prepare(monkeypatch, corpus, root, manifests)
    names = {path.stem for path in manifests.iterdir()}
    tests = {"test-clean", "test-other"} if "libri" in corpus else set()
    assert names == {"train", "dev", "test", "validation"} | tests
    counts = {name: len(read_references(manifests / f"{name}.jsonl")) for name in names}
    halves = 2 if "libri" in corpus else 1
    assert counts["train"] == (6 if corpus == "librispeech-960" else 2)
    assert counts["dev"] == counts["validation"] == counts["test"] == 2 * halves

    kind = load_recipe(recipe_path(f"corpora/{corpus}")).teacher.kind  # type: ignore[union-attr]
    assert kind == "huggingface"
    teacher = teachers["Wav2Vec2" if corpus == "aishell1" else "Hubert"]
    run = distill(monkeypatch, corpus, tmp_path, teacher)
    student = load_student(run)
    assert student.vocabulary.tokens == tuple(HAN if corpus == "aishell1" else LETTERS)
    assert student.record["step"] == 2
    assert student.record["frame_shift"] == 0.04
    assert {"wer_against_teacher", "wer", "kl"} <= set(student.record["figures"])


def test_ted_segments_are_stretches_of_their_talk_with_what_was_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(monkeypatch, "tedlium2", tedlium2(tmp_path), tmp_path / "out")
    first, second = read_references(tmp_path / "out" / "train.jsonl")
    assert (first.text, second.text) == ("and it's what they read", "we know that")
    assert (first.utterance.start, first.utterance.duration) == (0.25, 1.0)
    assert (second.utterance.start, round(second.utterance.duration, 4)) == (1.5, 1.3)
    assert first.utterance.audio == second.utterance.audio
    assert os.path.isabs(
        json.loads((tmp_path / "out" / "train.jsonl").read_text().splitlines()[0])["audio_filepath"]
    )


def test_transcripts_serve_the_ctc_term_in_capitals_and_in_mandarin(
    teachers: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for corpus, teacher in (("librispeech-100", "Hubert"), ("aishell1", "Wav2Vec2")):
        out = tmp_path / corpus
        prepare(monkeypatch, corpus, IMITATIONS[corpus](out / "corpus"), out / "manifests")
        run = distill(monkeypatch, corpus, out, teachers[teacher], **{"objective.kd_weight": "0.25"})
        losses = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        assert all(line["ctc"] > 0 for line in losses if "loss" in line)


def test_errors_of_mandarin_are_counted_in_characters() -> None:
    references, texts = ["甚至出现交易", "一二线城市"], ["甚至出交易", "一二线城市"]
    assert unspaced(references)
    assert error_rate(references, texts, unspaced(references)) == (pytest.approx(100 / 11), 11)
    assert error_rate(["yes", "no", ""], ["yes", "on", "x"], unspaced(["yes", "no"])) == (50, 2)
    assert error_rate(["", ""], ["", ""], False) == (0, 0)
    assert error_rate([""], ["x"], False) == (100, 0)


@pytest.mark.parametrize("corpus", IMITATIONS)
def test_what_is_missing_is_named_in_one_line(
    corpus: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(SystemExit, match=f"^error: .*empty is not {corpus}: it has no .*$"):
        prepare(monkeypatch, corpus, tmp_path / "empty", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_part_that_is_not_unpacked_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = librispeech(tmp_path, (ALL[0], *ALL[3:]))
    for path in (root / "dev-other").rglob("*.flac"):
        path.unlink()
    with pytest.raises(SystemExit, match="dev-other holds no audio"):
        prepare(monkeypatch, "librispeech-100", root, tmp_path / "out")
    root = tedlium2(tmp_path)
    next(root.glob("dev/stm/*")).unlink()
    with pytest.raises(SystemExit, match=r"cannot be read as tedlium2: .*STM"):
        prepare(monkeypatch, "tedlium2", root, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_validation_is_evenly_spaced_and_short() -> None:
    evenly_spaced: Any = runpy.run_path(str(SCRIPT))["evenly_spaced"]
    lines = [{"id": i, "duration": 5.0} for i in range(1000)]
    chosen = evenly_spaced(lines, 600.0)
    assert 590 <= sum(line["duration"] for line in chosen) <= 605
    gaps = {b["id"] - a["id"] for a, b in pairwise(chosen)}
    assert gaps <= {8, 9}
    assert evenly_spaced(lines[:7], 600.0) == lines[:7]


def test_texts_of_a_manifest_are_the_corpus_s_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(monkeypatch, "aishell1", aishell1(tmp_path), tmp_path / "out")
    assert list(read_texts(tmp_path / "out" / "test.jsonl").values()) == [
        "甚至出现交易几乎停滞的情况",
        "一二线城市",
    ]
