from collections.abc import Callable
from pathlib import Path
from shutil import copy
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest

from kdcompress.errors import ConfigError
from kdcompress.frontend.logmel_numpy import log_mel
from kdcompress.quantize import variants
from kdcompress.quantize.apply import quantize as really_quantize
from kdcompress.quantize.auto.budget import Budget
from kdcompress.quantize.blank_bias import blank_rate, fold_blank_bias
from kdcompress.quantize.census import OpCensus
from kdcompress.quantize.variants import Audio, Options, Variants, write_variants
from kdcompress.runtime.bundle import open_bundle
from kdcompress.runtime.compare import posteriors
from kdcompress.runtime.session import GraphSession

BLANK = 2
Write = Callable[..., Variants]


@pytest.fixture(scope="session")
def audio(say: Callable[[str], npt.NDArray[np.float32]]) -> Audio:
    features = [log_mel(say(text)) for text in ("ab c", "c ba", "a cb b", "bca")]
    feeds = [{"audio_signal": f.T[None].copy(), "length": np.array([len(f)])} for f in features]
    return Audio(feeds, "tones")


@pytest.fixture
def write(tiny_bundle: Path, tmp_path: Path, audio: Audio) -> Write:
    copy(tiny_bundle / "model.onnx", tmp_path / "model.onnx")
    vocabulary = open_bundle(tiny_bundle).vocabulary

    def run(*presets: str, **options: Any) -> Variants:
        how = Options(threads=1, measure_files=False, **options)
        silent = lambda *_: None  # noqa: E731  # nothing is shown
        return write_variants(tmp_path / "model.onnx", presets, audio, vocabulary, how, silent, silent)

    return run


def rate(path: Path, audio: Audio) -> float:
    return blank_rate(posteriors(GraphSession(path, threads=1), audio.feeds), BLANK)


@pytest.mark.slow
def test_every_preset_is_written_measured_and_named(write: Write, tmp_path: Path) -> None:
    presets = ("int8-dynamic", "int8-reduced", "int8-static", "int8-weights", "int4-weights", "fp16")
    made = write(*presets)
    assert list(made.variants) == ["fp32", *presets]
    assert {path.name for path in tmp_path.iterdir()} == {v.file for v in made.variants.values()}
    assert made.variants["int8-dynamic"].file == "model.int8.onnx"
    for name in presets:
        figures = made.parity[name]
        assert figures["kl"] < (0.3 if name == "int4-weights" else 0.02), name
        assert figures["words"] == made.parity["fp16"]["words"] > 0
        assert figures["disagreement"] >= 0
        assert made.variants[name].bytes < made.variants["fp32"].bytes
    assert made.parity["int4-weights"]["domains"] == ["com.microsoft"]
    assert made.variants["int4-weights"].ops["com.microsoft.MatMulNBits"] > 5
    assert made.parity["int8-static"]["domains"] == []
    assert made.parity["int4-weights"]["kl"] > made.parity["int8-weights"]["kl"]


def test_a_planted_blank_shift_is_found_and_repaired(
    write: Write, audio: Audio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(model: Path, preset: Any, out: Path, **rest: Any) -> OpCensus:
        counted = really_quantize(model, preset, out, **rest)
        shifted = onnx.load(str(out))
        fold_blank_bias(shifted, BLANK, 4.0)
        onnx.save(shifted, str(out))
        return counted

    monkeypatch.setattr(variants, "quantize", broken)
    wanted = rate(tmp_path / "model.onnx", audio)
    sick = write("int8-dynamic").parity["int8-dynamic"]
    assert sick["blank_rate"] > wanted + 0.02
    assert sick["deletions"] + sick["insertions"] + sick["disagreement"] > 0
    figures = write("int8-dynamic", blank_bias="auto").parity["int8-dynamic"]
    assert figures["blank_bias"]["value"] == pytest.approx(-4.0, abs=1.5)
    assert figures["blank_bias"]["before"]["blank_rate"] == sick["blank_rate"]
    assert figures["blank_rate"] == pytest.approx(wanted, abs=1e-6)
    assert figures["kl"] < sick["kl"] / 5
    assert rate(tmp_path / "model.int8.onnx", audio) == pytest.approx(wanted, abs=1e-9)


def test_a_given_bias_goes_into_every_graph(write: Write, audio: Audio, tmp_path: Path) -> None:
    before = rate(tmp_path / "model.onnx", audio)
    made = write("int8-dynamic", blank_bias=5.0)
    assert made.parity["fp32"]["blank_bias"]["value"] == 5.0
    assert rate(tmp_path / "model.onnx", audio) > before
    assert rate(tmp_path / "model.int8.onnx", audio) > before
    assert made.parity["int8-dynamic"]["kl"] < 0.02  # against the fp32 graph that has it, too
    assert "blank_bias" not in made.parity["int8-dynamic"]


def test_the_teachers_rate_is_reached_by_the_float_graph_and_the_others(
    write: Write, audio: Audio, tmp_path: Path
) -> None:
    before = rate(tmp_path / "model.onnx", audio)
    made = write("int8-dynamic", blank_bias="teacher", teacher_shift=-0.05)
    frames = made.parity["int8-dynamic"]["frames"]
    for file in ("model.onnx", "model.int8.onnx"):
        assert rate(tmp_path / file, audio) == pytest.approx(before - 0.05, abs=1.01 / frames)
    assert made.parity["fp32"]["blank_bias"]["value"] < 0
    assert made.parity["fp32"]["blank_rate_on_audio"] == rate(tmp_path / "model.onnx", audio)


def test_auto_without_a_way_leaves_fp32(write: Write, tmp_path: Path) -> None:
    made = write("auto", budget=Budget(max_kl=0.0))
    assert list(made.variants) == ["fp32"]
    assert made.search is not None
    assert made.search["chosen"] is None
    assert {path.name for path in tmp_path.iterdir()} == {"model.onnx"}


def test_auto_writes_what_it_chose(write: Write) -> None:
    made = write("auto", budget=Budget(0.01, 0.5))
    assert made.search is not None
    chosen = next(entry for entry in made.search["tried"] if entry["name"] == made.search["chosen"])
    assert made.variants["auto"].file == "model.auto.onnx"
    assert made.parity["auto"]["kl"] == pytest.approx(chosen["kl"], rel=1e-3, abs=1e-9)
    assert made.variants["auto"].bytes == pytest.approx(chosen["bytes"], abs=8)


def test_what_needs_audio_is_refused_without() -> None:
    for preset in ("int8-static", "auto"):
        with pytest.raises(ConfigError, match=f"{preset} is fitted on audio"):
            Options().check([preset], audio=False)  # type: ignore[list-item]
        Options().check([preset], audio=True)  # type: ignore[list-item]
    with pytest.raises(ConfigError, match="--blank-bias auto is fitted"):
        Options(blank_bias="auto").check(["int8-dynamic"], audio=False)
    with pytest.raises(ConfigError, match="teacher_blank_rate"):
        Options(blank_bias="teacher").check([], audio=True)
    Options(blank_bias=-0.5).check(["int8-dynamic"], audio=False)
