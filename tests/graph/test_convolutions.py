"""Graphs of samples with a frame for each window that fits in, against transformers' own models."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_transformers import LETTERS, save_model

from kdcompress.config.student import PretrainedConfig
from kdcompress.config.teacher import HuggingFaceTeacher
from kdcompress.distill.pretrained import make_pretrained
from kdcompress.errors import ConfigError
from kdcompress.graph.write import export_run
from kdcompress.runtime.bundle import open_bundle
from kdcompress.runtime.layout import frame_counts
from kdcompress.runtime.recognizer import Recognizer
from kdcompress.students.transformers_inputs import import_transformers
from kdcompress.students.weights import save_student
from kdcompress.teachers.huggingface import TransformersTeacher
from kdcompress.text.vocabulary import Vocabulary
from kdcompress.verify.checks import OWN_CHECKS, check_variant
from kdcompress.verify.sound import synthetic_waveform

pytestmark = pytest.mark.slow  # a graph or a search for each

VOCABULARY = Vocabulary(tuple(LETTERS), 0, "|", frozenset({1, 2, 3}))
Samples = npt.NDArray[np.float32]
Made = Callable[[str], Path]


def trained(name: str, folder: Path) -> Path:
    """Write a tiny model and a run whose student it is; return the run."""
    import_transformers()
    (folder / "model").mkdir()
    save_model(name, folder / "model")
    student = make_pretrained(PretrainedConfig(source=str(folder / "model")), None, VOCABULARY)
    save_student(folder / "run", student, VOCABULARY, {"step": 1})
    return folder / "run"


@pytest.fixture(scope="module", params=["wav2vec2-layer", "hubert-group"])
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a model, and its bundle in three precisions."""
    folder = tmp_path_factory.mktemp(request.param)
    export_run(trained(request.param, folder), folder / "bundle", "waveform", ("int8-dynamic", "int4"))
    return folder


def transformers_say(folder: Path) -> Callable[[Samples], Samples]:
    """Return what gives transformers' log-probabilities of samples, by its own feature extractor."""
    transformers = import_transformers()
    model = transformers.AutoModelForCTC.from_pretrained(folder / "model").eval()
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folder / "model")

    def say(samples: Samples) -> Samples:
        inputs = extractor(samples, sampling_rate=16_000, return_tensors="pt")
        with torch.no_grad():
            found: Samples = model(inputs[model.main_input_name]).logits.log_softmax(-1)[0].numpy()
        return found

    return say


def test_any_length_alone_and_in_company_is_as_in_transformers(exported: Path) -> None:
    session = onnxruntime.InferenceSession(exported / "bundle" / "model.onnx")
    say = transformers_say(exported)

    def run(*sounds: Samples) -> Any:
        batch = np.zeros((len(sounds), max(map(len, sounds))), np.float32)
        for row, sound in zip(batch, sounds, strict=True):
            row[: len(sound)] = sound
        return session.run(["logits"], {"input_values": batch})[0]

    @settings(max_examples=8, deadline=None)
    @given(st.lists(st.integers(400, 20_000), min_size=1, max_size=3), st.integers(0, 99))
    def holds(lengths: list[int], seed: int) -> None:
        sounds = [0.02 + synthetic_waveform(2.0, seed + i)[3000:][:n] for i, n in enumerate(lengths)]
        together = run(*sounds)
        assert together.shape[1] == (max(lengths) - 400) // 320 + 1
        for row, sound in zip(together, sounds, strict=True):
            expected = say(sound)
            np.testing.assert_allclose(row[: len(expected)], expected, atol=5e-3)
            # A runtime may have normalised the samples before.
            loud = (sound - sound.mean()) / sound.std()
            np.testing.assert_allclose(run(loud)[0], expected, atol=5e-3)
            # Who has no lengths reads on behind the end, and must find nothing there.
            assert (row[len(expected) :].argmax(axis=1) == 0).all()

    holds()
    for samples in (1, 159, 399):
        assert run(np.full(samples, 0.1, np.float32)).shape == (1, 1, len(LETTERS))
        assert np.isfinite(run(np.zeros(samples, np.float32))).all()


