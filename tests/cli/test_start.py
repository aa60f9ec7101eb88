"""From a cold start: what `kdcompress transcribe` may import, and that the short way is no other way."""

import inspect
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from kdcompress.cli import start
from kdcompress.cli.transcribe.command import transcribe
from kdcompress.cli.transcribe.recordings import write_transcripts

Say = Callable[[str], npt.NDArray[np.float32]]

# What hears and reads audio; everything else is paid for by those who ask for it.
NEEDED = "import onnxruntime, soundfile"
RUN = """
import atexit, json, sys
atexit.register(lambda: sys.stderr.write(json.dumps(sorted(sys.modules))))
from kdcompress.cli.start import main
main()
"""


@pytest.fixture
def clip(say: Say, tmp_path: Path) -> Path:
    soundfile.write(tmp_path / "clip.wav", say("ab c"), 16_000)
    return tmp_path / "clip.wav"


def python(code: str, *arguments: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, text=True, timeout=120, capture_output=True)


def imported(*arguments: object) -> set[str]:
    """Return the modules that a run of the command has in the end."""
    done = python(RUN, "transcribe", *arguments)
    assert (done.returncode, done.stdout) == (0, "ab c\n")
    return set(json.loads(done.stderr))


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_no_encoding_of_the_output_ends_a_command(tone_bundle: Path, clip: Path, encoding: str) -> None:
    odd = clip.with_name("録音 é 😀.wav")
    clip.rename(odd)
    command = [sys.executable, "-m", "kdcompress", "transcribe", str(tone_bundle), str(odd), "--json"]
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run(command, capture_output=True, timeout=120, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.decode(encoding))
    assert (found["audio_filepath"], found["text"]) == (str(odd), "ab c")


def test_files_and_pipes_get_utf_8_in_any_locale(tone_bundle: Path, clip: Path) -> None:
    odd = clip.with_name("録音.wav")
    clip.rename(odd)
    command = [sys.executable, "-X", "utf8=0", "-m", "kdcompress", "transcribe", str(tone_bundle), str(odd)]
    environment = {**os.environ, "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    done = subprocess.run(
        [*command, "--json"], capture_output=True, timeout=120, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    assert os.fsencode(json.loads(done.stdout.decode())["audio_filepath"]) == os.fsencode(odd)


def packages(modules: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in modules}


def test_transcribing_imports_what_hears_and_nothing_else(tone_bundle: Path, clip: Path) -> None:
    needed = python(f"{NEEDED}\nimport json, sys; print(json.dumps(sorted(sys.modules)))")
    bare = packages(set(json.loads(needed.stdout)))
    modules = imported(tone_bundle, clip)
    assert packages(modules) - bare - sys.stdlib_module_names == {"kdcompress"}
    rooms = {name.split(".")[1] for name in modules if name.startswith("kdcompress.")}
    assert rooms == {
        "aliases",
        "audio",
        "cli",
        "cores",
        "digests",
        "errors",
        "files",
        "frontend",
        "runtime",
        "signals",
        "text",
    }
    parts = {name.split(".")[2] for name in modules if name.startswith("kdcompress.cli.")}
    assert parts == {"start", "transcribe"}


def test_options_cost_what_reads_them(tone_bundle: Path, clip: Path) -> None:
    assert "typer" not in imported(tone_bundle, "--threads", 1, clip, "--variant", "fp32", "--format", "text")
    modules = imported(tone_bundle, clip, "--provider", "cpu")
    assert "typer" in modules
    heavy = "torch jiwer onnx sentencepiece soxr yaml matplotlib scipy"
    assert not packages(modules) & set(heavy.split())
    assert not {"rich.progress", "kdcompress.bench", "kdcompress.config.recipe"} & modules


def test_another_rate_costs_what_changes_it(tone_bundle: Path, say: Say, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "high.wav", np.repeat(say("ab c"), 2), 32_000)
    assert "soxr" in imported(tone_bundle, tmp_path / "high.wav")


def test_the_short_way_has_the_defaults_of_the_long_way() -> None:
    said = {name: p.default for name, p in inspect.signature(transcribe).parameters.items()}
    short = {name: p.default for name, p in inspect.signature(write_transcripts).parameters.items()}
    alike = {"variant", "provider", "threads", "jobs", "batch_seconds"}
    assert {name: said[name] for name in alike} == {name: short[name] for name in alike}
    assert short["cutting"] == (said["chunk_seconds"], said["overlap_seconds"], said["pause_seconds"])
    assert (short["chosen"], short["out"]) == (said["format_"], said["out"])
    assert (said["channels"], short["split"]) == ("mix", False)
    # What weighs words is off; each needs one of these.
    assert short["decoder"] is None
    assert not any(said[name] for name in ("as_json", "beam", "lm", "lm_words", "word_bonus", "hotword"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ["{bundle}", "{clip}"],
        ["{bundle}", "{clip}", "{clip}"],
        ["{bundle}", "{clip}", "no such file.wav"],
        ["{clip}", "{clip}"],
        ["{bundle}"],
        ["{bundle}", ""],
        ["", "{clip}"],
        ["{bundle}", "--", "{clip}"],
        pytest.param(["{bundle}", "-h"], marks=pytest.mark.slow),
        ["{bundle}", "{clip}", "--json"],
        ["--format", "json", "{bundle}", "--threads", "1", "{clip}", "{clip}", "--variant", "fp32"],
        ["{bundle}", "{clip}", "--format", "jsonl", "--json"],
        ["{bundle}", "{clip}", "--json", "--format", "srt"],
        ["{bundle}", "{clip}", "--format", "vtt"],
        ["{bundle}", "{clip}", "--format", "xml"],
        ["{bundle}", "{clip}", "--format"],
        ["{bundle}", "{clip}", "--format=json"],
        ["{bundle}", "{clip}", "--threads", "0"],
        ["{bundle}", "{clip}", "--threads", "1", "--threads", "2"],
        ["{bundle}", "{clip}", "--threads", "two"],
        ["{bundle}", "{clip}", "--variant", "int4"],
        ["{bundle}", "{clip}", "--variant", "--json"],
        ["{bundle}", "{clip}", "--variant", ""],
        ["{bundle}", "--json"],
        ["{bundle}", "{clip}", "--jso"],
        ["{bundle}", "{clip}", "-"],
    ],
)
def test_both_ways_say_the_same(
    arguments: list[str],
    tone_bundle: Path,
    clip: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    given = [a.format(bundle=tone_bundle, clip=clip) for a in arguments]

    def run(short: bool) -> tuple[object, str, str]:
        monkeypatch.setattr(start, "_SHELL_EXPANDS", short)
        monkeypatch.setattr(sys, "argv", ["kdcompress", "transcribe", *given])
        with pytest.raises(SystemExit) as ended:
            start.main()
        return ended.value.code or 0, *capfd.readouterr()

    assert run(short=True) == run(short=False)
