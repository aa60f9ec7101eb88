"""What is inside the graph of the waveform profile before the student: no preset touches it."""

from collections.abc import Callable
from pathlib import Path
from shutil import copy

import numpy as np
import numpy.typing as npt
import onnx
import pytest

from kdcompress.config.deploy import PRESETS
from kdcompress.quantize.blank_bias import blank_rate
from kdcompress.quantize.variants import Audio, Options, Variants, write_variants
from kdcompress.runtime.bundle import open_bundle
from kdcompress.runtime.compare import posteriors
from kdcompress.runtime.layout import FRONTEND, LAYOUTS, hops
from kdcompress.runtime.session import GraphSession


@pytest.fixture(scope="module")
def audio(say: Callable[[str], npt.NDArray[np.float32]]) -> Audio:
    sounds = [hops(say(text)) for text in ("ab c", "c ba", "a cb b", "bca")]
    feeds = LAYOUTS["waveform"].feeds
    return Audio([feeds(sound[None], np.array([len(sound)])) for sound in sounds], "tones")


@pytest.fixture(scope="module")
def made(
    waveform_bundle: Path, tmp_path_factory: pytest.TempPathFactory, audio: Audio
) -> tuple[Path, Variants]:
    folder = tmp_path_factory.mktemp("waveform")
    copy(waveform_bundle / "model.onnx", folder / "model.onnx")
    vocabulary = open_bundle(waveform_bundle).vocabulary
    how, silent = Options(threads=1, blank_bias=1.5), lambda *_: None
    return folder, write_variants(
        folder / "model.onnx", tuple(PRESETS), audio, vocabulary, how, silent, silent
    )


def front(path: Path) -> tuple[list[onnx.NodeProto], dict[str, onnx.TensorProto], list[str]]:
    """Return the front end's nodes, the constants they read, and the values they have from other nodes."""
    graph = onnx.load(str(path)).graph
    nodes = sorted((n for n in graph.node if n.name.startswith(f"{FRONTEND}/")), key=lambda n: n.name)
    read = {name for node in nodes for name in node.input}
    constants = {tensor.name: tensor for tensor in graph.initializer if tensor.name in read}
    others = [node for node in graph.node if not node.name.startswith(f"{FRONTEND}/")]
    return nodes, constants, sorted({name for node in others for name in node.output if name in read})


@pytest.mark.parametrize("preset", PRESETS)
def test_the_front_end_stays_to_the_bit(
    made: tuple[Path, Variants], waveform_bundle: Path, preset: str
) -> None:
    folder, written = made
    expected = front(waveform_bundle / "model.onnx")
    assert len(expected[0]) > 50
    assert front(folder / written.variants[preset].file) == expected


@pytest.mark.parametrize("preset", PRESETS)
def test_the_student_behind_it_is_rounded_and_close(made: tuple[Path, Variants], preset: str) -> None:
    folder, written = made
    figures = written.parity[preset]
    assert 0 < figures["kl"] < (0.3 if preset == "int4-weights" else 0.02)
    assert written.variants[preset].bytes < written.variants["fp32"].bytes
    graph = onnx.load(str(folder / written.variants[preset].file)).graph
    whole = onnx.load(str(folder / "model.onnx")).graph
    assert list(graph.input) == list(whole.input)
    assert list(graph.output) == list(whole.output)


def test_the_blanks_bias_is_found_behind_the_end_of_the_audio(
    made: tuple[Path, Variants], waveform_bundle: Path, audio: Audio
) -> None:
    before, after = (
        blank_rate(posteriors(GraphSession(folder / "model.onnx", threads=1), audio.feeds), 2)
        for folder in (waveform_bundle, made[0])
    )
    assert after > before
