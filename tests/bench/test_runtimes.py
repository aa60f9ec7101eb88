"""The same model in several runtimes side by side, and models that none of us exported."""

import json
import shutil
from collections.abc import Callable
from importlib import import_module, util
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import soundfile
from onnx import TensorProto, helper, numpy_helper

from kdcompress.audio.utterance import Reference, Utterance
from kdcompress.bench.combinations import combine, read_runtimes
from kdcompress.bench.models import find_models
from kdcompress.bench.run import run_bench
from kdcompress.bench.runtimes import RUNTIMES
from kdcompress.errors import BundleError, ConfigError, MissingExtra
from kdcompress.report.record import Report

pytestmark = pytest.mark.slow

Say = Callable[[str], npt.NDArray[np.float32]]

TEXTS = ["ab ca b", "c", "ba bb a cab", "cc a"]
ALL = ("kdcompress", "sherpa-onnx", "onnx-asr")


@pytest.fixture(scope="module")
def references(say: Say, tmp_path_factory: pytest.TempPathFactory) -> list[Reference]:
    folder = tmp_path_factory.mktemp("said")
    found = []
    for n, text in enumerate(TEXTS):
        samples = say(text)
        soundfile.write(folder / f"{n}.wav", samples, 16_000)
        found.append(Reference(Utterance(f"u{n}", folder / f"{n}.wav", 0.0, len(samples) / 16_000), text))
    return found


def needs(*modules: str) -> None:
    for module in modules:
        if util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed: pip install 'kdcompress[runtimes]'")


def check(report: Report, names: list[str]) -> None:
    assert [result.name for result in report.results] == names
    for result in report.results:
        assert result.failed is None, result.name
        assert list(result.hypotheses.values()) == TEXTS, result.name
        assert result.bytes
        assert result.facts is not None
        assert result.facts.options
        assert result.memory is not None
        assert result.timing is not None
        assert [(row.threads, row.batch) for row in result.timing.throughput] == [(1, 1), (1, 4)]


def test_a_bundle_says_the_same_in_every_runtime(tiny_bundle: Path, references: list[Reference]) -> None:
    needs("sherpa_onnx", "onnx_asr")
    candidates = combine([tiny_bundle], ALL, ["int8-dynamic"])
    report = run_bench(candidates, references, repeats=1, batches=(1, 4))
    label = f"{tiny_bundle.name} int8-dynamic"
    check(report, [label, f"{label} (sherpa-onnx)", f"{label} (onnx-asr)"])
    facts = [result.facts for result in report.results]
    assert [f.runtime_name for f in facts if f] == list(ALL)
    assert {f.precision for f in facts if f} == {"int8-dynamic"}
    assert facts[1] is not None
    assert facts[1].options["opened_by"] == "from_nemo_ctc"


def bare(bundle: Path, folder: Path, *names: str) -> Path:
    folder.mkdir()
    for name in ("model.onnx", *names):
        shutil.copy(bundle / name, folder / name)
    return folder


def test_a_foreign_directory_runs_in_every_runtime(
    tiny_bundle: Path, references: list[Reference], tmp_path: Path
) -> None:
    needs("sherpa_onnx", "onnx_asr")
    nemo = bare(tiny_bundle, tmp_path / "nemo", "tokens.txt")
    asr = bare(tiny_bundle, tmp_path / "asr", "vocab.txt", "config.json")
    candidates = [
        *combine([nemo], ("kdcompress", "sherpa-onnx")),
        *combine([asr], ("kdcompress", "onnx-asr")),
    ]
    report = run_bench(candidates, references, repeats=1, batches=(1, 4))
    check(report, ["nemo fp32", "nemo fp32 (sherpa-onnx)", "asr fp32", "asr fp32 (onnx-asr)"])
    first = report.results[0]
    assert first.bytes == (nemo / "model.onnx").stat().st_size
    assert first.parameters is not None
    assert first.facts is not None
    assert first.facts.nodes["CPUExecutionProvider"] > 10


