import inspect
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import soundfile

from kdcompress.cli.start import main
from kdcompress.digests import file_sha256, sealed
from kdcompress.graph import write
from kdcompress.locks import locked
from kdcompress.runtime.bundle import open_bundle
from kdcompress.verify import consumers

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tiny_bundle: Path) -> Run:
    """Run the command, with tracing already done; returns exit code, standard output and standard error."""
    monkeypatch.setattr(write, "trace", lambda *_: onnx.load(str(tiny_bundle / "model.onnx")))

    def command(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["kdcompress", "export", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), *capfd.readouterr()

    return command


def test_the_table_names_each_variant_and_the_bundle_opens(
    run: Run, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    code, out, err = run(tiny_checkpoint, "--out", tmp_path / "mine")
    assert (code, err) == (0, "")
    heading, fp32, int8, last = out.splitlines()
    assert heading.split()[:2] == ["variant", "file"]
    assert fp32.split()[:3] == ["fp32", "model.onnx", "torch,"]
    assert int8.split()[:3] == ["int8-dynamic", "model.int8.onnx", "fp32,"]
    assert "100.00%" in fp32
    assert last == f"wrote {tmp_path / 'mine'}"
    assert list(open_bundle(tmp_path / "mine", verify=True).variants) == ["fp32", "int8-dynamic"]


def test_quantize_none_is_fp32_alone(run: Run, tiny_checkpoint: Path, tmp_path: Path) -> None:
    assert run(tiny_checkpoint, "--out", tmp_path / "mine", "--quantize", "none")[0] == 0
    assert list(open_bundle(tmp_path / "mine").variants) == ["fp32"]


def test_a_bundle_that_is_there_is_kept_unless_told_otherwise(
    run: Run, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    wishes = (tiny_checkpoint, "--out", tmp_path / "mine", "--quantize", "none")
    assert run(*wishes)[0] == 0
    code, out, err = run(*wishes)
    assert (code, out) == (1, "")
    assert (
        err
        == f"error: {tmp_path / 'mine'} already holds a bundle; choose another --out or give --overwrite\n"
    )
    assert run(*wishes, "--overwrite")[0] == 0


def test_wrong_usage_is_exit_code_2(run: Run, tiny_checkpoint: Path, tmp_path: Path) -> None:
    for option, value in (("--quantize", "int5"), ("--max-bytes", "small"), ("--profile", "web")):
        code, _, err = run(tiny_checkpoint, "--out", tmp_path / "mine", option, value)
        assert code == 2
        assert value in err


@pytest.mark.slow
def test_verifying_prints_a_table_and_ends_with_what_failed(
    run: Run, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers, "_version", lambda *_: None)  # the runtimes have their own tests
    mine = Path(shutil.copytree(tiny_bundle, tmp_path / "mine"))
    code, out, err = run(mine, "--verify")
    assert (code, err) == (0, "")
    rows = {tuple(line.split()[:2]): line.split()[2] for line in out.splitlines()[1:]}
    assert rows["padding", "fp32"] == rows["selftest", "int8-dynamic"] == "passed"
    assert rows["sherpa-onnx", "fp32"] == "skipped"
    selftest = mine / "selftest.json"
    selftest.write_text(selftest.read_text().replace('"mean_log_prob": -', '"mean_log_prob": -9'))
    record = json.loads((mine / "bundle.json").read_text())
    record["files"]["selftest.json"] = file_sha256(selftest)
    del record["digest"]
    (mine / "bundle.json").write_text(json.dumps(sealed(record)))
    code, out, err = run(mine, "--verify")
    assert code == 1
    assert "FAILED" in out
    assert err.startswith(f"error: {mine} fails the check selftest of fp32: the mean log-probability is off")
    assert len(err.splitlines()) == 1


def test_a_run_needs_a_place_and_an_interpreter_must_exist(
    run: Run, tiny_checkpoint: Path, tiny_bundle: Path
) -> None:
    for wishes in ((tiny_checkpoint,), (tiny_checkpoint, "--verify"), (tiny_bundle,)):
        code, _, err = run(*wishes)
        assert code == 2
        assert "--out BUNDLE" in err
    code, _, err = run(tiny_bundle, "--verify", "--python", "transformers=nowhere")
    assert code == 2
    assert "RUNTIME=PATH" in err


def test_what_is_no_run_or_cannot_be_written_is_one_line(
    run: Run, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("not a folder")
    for wishes in (
        (tmp_path / "nowhere", "--out", tmp_path / "mine"),
        (tiny_checkpoint, "--out", tmp_path / "file"),
        (tiny_checkpoint, "--out", tmp_path / "file" / "mine"),
    ):
        code, out, err = run(*wishes)
        assert (code, out) == (1, "")
        assert err.startswith("error: ")
        assert len(err.splitlines()) == 1


def test_one_process_writes_a_bundle(run: Run, tiny_checkpoint: Path, tmp_path: Path) -> None:
    with locked(tmp_path / "mine", beside=True):
        code, _, err = run(tiny_checkpoint, "--out", tmp_path / "mine")
        assert (code, err.count("\n")) == (1, 1)
        assert "mine is being written by process " in err
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_sigterm_leaves_nothing_half_written(tiny_checkpoint: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "kdcompress",
        "export",
        str(tiny_checkpoint),
        "--out",
        str(tmp_path / "mine"),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as export:
        while not list(tmp_path.iterdir()) and export.poll() is None:
            time.sleep(0.02)
        export.send_signal(signal.SIGTERM)
        assert export.wait(60) == 143
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def recordings(tmp_path: Path, say: Callable[[str], npt.NDArray[np.float32]]) -> Path:
    folder = tmp_path / "recordings"
    folder.mkdir()
    for index, text in enumerate(("ab c", "c ba", "a cb b")):
        soundfile.write(folder / f"{index}.wav", say(text), 16_000)
    return folder


@pytest.mark.slow
def test_hardware_names_choose_presets_and_auto_says_what_it_tried(
    run: Run, tiny_checkpoint: Path, tmp_path: Path, recordings: Path
) -> None:
    wishes = ("--quantize", "gpu", "--quantize", "cpu-vnni", "--quantize", "auto", "--audio", recordings)
    budget = ("--max-kl", "0.05", "--max-disagreement", "0.5", "--prefer", "size", "--blank-bias", "auto")
    code, out, err = run(tiny_checkpoint, "--out", tmp_path / "mine", *wishes, *budget)
    assert (code, err) == (0, "")
    bundle = open_bundle(tmp_path / "mine", verify=True)
    assert list(bundle.variants) == ["fp32", "int8-dynamic", "fp16", "auto"]
    assert bundle.variant().name == "auto"
    assert "auto tried, within KL 0.05 and 50.00% of the words changed (preferring size)" in out
    assert f" * {bundle.provenance['auto']['chosen']}: " in out
    assert "int8-dynamic: blank bias " in out
    assert (tmp_path / "mine" / "auto.png").is_file()
    card = (tmp_path / "mine" / "README.md").read_text("utf-8")
    assert 'quantization="auto"' in card
    assert ("only runtimes built on onnxruntime load it" in out) == ("onnxruntime alone has" in card)


@pytest.mark.slow
def test_nothing_within_the_budget_leaves_fp32_and_says_so(
    run: Run, tiny_checkpoint: Path, tmp_path: Path, recordings: Path
) -> None:
    wishes = ("--quantize", "auto", "--max-kl", "0", "--audio", recordings)
    code, out, _ = run(tiny_checkpoint, "--out", tmp_path / "mine", *wishes)
    assert code == 0
    assert "nothing within the budget: the student stays fp32" in out
    assert list(open_bundle(tmp_path / "mine").variants) == ["fp32"]


def test_what_listens_wants_audio(run: Run, tiny_checkpoint: Path, tmp_path: Path) -> None:
    for wish in (("--quantize", "int8-static"), ("--quantize", "auto"), ("--blank-bias", "auto")):
        code, _, err = run(tiny_checkpoint, "--out", tmp_path / "mine", *wish)
        assert code == 1
        assert "give --audio" in err
    code, _, err = run(tiny_checkpoint, "--out", tmp_path / "mine", "--blank-bias", "much")
    assert code == 2
    assert "much" in err
    assert not (tmp_path / "mine").exists()


def test_the_budget_of_the_command_is_that_of_the_library() -> None:
    from kdcompress.cli.export.command import export
    from kdcompress.quantize.auto.budget import Budget
    from kdcompress.quantize.variants import Options

    defaults = {name: parameter.default for name, parameter in inspect.signature(export).parameters.items()}
    assert Budget() == Budget(*(defaults[key] for key in ("max_kl", "max_disagreement", "prefer")))
    assert (Options().calibration, Options().blank_bias) == (defaults["calibration"], defaults["blank_bias"])
