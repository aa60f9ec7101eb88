"""A bundle is what it says, or the check that finds out otherwise says so."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import soundfile
from onnx import numpy_helper

from kdcompress.config.profile import Consumer
from kdcompress.digests import file_sha256
from kdcompress.errors import ConfigError
from kdcompress.runtime.bundle import FP32, open_bundle
from kdcompress.verify import consumers
from kdcompress.verify.consumers import character_difference, run_consumer
from kdcompress.verify.verify import verify_bundle

Say = Callable[[str], npt.NDArray[np.float32]]


@pytest.fixture
def copy(tiny_bundle: Path, tmp_path: Path) -> Path:
    """Return a copy of the tiny bundle with its fp32 variant alone."""
    folder = Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
    record = json.loads((folder / "bundle.json").read_text("utf-8"))
    del record["variants"]["int8-dynamic"], record["digest"]
    (folder / "bundle.json").write_text(json.dumps(record), "utf-8")
    return folder


@pytest.fixture
def spoken(tmp_path: Path, say: Say) -> Path:
    (tmp_path / "audio").mkdir()
    for text in ("ab ca b", "c"):
        soundfile.write(tmp_path / "audio" / f"{text}.wav", say(text), 16_000)
    return tmp_path / "audio"


def change(folder: Path, alter: Callable[[onnx.ModelProto], None]) -> None:
    """Alter a bundle's graph and let its record say that this is right."""
    path = folder / "model.onnx"
    model = onnx.load(str(path))
    alter(model)
    onnx.save(model, str(path))
    record = json.loads((folder / "bundle.json").read_text("utf-8"))
    record["variants"]["fp32"] |= {"sha256": file_sha256(path), "bytes": path.stat().st_size}
    (folder / "bundle.json").write_text(json.dumps(record), "utf-8")


def test_a_good_bundle_passes_and_says_so_itself(copy: Path, spoken: Path) -> None:
    steps: list[tuple[str, int, int]] = []
    bundle, found = verify_bundle(copy, spoken, on_progress=lambda *step: steps.append(step))
    assert found.passed, found.checks
    by_name = {check.what: check for check in found.checks}
    assert list(by_name)[:4] == ["lengths", "padding", "selftest", "silence"]
    assert by_name["silence"].detail.startswith("a second before and after changes ")
    assert by_name["onnxruntime"].same == 1.0
    assert by_name["onnxruntime"].detail.startswith("2 of 2 transcripts")
    assert steps[-1][1:] == (len(found.checks), len(found.checks))
    kept = open_bundle(copy, verify=True)
    assert kept.verification == bundle.verification == json.loads(json.dumps(found.to_json()))
    assert kept.verification["passed"] is True


@pytest.mark.slow
def test_waveforms_pass_too(waveform_bundle: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(waveform_bundle, tmp_path / "bundle"))
    _, found = verify_bundle(folder)
    assert found.passed, found.checks
    assert found.audio == "rendered sound"
    # Its requirements conflict with those of the newest transformers: it is rarely there.
    assert {check.what for check in found.checks} >= {"onnxruntime", "sherpa-onnx", "transformers"}


def test_another_model_than_the_one_that_was_tested(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumers, "_version", lambda *_: None)

    def shift_bias(model: onnx.ModelProto) -> None:
        head = next(t for t in reversed(model.graph.initializer) if list(t.dims) == [6])
        head.CopyFrom(
            numpy_helper.from_array(numpy_helper.to_array(head) + np.float32([9, 0, 0, 0, 0, 0]), head.name)
        )

    change(copy, shift_bias)
    _, found = verify_bundle(copy)
    failed = {check.what: check.detail for check in found.checks if check.passed is False}
    assert set(failed) == {"selftest"}
    assert "mean log-probability is off" in failed["selftest"]
    assert open_bundle(copy).verification["passed"] is False
    assert {check.detail.partition(" ")[2] for check in found.checks if check.passed is None} == {
        "is not installed"
    }


