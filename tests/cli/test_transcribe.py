import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from kdcompress.audio.manifest import read_references
from kdcompress.cli.app import main

Say = Callable[[str], npt.NDArray[np.float32]]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Run the command; returns exit code, standard output and standard error."""

    def command(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["kdcompress", "transcribe", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), *capfd.readouterr()

    return command


@pytest.fixture
def clips(say: Say, tmp_path: Path) -> list[Path]:
    paths = []
    for text in ("ab c", "cab"):
        paths.append(tmp_path / f"{text.replace(' ', '_')}.wav")
        soundfile.write(paths[-1], say(text), 16_000)
    return paths


def test_one_file_gives_its_text(run: Run, tone_bundle: Path, clips: list[Path]) -> None:
    assert run(tone_bundle, clips[0]) == (0, "ab c\n", "")


def test_several_files_give_path_and_text(run: Run, tone_bundle: Path, clips: list[Path]) -> None:
    assert run(tone_bundle, *clips) == (0, f"{clips[0]}\tab c\n{clips[1]}\tcab\n", "")


def test_a_bad_file_does_not_stop_the_others(
    run: Run, tone_bundle: Path, clips: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "notes.wav").write_text("this is text")
    code, out, err = run(tone_bundle, clips[0], tmp_path / "notes.wav", tmp_path / "none.wav", clips[1])
    assert code == 1
    assert out == f"{clips[0]}\tab c\n{clips[1]}\tcab\n"
    first, second = err.splitlines()
    assert first.startswith(f"error: {tmp_path / 'notes.wav'} is not audio")
    assert second == f"error: no such audio file: {tmp_path / 'none.wav'}"


def test_json_lines_hold_times_and_are_a_manifest(
    run: Run, tone_bundle: Path, clips: list[Path], tmp_path: Path
) -> None:
    code, out, _ = run(tone_bundle, *clips, "--json", "--variant", "fp32", "--threads", 1)
    assert code == 0
    first, second = map(json.loads, out.splitlines())
    assert (first["audio_filepath"], first["text"], first["duration"]) == (str(clips[0]), "ab c", 1.8)
    assert [word["text"] for word in first["words"]] == ["ab", "c"]
    assert first["words"][0]["start"] == first["tokens"][0]["start"]
    assert [token["text"] for token in second["tokens"]] == ["c", "a", "b"]
    (tmp_path / "said.jsonl").write_text(out)
    assert [r.text for r in read_references(tmp_path / "said.jsonl")] == ["ab c", "cab"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{folder}"], "is not a bundle: it has no bundle.json"),
        (["{bundle}", "--variant", "int4"], "has no variant 'int4'; it has fp32, int8-dynamic"),
    ],
)
def test_what_cannot_be_opened_is_one_line(
    run: Run, tone_bundle: Path, clips: list[Path], arguments: list[str], message: str
) -> None:
    folder, *options = (a.format(folder=clips[0].parent, bundle=tone_bundle) for a in arguments)
    code, out, err = run(folder, clips[0], *options)
    assert (code, out) == (1, "")
    assert message in err
    assert len(err.splitlines()) == 1


def test_wrong_usage_is_told_apart(run: Run, tone_bundle: Path, clips: list[Path]) -> None:
    assert run(tone_bundle)[0] == 2
    assert run(tone_bundle, clips[0], "--provider", "tpu")[0] == 2
    assert run(tone_bundle, clips[0], "--threads", "0")[0] == 2