def test_our_runtime_counts_its_frames(exported: Path) -> None:
    bundle = open_bundle(exported / "bundle")
    assert (bundle.frame_window, bundle.subsampling_factor, bundle.frame_shift) == (400, 2, 0.02)
    assert bundle.frontend.kind == "samples"
    config = json.loads((bundle.directory / "config.json").read_text())
    assert (config["conv_kernel"], config["conv_stride"]) == ([400, 1], [320, 1])
    recognizer = Recognizer(bundle, "fp32", threads=1)
    lengths = [160, 400, 719, 720, 16_000, 31_999]
    sounds = [synthetic_waveform(2.0)[:n] for n in lengths]
    found = recognizer.log_probs([recognizer.features(sound) for sound in sounds])
    hops = np.array([-(-n // 160) for n in lengths])
    assert [len(rows) for rows in found] == frame_counts(hops, 2, 400).tolist() == [1, 1, 2, 2, 49, 99]


def test_all_precisions_pass_what_we_check_ourselves(exported: Path) -> None:
    bundle = open_bundle(exported / "bundle", verify=True)
    assert list(bundle.variants) == ["fp32", "int8-dynamic", "int4"]
    asked = [("fp32", what) for what in OWN_CHECKS] + [("int8-dynamic", "padding"), ("int4", "selftest")]
    for name, what in asked:
        assert (check := check_variant(what, Recognizer(bundle, name, threads=1))).passed, check.detail
    # The convolutions' weights are float; of the rest nothing is left so.
    assert bundle.variants["int4"].ops["Conv"] == 8
    assert (
        bundle.variants["int4"].bytes < bundle.variants["int8-dynamic"].bytes < bundle.variants["fp32"].bytes
    )


@pytest.mark.parametrize(
    ("name", "profile", "reason"),
    [
        ("wav2vec2-layer", "portable", "a wav2vec2 student takes samples.*--profile waveform"),
        ("wav2vec2-layer", "kaldi", "no graph of a wav2vec2 student in the layout kaldi"),
        ("wav2vec2-bert", "waveform", "no graph of a wav2vec2-bert student.*--profile huggingface"),
    ],
)
def test_what_no_runtime_could_feed_is_refused(name: str, profile: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=reason) as caught:
        export_run(trained(name, tmp_path), tmp_path / "bundle", profile)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "bundle").exists()


def test_parakeet_is_in_nemos_layout(tmp_path: Path) -> None:
    import_transformers()
    (tmp_path / "model").mkdir()
    save_model("parakeet", tmp_path / "model")
    source = str(tmp_path / "model")
    vocabulary = TransformersTeacher.open(HuggingFaceTeacher(path=source)).vocabulary
    student = make_pretrained(PretrainedConfig(source=source), None, vocabulary)
    save_student(tmp_path / "run", student, vocabulary, {"step": 1})
    bundle = export_run(tmp_path / "run", tmp_path / "bundle", "portable", ("int8-dynamic",))
    assert (bundle.subsampling_factor, bundle.frame_window) == (8, 0)
    # Convolutions over one frame and the head are products: five of the subsampling stay, and one in a layer.
    assert bundle.variants["int8-dynamic"].ops["Conv"] == 7
    recognizer = Recognizer(bundle, "fp32", threads=1)
    sound = synthetic_waveform(1.77)
    found = recognizer.log_probs([recognizer.features(sound)])[0]
    np.testing.assert_allclose(found, transformers_say(tmp_path)(sound), atol=2e-2)
    for name, what in [("fp32", what) for what in OWN_CHECKS] + [("int8-dynamic", "padding")]:
        assert (check := check_variant(what, Recognizer(bundle, name, threads=1))).passed, check.detail
