"""Chunks of samples at 8 kHz: what the student makes of them at 16 kHz, 10 ms late."""

import json
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from kdcompress.config.student import ConformerConfig
from kdcompress.errors import ConfigError
from kdcompress.graph.write import export_run
from kdcompress.resources import consumer_path
from kdcompress.runtime.layout import hops
from kdcompress.runtime.recognizer import Recognizer
from kdcompress.runtime.streaming.utterances import Endpointing
from kdcompress.students.conformer import ConformerStudent
from kdcompress.students.telephone import HOP_8K, SAMPLES, TelephoneGraph
from kdcompress.students.weights import save_student
from kdcompress.text.decode import greedy
from kdcompress.text.vocabulary import Vocabulary

SHAPE = {"width": 16, "layers": 1, "heads": 2, "feed_forward": 2.0, "kernel": 7, "stem_channels": 4}


def call(seconds: float, seed: int) -> Tensor:
    """Return samples [S] at 8 kHz, of 16 bits: noise below 3.4 kHz that comes and goes."""
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(int(8000 * seconds)))
    spectrum[int(len(spectrum) * 3.4 / 4) :] = 0
    loudness = 1 + np.sin(40 * np.arange(int(8000 * seconds)) / 8000)
    noise = 0.05 * np.fft.irfft(spectrum, len(loudness)) * loudness
    return torch.from_numpy(np.trunc(32767 * noise).astype(np.float32)) / 32767


@cache
def student() -> ConformerStudent:
    torch.manual_seed(0)
    config = {**SHAPE, "frame_shift_ms": 20, "streaming": {"chunk_ms": [300], "left_ms": 320}}
    made = ConformerStudent(ConformerConfig.model_validate(config), 6).eval()
    with torch.no_grad():
        made.measure([torch.from_numpy(soxr.resample(call(4, 9).numpy(), 8000, 16_000))])
        made.head.weight.mul_(8)  # so that tokens differ, and none is always the best
        mean = made(call(4, 9)[None], torch.tensor([32_000]))[0][0].mean(0)
        made.head.bias.sub_(mean - mean.mean())
    return made


@torch.no_grad()
def test_features_are_those_of_the_front_end() -> None:
    samples = call(1.0, 1)
    graph = TelephoneGraph(student())
    past = graph.shapes[0][0]
    found = graph.features(functional.pad(samples, (past, 0))[None])[0]
    doubled = soxr.resample(functional.pad(samples, (80, 0)).numpy(), 8000, 16_000, quality="VHQ")
    expected, _ = student().frontend(torch.from_numpy(doubled)[None], torch.tensor([len(doubled)]))
    assert found.shape == (100, 80)
    torch.testing.assert_close(found[3:97, :58], expected[0, 3:97, :58], atol=0.02, rtol=0)


@given(length=st.integers(1, 100), seed=st.integers(0, 99))
@settings(max_examples=10)
@torch.no_grad()
def test_chunk_by_chunk_is_the_whole_call(length: int, seed: int) -> None:
    graph = TelephoneGraph(student())
    samples = call(length / 100, seed)
    padded = functional.pad(32767 * samples, (0, -len(samples) % SAMPLES)).round().int()
    state, pieces = torch.zeros(1, graph.size, dtype=torch.float16), []
    for chunk in padded.split(SAMPLES):
        log_probs, state = graph(chunk[None, :, None], state)
        pieces.append(log_probs[0])
    whole = graph.whole(samples.unflatten(0, (-1, HOP_8K)))
    # Between chunks keys, values and tails are of half precision, as the layout wants them.
    torch.testing.assert_close(torch.cat(pieces)[: len(whole)], whole, atol=2e-2, rtol=0)


@pytest.mark.slow
def test_sherpa_onnx_and_we_print_the_same_of_a_call(tmp_path: Path) -> None:
    pytest.importorskip("sherpa_onnx")
    vocabulary = Vocabulary(("<blk>", "|", "a", "b", "c", "d"), 0, "|")
    save_student(tmp_path / "run", student(), vocabulary, {})
    bundle = export_run(tmp_path / "run", tmp_path / "bundle", "telephone", ())
    assert bundle.sample_rate == 8000
    soundfile.write(tmp_path / "call.wav", call(3.0, 2).numpy(), 8000, subtype="PCM_16")
    late = functional.pad(call(3.0, 2), (40, 16_000)).numpy()  # sherpa-onnx begins with 5 ms of zeros
    [log_probs] = Recognizer(bundle, threads=1).log_probs([hops(late, HOP_8K)])
    ours = greedy(log_probs, vocabulary).text(vocabulary)
    program = [sys.executable, "-I", consumer_path("sherpa_onnx_streaming.py"), bundle.directory]
    done = subprocess.run([*map(str, program), tmp_path / "call.wav"], capture_output=True, text=True)
    assert len(ours) > 8
    assert json.loads(done.stdout)["text"] == ours
    stream = Recognizer(bundle, threads=1).stream(8000, Endpointing(silence=0, longest=0, tail=0))
    results = [r for piece in np.split(late, [7, 3000, 9001]) for r in stream.push(piece)] + stream.finish()
    assert results[-1].text.startswith(ours)  # to the end of the last chunk


def test_other_frame_shifts_do_not_fit_into_300_ms() -> None:
    slow = ConformerStudent(
        ConformerConfig.model_validate({**SHAPE, "frame_shift_ms": 40, "streaming": {}}), 6
    )
    with pytest.raises(ConfigError, match="300 ms are no multiple"):
        slow.select_chunk(300)
