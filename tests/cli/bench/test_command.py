import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import soundfile

from kdcompress.digests import file_sha256

Say = Callable[[str], npt.NDArray[np.float32]]
Run = Callable[..., tuple[int, str, str]]

TEXTS = ["ab c", "cab", "a", "b c"]


@pytest.fixture(scope="module")
def manifest(say: Say, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("test-set")
    lines = []
    for n, text in enumerate(TEXTS):
        soundfile.write(folder / f"{n}.wav", say(text), 16_000)
        lines.append(json.dumps({"audio_filepath": f"{n}.wav", "text": text.upper()}))
    (folder / "test.jsonl").write_text("\n".join(lines))
    return folder / "test.jsonl"


@pytest.fixture
def mute_bundle(tone_bundle: Path, tmp_path: Path) -> Path:
    """A bundle that never says anything."""
    folder = Path(shutil.copytree(tone_bundle, tmp_path / "mute"))
    data = json.loads((folder / "bundle.json").read_text())
    for variant in data["variants"].values():
        model = onnx.load(folder / variant["file"])
        bias = next(t for t in model.graph.initializer if t.name == "bias")
        bias.CopyFrom(onnx.numpy_helper.from_array(np.array([99, 0, 0, 0, 0], np.float32), "bias"))
        onnx.save(model, folder / variant["file"])
        file = folder / variant["file"]
        variant |= {"bytes": file.stat().st_size, "sha256": file_sha256(file)}
    (folder / "bundle.json").write_text(json.dumps(data))
    return folder


def test_variants_stand_side_by_side(bench: Run, tone_bundle: Path, manifest: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    code, out, err = bench(tone_bundle, "--manifest", manifest, "--repeats", 1, "--json", report)
    assert (code, err) == (0, "")
    assert f"{tone_bundle.name} fp32" in out
    assert f"{tone_bundle.name} int8-dynamic" in out
    assert "0.00" in out
    data = json.loads(report.read_text())
    assert data["settings"]["source"] == str(manifest)
    assert [result["accuracy"]["wer"]["reference"] for result in data["results"]] == [6, 6]
    assert [result["facts"]["threads"] for result in data["results"]] == [1, 1]


def test_the_report_can_go_to_standard_output(bench: Run, tone_bundle: Path, manifest: Path) -> None:
    arguments = ("--manifest", manifest, "--repeats", 1, "--limit", 2, "--variant", "fp32", "--json", "-")
    code, out, _ = bench(tone_bundle, *arguments, "--threads", 2)
    assert code == 0
    data = json.loads(out)
    assert data["settings"]["utterances"] == 2
    assert data["results"][0]["hypotheses"] == {"0": "ab c", "1": "cab"}
    assert data["results"][0]["facts"]["threads"] == 2


def test_settings_of_throughput_are_in_table_and_report(
    bench: Run, tone_bundle: Path, manifest: Path, tmp_path: Path
) -> None:
    report = tmp_path / "report.json"
    core = min(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    arguments = ("--variant", "fp32", "--repeats", 1, "--threads", "1,2", "--batch", "1, 2", "--json", report)
    pin = ("--pin", "none" if core is None else core)
    code, out, err = bench(tone_bundle, "--manifest", manifest, *arguments, *pin)
    assert (code, err) == (0, "")
    for expected in ("batch of 2", "CPU s/h", "peak"):
        assert expected in out
    if core is not None:
        assert f"pinned to {core}" in out
    data = json.loads(report.read_text())
    assert data["schema"] == 2
    settings = data["settings"]
    assert (settings["threads"], settings["batches"], settings["seed"]) == ([1, 2], [1, 2], 0)
    assert settings["affinity"] == (None if core is None else [core])
    (result,) = data["results"]
    timing = result["timing"]
    assert [(row["threads"], row["batch"]) for row in timing["throughput"]] == [
        (1, 1),
        (1, 2),
        (2, 1),
        (2, 2),
    ]
    assert {"from", "to", "utterances", "p50", "p90", "p99"} == set(timing["buckets"][0])
    assert timing["rtfx"]["median"] == pytest.approx(1 / timing["rtf"]["median"])
    assert timing["first_result_seconds"] > timing["load_seconds"] > 0
    assert timing["cpu_seconds_per_hour"] > 0
    assert timing["bimodal"] is None
    assert set(result["memory"]) == {"peak_rss_bytes", "model_rss_bytes", "gpu_bytes"}
    assert (result["facts"]["runtime_name"], result["facts"]["precision"]) == ("kdcompress", "fp32")
    assert result["facts"]["options"]["intra_op_num_threads"] == "1"
    assert Path(data["utterances"][0]["audio"]) == manifest.parent / "0.wav"


@pytest.mark.slow
def test_a_student_in_torch_stands_beside_its_bundle(
    bench: Run, tiny_checkpoint: Path, tiny_bundle: Path, manifest: Path
) -> None:
    arguments = ("--manifest", manifest, "--repeats", 1, "--variant", "fp32", "--json", "-")
    code, out, _ = bench(
        tiny_checkpoint, tiny_bundle, *arguments, "--runtime", "torch,kdcompress", "--batch", "1,2"
    )
    assert code == 0
    first, second = json.loads(out)["results"]
    assert (first["name"], second["name"]) == (f"{tiny_checkpoint.name} (torch)", f"{tiny_bundle.name} fp32")
    assert (first["facts"]["runtime_name"], second["facts"]["runtime_name"]) == ("torch", "kdcompress")
    assert first["hypotheses"] == second["hypotheses"]
    assert first["parameters"] == second["parameters"] > 0
    assert [row["batch"] for row in first["timing"]["throughput"]] == [1, 2]
    assert first["memory"]["peak_rss_bytes"] > second["memory"]["peak_rss_bytes"]


def test_runtimes_that_do_not_fit_are_one_line(
    bench: Run, tiny_checkpoint: Path, tone_bundle: Path, manifest: Path
) -> None:
    for arguments, message in (
        (
            (tone_bundle, "--runtime", "kaldi"),
            "expected names out of kdcompress, sherpa-onnx, onnx-asr, torch",
        ),
        ((tone_bundle, "--runtime", "torch"), "name one beside the bundles"),
        ((tiny_checkpoint, tone_bundle, "--runtime", "torch"), "does not run in torch: name the run"),
        ((tiny_checkpoint, "--runtime", "onnx-asr"), "runs in torch: add it to --runtime onnx-asr"),
        ((tone_bundle, "--pin", "x"), "--pin takes auto, none or cores"),
    ):
        code, out, err = bench(*arguments, "--manifest", manifest)
        assert (code, out) == (1, ""), arguments
        assert message in err
        assert len(err.splitlines()) == 1
    for option in ("--threads", "--batch"):
        assert bench(tone_bundle, "--manifest", manifest, option, "1,0")[0] == 2


@pytest.mark.slow
def test_a_mute_model_fails_and_the_other_is_still_measured(
    bench: Run, tone_bundle: Path, mute_bundle: Path, manifest: Path
) -> None:
    arguments = ("--manifest", manifest, "--repeats", 1, "--variant", "fp32")
    code, out, _ = bench(mute_bundle, tone_bundle, *arguments)
    assert code == 1
    assert "mute fp32 failed and was not timed: every transcript is empty, though 4 references are not" in out
    assert "0.0 to 0.0" in out


def test_nothing_is_measured_where_the_report_cannot_be_written(
    bench: Run, tone_bundle: Path, manifest: Path, tmp_path: Path
) -> None:
    code, out, err = bench(tone_bundle, "--manifest", manifest, "--json", tmp_path / "none" / "report.json")
    assert (code, out) == (1, "")
    assert "does not exist; create it first" in err


def test_bad_input_is_one_line(bench: Run, tone_bundle: Path, manifest: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.jsonl"
    broken.write_text("not json\n")
    missing = tmp_path / "missing.jsonl"
    missing.write_text('{"audio_filepath": "gone.wav", "text": "a"}\n')
    for arguments, message in (
        ((tone_bundle, "--manifest", broken), "broken.jsonl:1: not JSON"),
        ((tone_bundle, "--manifest", missing), "gone.wav"),
        ((tone_bundle, "--manifest", tmp_path / "none.jsonl"), "none.jsonl"),
        (("--manifest", manifest), "nothing to measure"),
        ((tmp_path, "--manifest", manifest), "is not a bundle"),
        ((tone_bundle, "--manifest", manifest, "--teacher", tmp_path / "no teacher"), "no teacher"),
        ((tone_bundle, "--manifest", manifest, "--variant", "int4"), "no variant 'int4'"),
    ):
        code, out, err = bench(*arguments)
        assert (code, out) == (1, ""), arguments
        assert message in err
        assert len(err.splitlines()) == 1
    assert bench(tone_bundle)[0] == 2