def test_a_graph_that_hears_the_padding(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumers, "_version", lambda *_: None)

    def ignore_lengths(model: onnx.ModelProto) -> None:
        # Every utterance counts as long as the whole batch.
        graph = model.graph
        for node in graph.node:
            node.input[:] = ["whole" if name == "length" else name for name in node.input]
        ones = numpy_helper.from_array(np.array([0], np.int64), "nothing")
        graph.initializer.append(ones)
        shape = onnx.helper.make_node("Shape", ["audio_signal"], ["frames"], start=2, end=3)
        none = onnx.helper.make_node("Mul", ["length", "nothing"], ["zeros"])
        graph.node.insert(0, onnx.helper.make_node("Add", ["zeros", "frames"], ["whole"]))
        graph.node.insert(0, none)
        graph.node.insert(0, shape)

    change(copy, ignore_lengths)
    _, found = verify_bundle(copy)
    assert [check.what for check in found.checks if check.passed is False] == ["padding"]


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("print('{}')", "printed no transcripts"),
        ("raise SystemExit('no such graph')", "exit code 1: no such graph"),
    ],
)
def test_a_runtime_that_fails_is_quoted(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, complaint: str
) -> None:
    (tmp_path / "program.py").write_text(source)
    monkeypatch.setattr(consumers, "consumer_path", lambda name: tmp_path / name)
    consumer = Consumer(runtime="this", package="numpy", program="program.py", features="same")
    bundle = open_bundle(copy)
    heard = run_consumer(consumer, bundle, bundle.variant(FP32), tmp_path / "none.jsonl", {})
    assert heard.texts is None
    assert heard.version == np.__version__
    assert complaint in heard.failure


def test_a_program_tells_what_no_package_does(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers, "consumer_path", lambda name: tmp_path / name)
    consumer = Consumer(runtime="this", package=None, program="program.py", features="same")
    bundle = open_bundle(copy)
    found = []
    for version in ("print('1.2.3')", "sys.stderr.write('no browser: install one'); sys.exit(77)"):
        lines = [
            "import sys",
            "if '--version' in sys.argv:",
            f"    {version}",
            "else:",
            '    print(\'{"text": "c"}\')',
        ]
        (tmp_path / "program.py").write_text("\n".join(lines))
        heard = run_consumer(consumer, bundle, bundle.variant(FP32), tmp_path / "none.jsonl", {})
        found.append((heard.texts, heard.version, heard.failure))
    assert found == [(("c",), "1.2.3", ""), (None, None, "no browser: install one")]


@pytest.mark.slow
def test_a_runtime_that_says_something_else_fails(
    copy: Path, spoken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "deaf.py").write_text(
        'for line in open(__import__("sys").argv[-1]): print(\'{"text": "c"}\')'
    )
    monkeypatch.setattr(consumers, "consumer_path", lambda name: tmp_path / "deaf.py")
    _, found = verify_bundle(copy, spoken)
    failed = [check for check in found.checks if check.passed is False]
    assert failed
    assert all("of the characters differ" in check.detail for check in failed)


def test_another_interpreter_can_be_named(copy: Path, spoken: Path) -> None:
    consumer = Consumer(
        runtime="nowhere", package="nowhere", program="onnxruntime_features_transcribe.py", features="same"
    )
    bundle = open_bundle(copy)
    for pythons in ({}, {"nowhere": Path(sys.executable + "3")}):
        assert run_consumer(consumer, bundle, bundle.variant(FP32), spoken, pythons).texts is None
    with pytest.raises(ConfigError, match="has no runtime 'whisper'"):
        verify_bundle(copy, None, {"whisper": Path(sys.executable)})


def test_differences_are_counted_in_characters() -> None:
    assert character_difference([], []) == 0
    assert character_difference(["ab", ""], ["ab", ""]) == 0
    assert character_difference(["abcd", ""], ["abcd", "x"]) == pytest.approx(1 / 7)
    assert character_difference([""], ["x"]) > 0
