"""The committed consumer programs, each in a process of its own: sherpa-onnx ends the process on errors."""

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from kdcompress.runtime.recognizer import Recognizer

pytestmark = pytest.mark.slow

CONSUMERS = Path(__file__).resolve().parents[2] / "export" / "consumers"

OPTIMUM_PYTHON = os.environ.get("KDCOMPRESS_OPTIMUM_PYTHON", sys.executable)

Say = Callable[[str], npt.NDArray[np.float32]]


@pytest.fixture(scope="module", params=["sherpa_onnx", "onnx_asr"])
def runtime(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed: pip install {name.replace('_', '-')}")
    return name


def consume(runtime: str, *arguments: object, what: str = "transcribe") -> list[str]:
    program = CONSUMERS / f"{runtime}_{what}.py"
    python = OPTIMUM_PYTHON if runtime == "transformers" else sys.executable
    done = subprocess.run(
        [python, "-I", program, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line)["text"] for line in done.stdout.splitlines()]


@pytest.mark.parametrize("precision", [[], ["--int8"]])
@pytest.mark.parametrize("batch", [1, 4])
def test_transcripts_are_right_alone_and_in_a_batch(
    runtime: str, tiny_bundle: Path, recordings: Path, precision: list[str], batch: int, texts: list[str]
) -> None:
    found = consume(runtime, tiny_bundle, *precision, "--manifest", recordings, "--batch", batch)
    assert found == texts


def test_files_by_name(runtime: str, tiny_bundle: Path, recordings: Path, texts: list[str]) -> None:
    assert consume(runtime, tiny_bundle, recordings.parent / "0.wav") == [texts[0]]


@pytest.mark.parametrize("precision", [[], ["--precision", "int8"]])
@pytest.mark.parametrize("batch", [1, 4])
def test_features_need_no_library(
    tiny_bundle: Path, recordings: Path, precision: list[str], batch: int, texts: list[str]
) -> None:
    wishes = (tiny_bundle, *precision, "--manifest", recordings, "--batch", batch)
    assert consume("onnxruntime_features", *wishes) == texts


@pytest.mark.parametrize("program", ["onnxruntime", "sherpa_onnx", "transformers"])
@pytest.mark.parametrize("precision", [[], ["--precision", "int8"]])
@pytest.mark.parametrize("batch", [1, 4])
def test_waveforms_are_enough(
    program: str, waveform_bundle: Path, recordings: Path, precision: list[str], batch: int, texts: list[str]
) -> None:
    if program == "transformers" and not has_optimum():
        pytest.skip(
            "optimum-onnx is not installed, and pins an older transformers: let KDCOMPRESS_OPTIMUM_PYTHON "
            "name the interpreter of an environment that has it, onnxruntime and soundfile"
        )
    if program == "sherpa_onnx":
        pytest.importorskip("sherpa_onnx")
    found = consume(program, waveform_bundle, *precision, "--manifest", recordings, "--batch", batch)
    assert found == texts


@pytest.mark.parametrize("precision", [[], ["--precision", "int8"]])
@pytest.mark.parametrize("batch", [1, 4])
def test_kaldis_features_are_what_the_student_heard(
    request: pytest.FixtureRequest, recordings: Path, precision: list[str], batch: int, texts: list[str]
) -> None:
    pytest.importorskip("sherpa_onnx")
    bundle: Path = request.getfixturevalue("kaldi_bundle")  # trained for this test alone
    wishes = (*precision, "--manifest", recordings, "--batch", batch)
    assert consume("sherpa_onnx", bundle, *wishes) == texts
    variant = "int8-dynamic" if precision else "fp32"
    ours = Recognizer(bundle, variant, threads=1)
    assert [ours.transcribe(recordings.parent / f"{i}.wav").text for i in range(3)] == texts[:3]


@pytest.mark.parametrize("precision", [[], ["--int8"], ["--precision", "int4"]])
def test_sherpa_onnx_prints_what_we_do_while_somebody_speaks(
    streaming_bundle: Path, recordings: Path, precision: list[str], texts: list[str]
) -> None:
    pytest.importorskip("sherpa_onnx")
    found = consume("sherpa_onnx", streaming_bundle, *precision, "--manifest", recordings, what="streaming")
    assert found == texts
    variant = {"": "fp32", "--int8": "int8-dynamic", "int4": "int4"}[precision[-1] if precision else ""]
    ours = Recognizer(streaming_bundle, variant, threads=1)
    assert [ours.transcribe(recordings.parent / f"{i}.wav").text for i in range(3)] == texts[:3]


def test_the_tokenizer_of_transformers_prints_what_the_vocabulary_means(waveform_bundle: Path) -> None:
    transformers = pytest.importorskip("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(waveform_bundle)
    ids = [2, 1, 1, 2, 1, 0, 0, 3, 2, 2, 4]  # "aa bc": repeats count once unless a blank is between them
    assert tokenizer.decode(ids).replace("▁", " ") == "aa bc"  # transformers 5 leaves it to the caller
    config = transformers.AutoConfig.from_pretrained(waveform_bundle)
    assert (config.inputs_to_logits_ratio, config.vocab_size, config.pad_token_id) == (640, 6, 2)


def has_optimum() -> bool:
    probe = "import importlib.metadata; importlib.metadata.version('optimum-onnx')"
    return not subprocess.run(
        [OPTIMUM_PYTHON, "-I", "-c", probe], capture_output=True, check=False
    ).returncode


@pytest.mark.parametrize("variant", ["fp32", "int8-dynamic"])
def test_our_own_runtime_agrees(tiny_bundle: Path, recordings: Path, variant: str, texts: list[str]) -> None:
    recognizer = Recognizer(tiny_bundle, variant, threads=1)
    assert [recognizer.transcribe(recordings.parent / f"{i}.wav").text for i in range(3)] == texts[:3]


def test_no_consumer_imports_kdcompress() -> None:
    programs = sorted(CONSUMERS.rglob("*.py"))
    assert len(programs) >= 2
    for program in programs:
        assert "import kdcompress" not in (source := program.read_text())
        assert "from kdcompress" not in source


@pytest.mark.parametrize("bundle", ["streaming_tone_bundle", "streaming_bundle"])
@pytest.mark.parametrize("program", ["sherpa_onnx_streaming", "onnxruntime_streaming"])
def test_text_comes_while_a_file_is_fed(
    request: pytest.FixtureRequest, program: str, bundle: str, recordings: Path, texts: list[str]
) -> None:
    pytest.importorskip(program.removesuffix("_streaming"))
    command = [
        sys.executable,
        "-I",
        CONSUMERS / f"{program}.py",
        request.getfixturevalue(bundle),
        "--partial",
    ]
    done = subprocess.run(
        [*map(str, command), "--manifest", str(recordings)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert [result["text"] for result in results if "text" in result] == texts
    partial = [result["partial"] for result in results if "partial" in result]
    assert partial[:5] == ["a", "ab", "ab c", "ab ca", "ab ca b"]
