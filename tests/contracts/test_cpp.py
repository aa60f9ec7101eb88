"""The C++ program, built against the headers and libraries that the wheel of sherpa-onnx ships."""

import importlib.util
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from kdcompress.resources import consumer_path

SOURCE = consumer_path("cpp") / "transcribe.cpp"
TEXTS = ("ab ca b", "ba bb a cab", "cc a")

Say = Callable[[str], npt.NDArray[np.float32]]


def sherpa_folder() -> Path | None:
    """Return where the wheel of sherpa-onnx keeps include/ and lib/, if it is installed and has them."""
    spec = importlib.util.find_spec("sherpa_onnx")
    folder = Path(str(spec.origin)).parent if spec else None
    header = folder / "include" / "sherpa-onnx" / "c-api" / "c-api.h" if folder else None
    return folder if header and header.is_file() else None


SHERPA = sherpa_folder()
COMPILER = shutil.which("g++") or shutil.which("clang++")

# Before any bundle is made.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(SHERPA is None, reason="no sherpa-onnx with headers: pip install sherpa-onnx"),
    pytest.mark.skipif(COMPILER is None, reason="no C++ compiler: g++ or clang++"),
]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build as the README says."""
    target = tmp_path_factory.mktemp("cpp") / "transcribe"
    warnings = ["-Wall", "-Wextra", "-Werror"]
    command = [
        *(str(COMPILER), "-std=c++17", *warnings, str(SOURCE), "-o", str(target)),
        *(f"-I{SHERPA}/include", f"-L{SHERPA}/lib", "-lsherpa-onnx-c-api", f"-Wl,-rpath,{SHERPA}/lib"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return target


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory, say: Say) -> list[Path]:
    folder = tmp_path_factory.mktemp("recordings")
    files = [folder / f'{index} "quoted\\ of ü.wav' for index in range(len(TEXTS))]
    for file, text in zip(files, TEXTS, strict=True):
        soundfile.write(file, say(text), 16_000, subtype="PCM_16")
    return files


def run(program: Path, *arguments: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("profile", ["tiny_bundle", "waveform_bundle", "kaldi_bundle"])
@pytest.mark.parametrize("precision", [[], ["--precision", "int8"]])
def test_transcripts_are_right(
    request: pytest.FixtureRequest, program: Path, recordings: list[Path], profile: str, precision: list[str]
) -> None:
    done = run(program, request.getfixturevalue(profile), *precision, *recordings)
    assert done.returncode == 0, done.stderr
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert [result["text"] for result in results] == list(TEXTS)
    assert [result["audio_filepath"] for result in results] == list(map(str, recordings))


def test_text_comes_while_a_file_is_fed(
    program: Path, recordings: list[Path], streaming_tone_bundle: Path
) -> None:
    done = run(program, streaming_tone_bundle, "--partial", *recordings)
    assert done.returncode == 0, done.stderr
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert [result["text"] for result in results if "text" in result] == list(TEXTS)
    assert [result["partial"] for result in results if "partial" in result][:4] == [
        "a",
        "ab",
        "ab c",
        "ab ca",
    ]


def test_what_is_missing_is_said_in_one_line(
    program: Path, tiny_bundle: Path, recordings: list[Path], tmp_path: Path
) -> None:
    shutil.copytree(tiny_bundle, tmp_path / "bundle")
    record = json.loads((tmp_path / "bundle" / "bundle.json").read_text())
    (tmp_path / "bundle" / "bundle.json").write_text(json.dumps(record | {"profile": "telepathic"}))
    complaints = [
        ((), "usage:"),
        ((tiny_bundle,), "usage:"),
        ((recordings[0].parent, recordings[0]), "is not a bundle"),
        ((tiny_bundle, "--precision", "int3", recordings[0]), "model.int3.onnx cannot be read"),
        ((tmp_path / "bundle", recordings[0]), "has the profile telepathic"),
        ((tiny_bundle, tmp_path / "none.wav"), "none.wav is no WAV file of 16 bits"),
    ]
    for arguments, complaint in complaints:
        done = run(program, *arguments)
        assert done.returncode == 1
        assert complaint in done.stderr.splitlines()[-1]
        assert done.stdout == ""