@pytest.mark.parametrize("samples", [0, 100, 160, 4000, 16_079, 16_080])
def test_sherpa_onnx_is_fed_so_that_its_frames_are_nemos(tiny_bundle: Path, samples: int) -> None:
    needs("sherpa_onnx")
    from kdcompress.bench.runtimes.sherpa import SherpaCandidate

    fed: list[npt.NDArray[np.float32]] = []
    stream = SimpleNamespace(
        accept_waveform=lambda rate, heard: fed.append(heard), result=SimpleNamespace(text=" a  b ")
    )
    spec = combine([tiny_bundle], ("sherpa-onnx",), ["fp32"])[0].spec
    candidate = SherpaCandidate(spec)
    candidate._recognizer = SimpleNamespace(create_stream=lambda: stream, decode_stream=lambda stream: None)
    sound = np.arange(1, samples + 1, dtype=np.float32)
    assert candidate.recognise([sound]).texts == ("a b",)
    assert not fed[0][:80].any()  # 5 ms
    np.testing.assert_array_equal(fed[0][80:], sound[: max(0, samples // 160 * 160 - 1)])
    # It counts hops that have begun, from the middle of the first on: as many as NeMo counts whole ones.
    assert (len(fed[0]) + 80) // 160 == max(samples // 160, 1)


def test_a_bundle_that_takes_waveforms_runs_in_sherpa_onnx(
    waveform_bundle: Path, references: list[Reference]
) -> None:
    needs("sherpa_onnx")
    candidates = combine([waveform_bundle], ("kdcompress", "sherpa-onnx"), ["fp32"])
    report = run_bench(candidates, references, repeats=1, batches=(1, 4))
    check(report, [f"{waveform_bundle.name} fp32", f"{waveform_bundle.name} fp32 (sherpa-onnx)"])
    assert all(result.facts and result.facts.features_in_model for result in report.results)


@pytest.fixture
def wav2vec2(tmp_path: Path) -> Path:
    """Return a model of one convolution over 20 ms that hears loudness: quiet is blank, loud is a or b."""
    folder = tmp_path / "wave"
    folder.mkdir()
    slope = np.array([0, 2, 3], np.float32)[None, :, None]
    constants = {"bias": np.array([0, -1, -2], np.float32), "slope": slope, "one": np.array([1], np.int64)}
    graph = helper.make_graph(
        [
            helper.make_node("Unsqueeze", ["input_values", "one"], ["channel"]),
            helper.make_node("Abs", ["channel"], ["loud"]),
            helper.make_node("AveragePool", ["loud"], ["mean"], kernel_shape=[320], strides=[320]),
            helper.make_node("Mul", ["mean", "slope"], ["sloped"]),
            helper.make_node("Transpose", ["sloped"], ["frames"], perm=[0, 2, 1]),
            helper.make_node("Add", ["frames", "bias"], ["logits"]),
        ],
        "loudness",
        [helper.make_tensor_value_info("input_values", TensorProto.FLOAT, ["B", "S"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["B", "T", 3])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / "model.onnx")
    (folder / "vocab.json").write_text(json.dumps({"<pad>": 0, "a": 1, "b": 2}))
    (folder / "preprocessor_config.json").write_text(json.dumps({"do_normalize": True}))
    return folder


def test_a_waveform_model_is_fed_normalised_and_heard_alone(wav2vec2: Path, tmp_path: Path) -> None:
    sound = np.zeros(6400, np.float32)
    sound[1600:3200] = 0.001 * np.sign(np.sin(np.arange(1600)))  # quiet, but not once it is normalised
    soundfile.write(tmp_path / "x.wav", sound, 16_000, subtype="FLOAT")
    (model,) = find_models(wav2vec2)
    assert (model.layout, model.normalize, model.precision) == ("waveform", "per_feature", "fp32")
    reference = Reference(Utterance("u", tmp_path / "x.wav", 0.0, 0.4), "b")
    (result,) = run_bench(
        combine([wav2vec2], ("kdcompress",)), [reference], repeats=1, batches=(1, 2)
    ).results
    assert result.failed is None
    assert result.hypotheses == {"u": "b"}
    assert result.facts is not None
    assert result.facts.features_in_model
    assert any("takes one utterance at a time" in note for note in result.notes)


def test_a_graph_that_another_runtime_cannot_open_fails_there(
    tone_bundle: Path, references: list[Reference], tmp_path: Path
) -> None:
    """sherpa-onnx ends the process on a graph without its metadata: reported, and survived."""
    needs("sherpa_onnx")
    folder = bare(tone_bundle, tmp_path / "x")
    (folder / "tokens.txt").write_text("<blk> 0\na 1\nb 2\nc 3\n▁ 4\n")
    good, bad = run_bench(combine([folder], ("kdcompress", "sherpa-onnx")), references, repeats=1).results
    assert good.facts is not None
    assert bad.failed is not None
    assert bad.failed.startswith("cannot be loaded: its process ended")


def test_a_runtime_that_is_not_installed_is_named_with_its_extra(
    tone_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(util, "find_spec", lambda name: None)
    for runtime in ("sherpa-onnx", "onnx-asr"):
        with pytest.raises(
            MissingExtra, match=rf"--runtime {runtime} needs {runtime}.*kdcompress\[runtimes\]"
        ):
            combine([tone_bundle], (runtime,))


def test_what_a_runtime_cannot_run_is_refused(
    tone_bundle: Path, waveform_bundle: Path, wav2vec2: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    needs("sherpa_onnx", "onnx_asr")
    renamed = bare(tiny_bundle, tmp_path / "x", "vocab.txt")
    (renamed / "model.onnx").rename(renamed / "student.onnx")
    for path, runtime, reason in (
        (tone_bundle, "onnx-asr", "normalises what it is given, and this model wants it as it is"),
        (waveform_bundle, "onnx-asr", "its layout is waveform, which onnx-asr does not load"),
        (wav2vec2, "sherpa-onnx", "it has no tokens.txt"),
        (renamed, "onnx-asr", "its graph is called student.onnx"),
    ):
        with pytest.raises(ConfigError, match=reason) as caught:
            combine([path], ("kdcompress", runtime))
        assert "leave it out of --runtime" in str(caught.value)
    with pytest.raises(BundleError, match="is not a bundle"):
        combine([tmp_path], ("kdcompress",))
    (tmp_path / "broken.onnx").write_bytes(b"nonsense")
    (tmp_path / "tokens.txt").write_text("<blk> 0\n")
    with pytest.raises(BundleError, match=r"broken\.onnx is no ONNX graph"):
        combine([tmp_path / "broken.onnx"], ("kdcompress",))


def test_names_of_runtimes() -> None:
    assert read_runtimes(None) == ()
    assert read_runtimes("onnx-asr, kdcompress") == ("onnx-asr", "kdcompress")
    for text in ("onnx", "torch,torch", "kdcompress,tflite"):
        with pytest.raises(ConfigError, match="expected names out of kdcompress, sherpa-onnx"):
            read_runtimes(text)


def test_every_runtime_is_one_module_with_what_the_benchmark_asks_of_it() -> None:
    for name, module in RUNTIMES.items():
        found = import_module(module)
        assert callable(found.build), name
        assert name == "torch" or callable(found.refusal), name


def test_candidates_have_different_names(tone_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / tone_bundle.name).symlink_to(tone_bundle)
    same = combine([tone_bundle, tmp_path / tone_bundle.name], ("kdcompress",), ["fp32"])
    assert [c.name for c in same] == [f"{tone_bundle} fp32", f"{tmp_path / tone_bundle.name} fp32"]
