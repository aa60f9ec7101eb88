import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import soundfile
import soxr
from hypothesis import given
from hypothesis import strategies as st

from kdcompress.errors import AudioError, BundleError, NumericsError
from kdcompress.frontend.logmel_numpy import log_mel
from kdcompress.runtime.bundle import Frontend, open_bundle
from kdcompress.runtime.recognizer import Recognizer, pad

Say = Callable[[str], npt.NDArray[np.float32]]


@pytest.fixture(scope="module")
def recognizer(tone_bundle: Path) -> Recognizer:
    return Recognizer(tone_bundle, "fp32", threads=1)


@given(text=st.text("abc ", max_size=8))
def test_tones_are_heard_as_they_were_said(recognizer: Recognizer, say: Say, text: str) -> None:
    transcript = recognizer.transcribe(say(text))
    assert transcript.text == " ".join(text.split())
    assert [word.text for word in transcript.words] == text.split()
    assert "".join(token.text for token in transcript.tokens) == text


def test_times_are_where_the_tones_are(recognizer: Recognizer, say: Say) -> None:
    transcript = recognizer.transcribe(say("ab c"))
    # Each token sounds from 0.2 + 0.4 n to 0.4 + 0.4 n, faded in and out.
    for n, token in enumerate(transcript.tokens):
        assert 0.2 + 0.4 * n <= token.start < token.end <= 0.4 + 0.4 * n + recognizer.bundle.frame_shift
    first, second = transcript.words
    assert (first.start, first.end) == (transcript.tokens[0].start, transcript.tokens[1].end)
    assert (second.start, second.end) == (transcript.tokens[3].start, transcript.tokens[3].end)
    assert transcript.duration == pytest.approx(1.8)
    assert transcript.to_json()["words"][1] == {
        "text": "c",
        "start": round(second.start, 3),
        "end": round(second.end, 3),
    }


def test_a_batch_says_what_its_members_say_alone(recognizer: Recognizer, say: Say) -> None:
    audios = [say("abc"), np.zeros(0, np.float32), say("c"), np.zeros(16_000, np.float32), say("a b cc a")]
    alone = [recognizer.transcribe(audio) for audio in audios]
    together = recognizer.transcribe_batch(audios)
    assert [t.text for t in together] == ["abc", "", "c", "", "a b cc a"]
    assert [(t.words, t.tokens, t.duration) for t in together] == [
        (t.words, t.tokens, t.duration) for t in alone
    ]
    assert recognizer.transcribe_batch([]) == []


@pytest.mark.parametrize("samples", [0, 1, 159, 160, 399, 400, 640, 800, 16_000])
def test_silence_and_audio_shorter_than_a_frame_say_nothing(recognizer: Recognizer, samples: int) -> None:
    transcript = recognizer.transcribe(np.zeros(samples, np.float32))
    assert (transcript.text, transcript.words, transcript.tokens) == ("", (), ())
    assert transcript.duration == samples / 16_000


def test_rates_channels_and_integers_are_understood(recognizer: Recognizer, say: Say, tmp_path: Path) -> None:
    mono = say("ab c")
    high = soxr.resample(mono, 16_000, 44_100)
    stereo = np.stack([high, high], axis=1)
    soundfile.write(tmp_path / "x.flac", stereo, 44_100)
    integers = (high * 32_767).astype(np.int16)
    assert recognizer.transcribe(tmp_path / "x.flac").text == "ab c"
    assert recognizer.transcribe(str(tmp_path / "x.flac")).text == "ab c"
    assert recognizer.transcribe(high, 44_100).text == "ab c"
    assert recognizer.transcribe(stereo.astype(np.float64), sample_rate=44_100).text == "ab c"
    assert recognizer.transcribe(integers, 44_100).text == "ab c"
    assert recognizer.transcribe((mono * 2**31).astype(np.int32)).text == "ab c"


