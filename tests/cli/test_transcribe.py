import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from kdcompress.audio.manifest import read_references
from kdcompress.cli.start import main

Say = Callable[[str], npt.NDArray[np.float32]]
Run = Callable[..., tuple[int, str, str]]

NO_PAUSE = ["--overlap-seconds", 1, "--pause-seconds", 0]


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


def test_json_is_one_array(run: Run, tone_bundle: Path, clips: list[Path], tmp_path: Path) -> None:
    code, lines, _ = run(tone_bundle, *clips, "--format", "jsonl")
    assert code == 0
    assert run(tone_bundle, *clips, "--json") == (0, lines, "")
    code, out, _ = run(tone_bundle, *clips, "--format", "json")
    assert code == 0
    assert json.loads(out) == [json.loads(line) for line in lines.splitlines()]
    code, out, err = run(tone_bundle, tmp_path / "none.wav", "--format", "json")
    assert (code, json.loads(out)) == (1, [])
    assert "no such audio file" in err


def test_subtitles_of_one_file_are_printed(run: Run, tone_bundle: Path, clips: list[Path]) -> None:
    code, out, _ = run(tone_bundle, clips[0], "--format", "srt")
    assert code == 0
    assert re.fullmatch(r"1\n00:00:00,2\d\d --> 00:00:01,\d{3}\nab c\n\n", out)
    code, out, _ = run(tone_bundle, clips[0], "--format", "vtt")
    assert code == 0
    assert re.fullmatch(r"WEBVTT\n\n00:00:00\.2\d\d --> 00:00:01\.\d{3}\nab c\n", out)
    assert run(tone_bundle, *clips, "--format", "srt")[0] == 2
    assert run(tone_bundle, clips[0], "--json", "--format", "srt")[0] == 2


def test_results_may_go_to_a_folder(run: Run, tone_bundle: Path, clips: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "new" / "folder"
    for kind, suffix in (("text", "txt"), ("vtt", "vtt"), ("json", "json")):
        assert run(tone_bundle, *clips, "--format", kind, "--out", out) == (0, "", "")
        assert sorted(out.glob(f"*.{suffix}")) == sorted(out / f"{c.stem}.{suffix}" for c in clips)
    assert (out / "ab_c.txt").read_text() == "ab c\n"
    assert json.loads((out / "cab.json").read_text())["text"] == "cab"
    assert len(list(out.iterdir())) == 6
    (tmp_path / "other").mkdir()
    twin = clips[0].rename(tmp_path / "other" / clips[1].name)
    assert run(tone_bundle, twin, clips[1], "--out", out)[0] == 2


def test_batches_say_the_same(run: Run, tone_bundle: Path, clips: list[Path], tmp_path: Path) -> None:
    (tmp_path / "notes.wav").write_text("this is text")
    files = [clips[1], tmp_path / "notes.wav", *clips]
    code, out, err = run(tone_bundle, *files, "--batch-seconds", 60)
    assert (code, out) == (
        1,
        "".join(f"{c}\t{t}\n" for c, t in zip([clips[1], *clips], ["cab", "ab c", "cab"], strict=True)),
    )
    assert err.startswith("error: ")
    assert len(err.splitlines()) == 1


def test_long_files_are_cut_as_told(run: Run, tone_bundle: Path, say: Say, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "long.wav", np.concatenate([say("abc cab ")] * 4), 16_000)
    text = "abc cab " * 4
    for options in ([], ["--chunk-seconds", 3, "--overlap-seconds", 1], ["--chunk-seconds", 3, *NO_PAUSE]):
        assert run(tone_bundle, tmp_path / "long.wav", *options) == (0, f"{text.strip()}\n", "")
    code, out, err = run(tone_bundle, tmp_path / "long.wav", "--chunk-seconds", 3)
    assert (code, out) == (1, "")
    assert "an overlap of 4 s does not suit chunks of 3 s" in err


def test_beam_search_with_hotwords(run: Run, tone_bundle: Path, clips: list[Path]) -> None:
    pytest.importorskip("flashlight.lib.text", reason="flashlight-text (the extra lm) is not installed")
    assert run(tone_bundle, clips[0], "--beam", 8) == (0, "ab c\n", "")
    # So much is not worth a hearing in earnest: but it shows that the words arrive.
    code, out, _ = run(tone_bundle, clips[0], "--hotword", "ac", "--hotword-weight", 1000)
    assert code == 0
    assert "ac" in out.split()
    code, loud, err = run(tone_bundle, clips[0], "--hotword", "AC", "--hotword-weight", 1000)
    assert (code, loud) == (0, out)
    assert err.count("\n") == 1
    assert "note: this student writes letters of one case: the hotword 'AC' is taken as 'ac'" in err
    code, out, err = run(tone_bundle, clips[0], "--hotword", "XY")
    assert (code, out) == (1, "")
    assert "the hotword 'xy' has 'x', which this student never writes" in err


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


def piped(content: bytes, *arguments: object) -> "subprocess.CompletedProcess[bytes]":
    command = [sys.executable, "-m", "kdcompress", "transcribe", *map(str, arguments)]
    return subprocess.run(command, input=content, capture_output=True, timeout=120, check=False)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/stdin").exists(), reason="no /dev/stdin here")
def test_standard_input_and_pipes(tone_bundle: Path, clips: list[Path]) -> None:
    content = clips[0].read_bytes()
    for name in ("-", "/dev/stdin"):
        done = piped(content, tone_bundle, name)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"ab c\n", b"")
    done = piped(b"", tone_bundle, "-")
    assert (done.returncode, done.stderr) == (1, b"error: -: standard input ended without a byte of audio\n")
    done = piped("\n".join(map(str, clips)).encode(), tone_bundle, "--files-from", "-")
    assert (done.returncode, done.stdout.decode()) == (0, f"{clips[0]}\tab c\n{clips[1]}\tcab\n")


