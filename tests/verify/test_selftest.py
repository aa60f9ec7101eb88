import json
from pathlib import Path

import numpy as np
import soundfile

from kdcompress.runtime.recognizer import Recognizer
from kdcompress.verify.selftest import AUDIO, RECORD, SECONDS
from kdcompress.verify.sound import synthetic_waveform


def test_every_variant_passes_its_own_test(tiny_bundle: Path) -> None:
    record = json.loads((tiny_bundle / RECORD).read_text(encoding="utf-8"))
    assert set(record["variants"]) == {"fp32", "int8-dynamic"}
    for name, expected in record["variants"].items():
        heard = Recognizer(tiny_bundle, name, threads=1).transcribe(tiny_bundle / AUDIO)
        assert heard.text == expected["text"]
        assert len(expected["best_tokens"]) == 38  # 1.5 s at 40 ms, rounded up
        assert expected["mean_log_prob"] < 0 < expected["tolerance"]


def test_the_sound_is_loud_and_ends_in_silence(tiny_bundle: Path) -> None:
    samples, rate = soundfile.read(tiny_bundle / AUDIO)
    assert (rate, len(samples)) == (16_000, SECONDS * 16_000)
    assert 0.3 < np.abs(samples).max() < 1
    assert np.abs(samples[[0, -1]]).max() < 0.01


def test_rendered_sound_is_the_same_each_time() -> None:
    np.testing.assert_array_equal(synthetic_waveform(0.3, 1), synthetic_waveform(0.3, 1))
    assert not np.array_equal(synthetic_waveform(0.3, 1), synthetic_waveform(0.3, 2))
    assert len(synthetic_waveform(0.01)) == 160
