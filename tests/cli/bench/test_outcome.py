"""`kdcompress bench` after the measurement: comparing, keeping, scoring again, and the gate."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import soundfile
from onnx import numpy_helper

from kdcompress.digests import file_sha256

Say = Callable[[str], npt.NDArray[np.float32]]
Run = Callable[..., tuple[int, str, str]]

TEXTS = ["ab c", "cab", "a c", "b c", "c", "cc a"]


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
def copied(tone_bundle: Path, tmp_path: Path) -> Path:
    """The tone bundle under its own name, to be damaged."""
    return Path(shutil.copytree(tone_bundle, tmp_path / "later" / tone_bundle.name))


def change(bundle: Path, variant: str, edit: Callable[[onnx.ModelProto], None]) -> None:
    """Edit the graph of one variant, as a bad quantization or a slow operator would."""
    data = json.loads((bundle / "bundle.json").read_text())
    file = bundle / data["variants"][variant]["file"]
    model = onnx.load(file)
    edit(model)
    onnx.save(model, file)
    data["variants"][variant] |= {"bytes": file.stat().st_size, "sha256": file_sha256(file)}
    (bundle / "bundle.json").write_text(json.dumps(data))


def deafen(model: onnx.ModelProto) -> None:
    """Let it never hear the token c."""
    bias = next(t for t in model.graph.initializer if t.name == "bias")
    values = numpy_helper.to_array(bias).copy()
    values[3] = -99
    bias.CopyFrom(numpy_helper.from_array(values, "bias"))


def mute(model: onnx.ModelProto) -> None:
    """Let it hear nothing at all."""
    bias = next(t for t in model.graph.initializer if t.name == "bias")
    bias.CopyFrom(numpy_helper.from_array(np.array([99, 0, 0, 0, 0], np.float32), "bias"))


@pytest.mark.slow
def test_a_planted_regression_breaks_the_gate(
    bench: Run, tone_bundle: Path, copied: Path, manifest: Path, tmp_path: Path
) -> None:
    baseline, later = tmp_path / "baseline.json", tmp_path / "later.json"
    assert bench(tone_bundle, "--manifest", manifest, "--json", baseline)[0] == 0
    limits = ("--baseline", baseline, "--max-wer-increase", 0.2)

    change(copied, "int8-dynamic", deafen)
    code, out, err = bench(copied, "--manifest", manifest, *limits, "--json", later)
    assert (code, err) == (3, "")
    name = f"{tone_bundle.name} int8-dynamic"
    (line,) = [line for line in out.splitlines() if "BROKEN" in line]
    assert f"BROKEN {name}: WER 0.00 % in the baseline, " in line
    assert line.endswith("at most +0.20 points allowed")
    data = json.loads(later.read_text())
    (broken,) = [finding for finding in data["gate"]["findings"] if finding["broken"]]
    assert (broken["candidate"], broken["measure"], broken["limit"]) == (name, "wer", 0.2)
    assert broken["low"] > 0.2

    # The same from the two files alone, and the other way round.
    assert bench("--rescore", later, *limits)[0] == 3
    assert bench("--rescore", baseline, "--baseline", later, *limits[2:])[0] == 0
    code, out, err = bench("--rescore", later, *limits, "--json", "-")
    assert code == 3
    assert json.loads(out)["gate"]["broken"]
    assert "BROKEN" in err


def test_a_planted_loss_of_speed_breaks_the_gate(
    bench: Run, tone_bundle: Path, manifest: Path, tmp_path: Path
) -> None:
    steady, slower = tmp_path / "steady.json", tmp_path / "slower.json"
    assert bench(tone_bundle, "--manifest", manifest, "--json", steady)[0] == 0
    data = json.loads(steady.read_text())
    del data["digest"]
    (time,) = [one for one in data["differences"] if one["measure"] == "rtf"]
    # Clocks as this machine's mood had them would make the test depend on it.
    for file, factor in ((steady, 0.5), (slower, 0.8)):
        time.update(value=factor, low=factor / 1.05, high=factor * 1.05)
        file.write_text(json.dumps(data, indent=1))
    limits = ("--max-wer-increase", 0, "--max-rtf-ratio", 1.2)
    code, out, _ = bench("--rescore", slower, "--baseline", steady, *limits)
    assert code == 3
    (line,) = [line for line in out.splitlines() if "BROKEN" in line]
    name = f"{tone_bundle.name} int8-dynamic"
    assert f"BROKEN {name}: 1.600 times the baseline's time [1.493, 1.714], at most 1.20 allowed" in line
    assert f"times are relative to {tone_bundle.name} fp32" in out
    assert bench("--rescore", steady, "--baseline", slower, *limits)[0] == 0


def test_a_candidate_that_is_gone_breaks_the_gate(
    bench: Run, tone_bundle: Path, manifest: Path, tmp_path: Path
) -> None:
    baseline = tmp_path / "baseline.json"
    few = ("--manifest", manifest, "--repeats", 1)
    assert bench(tone_bundle, *few, "--json", baseline)[0] == 0
    code, out, _ = bench(tone_bundle, *few, "--variant", "fp32", "--baseline", baseline)
    assert code == 3
    assert f"BROKEN {tone_bundle.name} int8-dynamic is in the baseline, but not in this report" in out


def test_what_cannot_be_judged_is_one_line_and_costs_no_report(
    bench: Run, tone_bundle: Path, manifest: Path, tmp_path: Path
) -> None:
    baseline, later = tmp_path / "baseline.json", tmp_path / "later.json"
    few = (tone_bundle, "--manifest", manifest, "--repeats", 1, "--variant", "fp32")
    assert bench(*few, "--json", baseline)[0] == 0
    code, _, err = bench(*few, "--baseline", baseline, "--max-rtf-ratio", 1.1, "--json", later)
    assert code == 1
    assert "--max-rtf-ratio cannot be judged" in err
    assert "1 timed passes give no interval" in err
    assert len(err.splitlines()) == 1
    assert json.loads(later.read_text())["results"][0]["timing"]
    (tmp_path / "broken.json").write_text("{")
    for bad, message in (
        (tmp_path / "none", "cannot read the report"),
        (tmp_path / "broken.json", "not JSON"),
    ):
        # Known before anything is measured.
        code, out, err = bench(*few, "--baseline", bad)
        assert (code, out) == (1, "")
        assert message in err
        assert len(err.splitlines()) == 1


def test_hypotheses_are_written_and_scored_again(
    bench: Run, tone_bundle: Path, manifest: Path, tmp_path: Path
) -> None:
    texts, report, again = (tmp_path / name for name in ("h.jsonl", "report.json", "again.json"))
    few = ("--manifest", manifest, "--repeats", 1, "--json", report, "--hypotheses", texts)
    assert bench(tone_bundle, *few)[0] == 0
    code, out, err = bench("--rescore", texts, "--json", again)
    assert (code, err) == (0, "")
    assert "scored again, no model was run" in out
    first, second = (json.loads(path.read_text()) for path in (report, again))
    for one, other in zip(first["results"], second["results"], strict=True):
        assert one["accuracy"] == other["accuracy"]
        assert one["agreement"] == other["agreement"]
    assert [one for one in first["differences"] if one["measure"] != "rtf"] == second["differences"]
    code, out, _ = bench(
        "--rescore", report, "--normalizer", "english", "--hypotheses", tmp_path / "h2.jsonl"
    )
    assert code == 0
    assert "normaliser english v1" in out
    assert (tmp_path / "h2.jsonl").read_text() == texts.read_text()


def test_references_in_another_case_are_caught(bench: Run, tone_bundle: Path, manifest: Path) -> None:
    few = (tone_bundle, "--manifest", manifest, "--repeats", 1, "--variant", "fp32")
    code, out, _ = bench(*few, "--normalizer", "none")
    assert code == 0
    assert "100.00" in out
    assert f"{tone_bundle.name} fp32: letter case alone makes 10 of 10 word errors" in out
    assert "letter case" not in bench(*few)[1]


def test_a_folder_is_compared_without_transcripts(
    bench: Run, tone_bundle: Path, copied: Path, manifest: Path, tmp_path: Path
) -> None:
    change(copied, "int8-dynamic", deafen)
    names = [f"{tone_bundle.name} {variant}" for variant in ("fp32", "int8-dynamic")]
    report = tmp_path / "report.json"
    arguments = (copied, "--audio", manifest.parent, "--repeats", 1, "--json", report)
    code, out, err = bench(*arguments, "--reference", names[1])
    assert code == 0
    assert "has no transcripts: no error rates" in err
    assert "Differences" in out
    assert names[1] in out
    data = json.loads(report.read_text())
    assert [result["accuracy"] for result in data["results"]] == [None, None]
    agreement = data["results"][0]["agreement"]
    assert agreement["reference"] == data["settings"]["reference"] == names[1]
    assert (agreement["same"], data["results"][1]["agreement"]) == (0.0, None)
    assert {utterance["reference"] for utterance in data["utterances"]} == {None}
    assert [one["measure"] for one in data["differences"]] == ["rtf"]
    code, _, err = bench("--rescore", report, "--baseline", report, "--max-wer-increase", 1)
    assert code == 1
    assert "without references there are no word errors to compare" in err


def test_silence_throughout_is_a_failure_unless_a_manifest_says_so(
    bench: Run, copied: Path, manifest: Path
) -> None:
    change(copied, "fp32", mute)
    code, out, _ = bench(copied, "--audio", manifest.parent, "--repeats", 1)
    assert code == 1
    assert "every transcript is empty, though no manifest says, with empty texts, that all is silence" in out


def test_wrong_usage_is_told_apart(bench: Run, tone_bundle: Path, manifest: Path) -> None:
    for arguments, message in (
        ((tone_bundle,), "Give one of --manifest and --audio"),
        (
            (tone_bundle, "--manifest", manifest, "--audio", manifest.parent),
            "Give one of --manifest and --audio",
        ),
        ((tone_bundle, "--rescore", manifest), "it takes no bundle, teacher or audio"),
        ((tone_bundle, "--manifest", manifest, "--max-wer-increase", 1), "give --baseline"),
        (
            (tone_bundle, "--manifest", manifest, "--baseline", manifest, "--max-rtf-ratio", 0),
            "--max-rtf-ratio",
        ),
    ):
        code, out, err = bench(*arguments)
        assert (code, out) == (2, ""), arguments
        assert message in " ".join(err.replace("│", " ").split()), arguments
    code, _, err = bench(tone_bundle, "--manifest", manifest, "--reference", "x")
    assert code == 1
    assert "no candidate 'x' to compare with; there are" in err


def test_the_exit_codes_are_in_the_help(bench: Run) -> None:
    code, out, _ = bench("--help")
    assert code == 0
    assert "3 a limit is broken" in " ".join(out.split())