def test_every_stage_took_time(recognizer: Recognizer, say: Say, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", say("abc"), 16_000)
    timings = recognizer.transcribe(tmp_path / "x.wav").timings
    assert min(timings.audio, timings.features, timings.model, timings.decoding) > 0


@pytest.mark.parametrize(
    ("audio", "rate", "message"),
    [
        (np.full(1600, np.nan, np.float32), 16_000, "not numbers"),
        (np.zeros((2, 1600), np.float32), 16_000, r"\[S, channels\], found shape \[2, 1600\]"),
        (np.zeros(1600, np.uint8), 16_000, "found uint8"),
        (np.zeros(1600, np.float32), 0, "sample_rate must be above 0"),
        ("none.wav", 16_000, "no such audio file"),
    ],
)
def test_audio_that_cannot_be_used_is_refused(
    recognizer: Recognizer, audio: npt.NDArray[np.float32] | str, rate: int, message: str
) -> None:
    with pytest.raises(AudioError, match=message):
        recognizer.transcribe(audio, rate)


def test_nan_from_the_graph_is_an_error(tone_bundle: Path, tmp_path: Path, say: Say) -> None:
    model = onnx.load(tone_bundle / "model.onnx")
    weights = next(t for t in model.graph.initializer if t.name == "weights")
    weights.CopyFrom(onnx.numpy_helper.from_array(np.full((80, 5), np.nan, np.float32), "weights"))
    onnx.save(model, tmp_path / "model.onnx")
    broken = Recognizer(replace(open_bundle(tone_bundle), directory=tmp_path), "fp32", threads=1)
    with pytest.raises(NumericsError, match="NaN"):
        broken.transcribe(say("a"))


@pytest.mark.parametrize(
    "change",
    [
        {"input": "waveform"},
        {"sample_rate": 8000},
        {"frontend": Frontend(mel_bins=64)},
        {"frontend": Frontend(kind="fbank")},
        {"frontend": Frontend(normalize="global")},
    ],
)
def test_a_bundle_that_wants_other_features_is_refused(tone_bundle: Path, change: dict[str, object]) -> None:
    with pytest.raises(BundleError, match="update kdcompress"):
        Recognizer(replace(open_bundle(tone_bundle), **change))  # type: ignore[arg-type]


def test_padding_keeps_the_features_and_adds_zeros() -> None:
    short, long = np.full((2, 80), 7, np.float32), np.full((5, 80), 8, np.float32)
    padded, lengths = pad([short, long])
    assert lengths.tolist() == [2, 5]
    assert padded.shape == (2, 5, 80)
    assert (padded[0, :2] == 7).all()
    assert (padded[0, 2:] == 0).all()
    assert (padded[1] == 8).all()


@pytest.mark.parametrize("count", [1, 3])
def test_log_mel_features_reach_the_graph_without_another_copy(tone_bundle: Path, count: int) -> None:
    recognizer = Recognizer(tone_bundle, threads=1)
    features = [log_mel(np.full(16_000 - 1600 * i, 0.1, np.float32)) for i in range(count)]
    padded, lengths = pad(features)
    fed = recognizer.session.layout.feeds(padded, lengths)["audio_signal"]
    assert fed.flags.c_contiguous
    assert np.shares_memory(fed, padded)
    assert np.shares_memory(fed, features[0]) == (count == 1)
    for row, values in zip(fed, features, strict=True):
        np.testing.assert_array_equal(row[:, : len(values)], values.T)


def test_no_torch_is_needed(tone_bundle: Path, say: Say, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", say("a cab"), 16_000)
    program = """
import importlib.abc, sys

class Wall(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "torchaudio", "transformers", "lhotse", "onnx", "jiwer", "rich"}:
            raise ModuleNotFoundError(f"{name} is walled off", name=name)

sys.meta_path.insert(0, Wall())
from kdcompress.runtime.recognizer import Recognizer
print(Recognizer(sys.argv[1], threads=1).transcribe(sys.argv[2]).text)
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, str(tone_bundle), str(tmp_path / "x.wav")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("a cab\n", "")
