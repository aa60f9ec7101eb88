import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from kdcompress.errors import AudioError
from kdcompress.verify.calibration_audio import features_of
from kdcompress.verify.sound import synthetic_waveform


def test_without_audio_sound_is_rendered() -> None:
    features = features_of(None, "per_feature")
    assert features.source == "rendered sound"
    assert all(array.shape[1] == 80 for array in features.arrays)


def test_two_minutes_are_spread_over_a_folder(tmp_path: Path) -> None:
    for index in range(40):
        soundfile.write(tmp_path / f"{index:02}.wav", np.zeros(320_000, np.int16), 16_000)
    (tmp_path / "notes.wav").write_text("this is text")
    features = features_of(tmp_path, "none")
    assert [len(array) for array in features.arrays] == [2000] * 7
    assert features.source == f"7 utterances, 140 s, of {tmp_path.name}"


def test_transcripts_are_not_needed(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", synthetic_waveform(1.0), 16_000)
    line = {"audio_filepath": "a.wav", "offset": 0.25, "duration": 0.5}
    (tmp_path / "some.jsonl").write_text(json.dumps(line) + "\n")
    assert [len(a) for a in features_of(tmp_path / "some.jsonl", "per_feature").arrays] == [50]


def test_nothing_usable_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "notes.wav").write_text("this is text")
    with pytest.raises(AudioError, match="holds no audio"):
        features_of(tmp_path, "per_feature")