def test_a_folder_or_a_manifest(run: Run, tone_bundle: Path, clips: list[Path], tmp_path: Path) -> None:
    expected = (0, f"{clips[0]}\tab c\n{clips[1]}\tcab\n", "")
    for more in ([], ["--jobs", 1], ["--jobs", 3], ["--batch-seconds", 20]):
        assert run(tone_bundle, tmp_path, *more) == expected
    code, out, _ = run(tone_bundle, tmp_path, "--json")
    assert code == 0
    manifest = tmp_path / "said.jsonl"
    manifest.write_text(out)
    assert run(tone_bundle, manifest) == expected
    part = {"audio_filepath": clips[0].name, "offset": 0.9, "duration": 0.9}
    lines = [part, {"audio_filepath": "none.wav"}]
    manifest.write_text("\n".join(map(json.dumps, lines)))
    code, out, err = run(tone_bundle, manifest, "--json")
    assert (code, json.loads(out)["text"], json.loads(out)["offset"]) == (1, "c", 0.9)
    assert err == f"error: no such audio file: {tmp_path / 'none.wav'}\n"
    (tmp_path / "list").write_text(f"{clips[1]}\n")
    assert run(tone_bundle, "--files-from", tmp_path / "list") == (0, "cab\n", "")
    assert run(tone_bundle)[0] == 2


@pytest.mark.slow
def test_many_recordings_are_shared_among_processes(
    run: Run, tone_bundle: Path, clips: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[object] = []
    submit = ProcessPoolExecutor.submit

    def counted(pool: ProcessPoolExecutor, work: Any, sources: Any) -> Any:
        begun.extend(sources)
        return submit(pool, work, sources)

    monkeypatch.setattr(ProcessPoolExecutor, "submit", counted)
    many = [*clips * 250, tmp_path / "none.wav"]
    code, out, err = run(tone_bundle, *many, "--jobs", 2)
    assert (code, len(begun)) == (1, 501)
    assert out == f"{clips[0]}\tab c\n{clips[1]}\tcab\n" * 250
    assert err == f"error: no such audio file: {tmp_path / 'none.wav'}\n"


def test_results_of_a_folder_lie_as_its_files_do(
    run: Run, tone_bundle: Path, clips: list[Path], tmp_path: Path
) -> None:
    for speaker in "xy":
        (tmp_path / "calls" / speaker).mkdir(parents=True)
        shutil.copy(clips[0], tmp_path / "calls" / speaker / "001.wav")
    assert run(tone_bundle, tmp_path / "calls", "--format", "srt", "--out", tmp_path / "out") == (0, "", "")
    written = sorted(p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*.srt"))
    assert written == ["x/001.srt", "y/001.srt"]


def test_two_speakers_on_two_channels(run: Run, tone_bundle: Path, say: Say, tmp_path: Path) -> None:
    first, second = say("ab c"), say("cab ")
    length = max(len(first), len(second))
    both = np.stack([np.pad(one, (0, length - len(one))) for one in (first, second)], axis=1)
    call = tmp_path / "call.wav"
    soundfile.write(call, both, 16_000)
    assert run(tone_bundle, call, "--channels", "split") == (0, f"{call}#0\tab c\n{call}#1\tcab\n", "")
    assert run(tone_bundle, call, "--channels", 1) == (0, "cab\n", "")
    code, out, _ = run(tone_bundle, call, "--channels", "split", "--json")
    assert [json.loads(line)["channel_selector"] for line in out.splitlines()] == [0, 1]
    (tmp_path / "said.jsonl").write_text(out)
    assert [r.text for r in read_references(tmp_path / "said.jsonl")] == ["ab c", "cab"]
    assert run(tone_bundle, tmp_path / "said.jsonl")[1] == f"{call}#0\tab c\n{call}#1\tcab\n"
    assert run(tone_bundle, call, "--channels", "split", "--out", tmp_path / "out") == (0, "", "")
    assert (tmp_path / "out" / "call.1.txt").read_text() == "cab\n"
    code, out, err = run(tone_bundle, call, "--channels", 2)
    assert (code, out) == (1, "")
    assert "has no channel 2: it has 2, counted from 0" in err
    assert run(tone_bundle, call, "--channels", "left")[0] == 2
    soundfile.write(call, np.stack([first, -first], axis=1), 16_000)
    code, out, err = run(tone_bundle, call)
    assert (code, out) == (1, "")
    assert "cancel out" in err
    assert run(tone_bundle, call, "--channels", "split")[1] == f"{call}#0\tab c\n{call}#1\tab c\n"
